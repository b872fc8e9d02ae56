"""How good predictions are: log loss, Brier score, calibration, coverage, and how well they tell strange inputs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Array = NDArray[np.floating[Any]]

#: Intervals of the confidence, of equal width.
BINS = 15

#: Accuracy of the probabilities: smaller ones count as this in the log loss.
_SMALLEST = 1e-12

#: Probability of the intervals whose coverage is measured.
LEVEL = 0.95


@dataclass(frozen=True)
class Measures:
    """What is measured of predictions, and how it is said.

    Attributes:
        error: what an error is, in words.
        unit: of an error, behind the number.
        digits: format of an error.
        scores: names of what is measured besides.
        largest: error.
    """

    error: str
    unit: str
    digits: str
    scores: tuple[str, ...]
    largest: float

    def said(self, error: float) -> str:
        """Return an error with its unit."""
        return f"{error:{self.digits}}{self.unit}"


#: Those of labels, the scores from ``class_scores``; and those of numbers: their log likelihood, and ``coverage``.
OF_CLASSES = Measures("error (%)", " %", ".2f", ("log_loss", "brier", "calibration_error"), 100.0)
OF_NUMBERS = Measures("root mean square error", "", ".4g", ("log_likelihood", "coverage"), float("inf"))


def measures(numeric: bool) -> Measures:
    """Return what is measured of an output of numbers, or of classes."""
    return OF_NUMBERS if numeric else OF_CLASSES


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence, the largest probability of a sample, against the share of right labels, interval by interval.

    Attributes:
        counts: samples (bins,) whose confidence is in each interval.
        confidence: its mean (bins,); NaN where there are no samples.
        accuracy: share of right labels (bins,); likewise.
    """

    counts: NDArray[np.integer[Any]]
    confidence: Array
    accuracy: Array

    @classmethod
    def of(cls, p: Array, numbers: NDArray[np.integer[Any]]) -> "Reliability":
        """Return that of probabilities (samples, classes), given the true class numbers (samples,)."""
        confidence, right = p.max(axis=1), p.argmax(axis=1) == numbers
        bins = np.minimum((confidence * BINS).astype(np.intp), BINS - 1)
        counts = np.bincount(bins, minlength=BINS)
        with np.errstate(invalid="ignore"):
            sums = (np.bincount(bins, weights, BINS) / counts for weights in (confidence, right))
            return cls(counts, *sums)

    @property
    def error(self) -> float:
        """Expected calibration error: the mean over the samples of |accuracy - confidence|, interval by interval."""
        gaps = np.abs(self.accuracy - self.confidence)[self.counts > 0]
        return float(self.counts[self.counts > 0] @ gaps / self.counts.sum())


def class_scores(p: Array, numbers: NDArray[np.integer[Any]]) -> dict[str, float]:
    """Return log loss, Brier score and expected calibration error.

    Args:
        p: probabilities (samples, classes).
        numbers: the true class numbers (samples,).

    Returns:
        By the names in ``OF_CLASSES.scores``: the mean of -log p of the true class, that of the square of
        p - (0, .., 1, .., 0) summed over the classes, from 0 to 2, and ``Reliability.error``.
    """
    truth = p[np.arange(len(p)), numbers]
    return {
        "log_loss": -float(np.mean(np.log(np.maximum(truth, _SMALLEST)))),
        "brier": float(np.mean((p**2).sum(axis=1) - 2.0 * truth + 1.0)),
        "calibration_error": Reliability.of(p, numbers).error,
    }


def coverage(mean: Array, deviation: Array, y: Array, level: float = LEVEL) -> float:
    """Return the share of targets within the central intervals of this probability that normal laws have."""
    return float(np.mean(np.abs(y - mean) <= ndtri(0.5 + 0.5 * level) * deviation))


def detection(inside: Array, outside: Array) -> dict[str, float]:
    """Return how well a measure, larger outside of what was learned, tells samples there from those inside.

    Args:
        inside: the measure for samples (n,) like those learned.
        outside: for strange ones (m,).

    Returns:
        "auroc", the area under the receiver operating characteristic; "average_precision" of finding the strange
        samples; "fpr95", the share of the strange ones that pass where 95 % of the others do.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    measure = np.concatenate([inside, outside])
    strange = np.repeat([0, 1], [len(inside), len(outside)])
    passed, accepted, _ = roc_curve(1 - strange, -measure)
    return {
        "auroc": float(roc_auc_score(strange, measure)),
        "average_precision": float(average_precision_score(strange, measure)),
        "fpr95": float(passed[np.argmax(accepted >= 0.95)]),
    }
