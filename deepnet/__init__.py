"""Deep networks trained by passing messages: multi-layer perceptrons as factor graphs, lowered to dense sweeps.

``MessagePassingClassifier`` is the scikit-learn estimator; ``Config``, ``init``, ``train`` and the functions of
``predict`` are the functional interface under it; ``deepnet`` on the command line runs whole experiments.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepnet.config import Config
    from deepnet.data import Dataset, load_dataset
    from deepnet.estimator import MessagePassingClassifier
    from deepnet.predict import predict_bayes, predict_pointwise, predict_proba
    from deepnet.train import Evaluation, Network, init, metrics, train

_HOME = {
    "Config": "config",
    "Dataset": "data",
    "load_dataset": "data",
    "MessagePassingClassifier": "estimator",
    "predict_bayes": "predict",
    "predict_pointwise": "predict",
    "predict_proba": "predict",
    "Evaluation": "train",
    "Network": "train",
    "init": "train",
    "metrics": "train",
    "train": "train",
}

__all__ = [
    "Config",
    "Dataset",
    "Evaluation",
    "MessagePassingClassifier",
    "Network",
    "init",
    "load_dataset",
    "metrics",
    "predict_bayes",
    "predict_pointwise",
    "predict_proba",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import on first use: the estimator needs scikit-learn, and the command line should start at once."""
    if name in _HOME:
        return getattr(import_module(f"deepnet.{_HOME[name]}"), name)
    raise AttributeError(f"module 'deepnet' has no attribute {name!r}")
