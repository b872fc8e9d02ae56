"""Message passing as scikit-learn estimators: a classifier and a regressor."""

from deepnet.estimator.classifier import MessagePassingClassifier
from deepnet.estimator.regressor import MessagePassingRegressor

__all__ = ["MessagePassingClassifier", "MessagePassingRegressor"]
