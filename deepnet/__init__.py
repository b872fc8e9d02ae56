"""Deep networks trained by passing messages: multi-layer perceptrons as factor graphs, lowered to dense sweeps.

``MessagePassingClassifier`` and ``MessagePassingRegressor`` are scikit-learn estimators; ``Config``, ``deepnet.train``
and ``deepnet.predict`` are the functional interface under them; ``deepnet`` on the command line runs whole experiments.
"""

from typing import TYPE_CHECKING

try:
    from factorgraph.interface.on_demand import on_demand
    from factorgraph.runtime.names import check_names
except ModuleNotFoundError as error:
    raise ImportError("`factorgraph` must be the package of Cavity, and another one is found first") from error

if TYPE_CHECKING:
    from deepnet.config import Config
    from deepnet.data import load_dataset
    from deepnet.data.tasks import load_tasks
    from deepnet.estimator import MessagePassingClassifier, MessagePassingRegressor
    from deepnet.export.packed import load_packed
    from deepnet.saved import load, save

__all__ = [
    "Config",
    "MessagePassingClassifier",
    "MessagePassingRegressor",
    "load",
    "load_dataset",
    "load_packed",
    "load_tasks",
    "save",
]

_MODULES = {
    "config": ("Config",),
    "data": ("load_dataset",),
    "data.tasks": ("load_tasks",),
    "estimator": ("MessagePassingClassifier", "MessagePassingRegressor"),
    "export.packed": ("load_packed",),
    "saved": ("load", "save"),
}

__getattr__, __dir__ = on_demand(__name__, _MODULES)  # the command line should start at once

check_names("models", "deepnet")
