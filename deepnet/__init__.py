"""Deep networks trained by passing messages: multi-layer perceptrons as factor graphs, lowered to dense sweeps.

``MessagePassingClassifier`` and ``MessagePassingRegressor`` are scikit-learn estimators; ``Config``, ``deepnet.train``
and ``deepnet.predict`` are the functional interface under them; ``deepnet`` on the command line runs whole experiments.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
    "Config": "config",
    "MessagePassingClassifier": "estimator",
    "MessagePassingRegressor": "estimator",
    "load": "saved",
    "load_dataset": "data",
    "load_packed": "export.packed",
    "load_tasks": "data.tasks",
    "save": "saved",
}


def __getattr__(name: str) -> Any:
    """Import on first use: the estimator needs scikit-learn, and the command line should start at once."""
    if name in _MODULES:
        return getattr(import_module(f"deepnet.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'deepnet' has no attribute {name!r}")
