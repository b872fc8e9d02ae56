"""Continual learning: tasks learnt one after the other by one network, and what it still knows of the earlier ones.

The matrix a_ij is the accuracy in percent on the test set of task j after tasks 0..i were learnt, NaN for j > i: the
average accuracy is the mean of its last row (Lopez-Paz and Ranzato, 2017), the forgetting the mean over all tasks but
the last of the best accuracy so far less that now (Chaudhry et al., 2018).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from deepnet.data import Dataset
from deepnet.data.tasks import TaskSequence
from deepnet.ensemble import Trained
from deepnet.metrics import measure
from deepnet.sizes import check_count
from factorgraph.dense.state import Array
from factorgraph.interface.arguments import check_instance

#: Test errors on all tasks so far, pointwise and Bayesian, as the metrics of the last epoch of a task have them.
TASK_ERRORS = ("task_errors", "bayes_task_errors")


class Learner(Protocol):
    """A classifier with the interface of scikit-learn that learns from parts of the data."""

    def partial_fit(self, X: Array, y: Array, classes: Array) -> Any:
        """Learn from some samples."""
        ...

    def score(self, X: Array, y: Array) -> float:
        """Return the share of samples that it classifies as labelled."""
        ...


def accuracies(learner: Learner, tasks: TaskSequence, epochs: int = 1) -> Array:
    """Return the matrix of accuracies in percent of a learner that meets each task in so many calls of ``partial_fit``.

    The inputs are standardised: a ``MessagePassingClassifier`` takes them as they are with ``standardize=False``.
    """
    check_instance("tasks", tasks, TaskSequence, "a TaskSequence")
    epochs = check_count("epochs", epochs, 1)
    classes = np.array([-1, 1]) if tasks.task == "parity" else np.arange(tasks.classes)
    matrix = np.full((len(tasks), len(tasks)), np.nan)
    for number in range(len(tasks)):
        data = tasks[number]
        for _ in range(epochs):
            learner.partial_fit(data.x_train, data.y_train, classes=classes)
        matrix[number, : number + 1] = [100.0 * learner.score(x, y) for x, y in tasks.tests(number + 1)]
    return matrix


def accuracy_matrix(history: Sequence[Mapping[str, Any]], name: str = TASK_ERRORS[0]) -> Array:
    """Return the matrix of accuracies in percent from the metrics of a run so far, those of one of ``TASK_ERRORS``."""
    rows = [measured[name] for measured in history if name in measured]
    matrix = np.full((len(rows), len(rows)), np.nan)
    for number, row in enumerate(rows):
        matrix[number, : number + 1] = 100.0 - np.array(row)
    return matrix


def average_accuracy(matrix: Array) -> float:
    """Return the mean over the tasks of the accuracy after the last of them."""
    return float(matrix[-1].mean())


def forgetting(matrix: Array) -> float:
    """Return by how much the accuracy on the earlier tasks is below their best, in the mean; 0 for one task."""
    earlier = matrix[:, :-1]
    return float((np.nanmax(earlier, axis=0) - earlier[-1]).mean()) if earlier.size else 0.0


def tasks_of(data: Dataset | TaskSequence) -> Sequence[Dataset]:
    """Return what is learnt one after the other: the tasks, or the one data set."""
    return data if isinstance(data, TaskSequence) else [data]


def measure_tasks(network: Trained, tasks: TaskSequence, history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the test errors on the tasks so far, and the forgetting, after the last epoch of one of them.

    Args:
        network: that has learnt a task to its end.
        tasks: all of them.
        history: the metrics of the epochs before.
    """
    learnt = 1 + sum(TASK_ERRORS[0] in measured for measured in history)
    each = [measure(network, x, y) for x, y in tasks.tests(learnt)]
    measured: dict[str, Any] = {
        name: [one[error] for one in each] for name, error in zip(TASK_ERRORS, ("error", "bayes_error"), strict=True)
    }
    for prefix, name in zip(("", "bayes_"), TASK_ERRORS, strict=True):
        measured[f"{prefix}forgetting"] = forgetting(accuracy_matrix([*history, measured], name))
    return measured
