"""Message passing as scikit-learn estimators: a classifier and a regressor."""

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError as error:
    remedy = "pip install 'cavity[data]'"
    raise ModuleNotFoundError(
        f"scikit-learn is needed for the estimators ({error}): {remedy}", name=error.name
    ) from error

from deepnet.estimator.classifier import MessagePassingClassifier
from deepnet.estimator.regressor import MessagePassingRegressor

__all__ = ["MessagePassingClassifier", "MessagePassingRegressor"]
