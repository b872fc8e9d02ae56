"""Message passing as scikit-learn estimators: a classifier and a regressor."""

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError as error:  # installed without its dependencies
    raise ModuleNotFoundError(
        f"scikit-learn is needed for the estimators ({error}): pip install scikit-learn", name=error.name
    ) from error

from deepnet.estimator.classifier import MessagePassingClassifier
from deepnet.estimator.regressor import MessagePassingRegressor

__all__ = ["MessagePassingClassifier", "MessagePassingRegressor"]
