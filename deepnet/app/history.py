"""The metrics of a run as they stand in a checkpoint: what there is of every epoch, checked when it is read."""

from typing import Any

from deepnet.scores import Measures
from factorgraph.interface.arguments import check_instance, check_integer, check_number

#: What is measured of an epoch.
_ERRORS = ("train_error", "test_error", "bayes_train_error", "bayes_test_error")
_SECONDS = ("seconds", "evaluation_seconds")
_OF_LAYERS = ("polarization", "overlap")
_MEASURED = ("epoch", *_ERRORS, *_SECONDS, *_OF_LAYERS)


def check_history(
    values: Any, epoch: int, layers: int, measures: Measures, task_epochs: int | None = None
) -> list[dict[str, Any]]:
    """Return the metrics in a checkpoint, one entry for every epoch, with all that is read of them.

    Args:
        values: what is in the checkpoint.
        epoch: of it.
        layers: number of layers.
        measures: what the errors and scores are; runs of earlier versions have no scores, and those of one network no
            errors of members.
        task_epochs: epochs on each task; None if there is one data set.

    Raises:
        ValueError: naming the entry and the field.
    """
    history = check_instance("history", values, list, "a list")
    if len(history) != epoch:
        raise ValueError(f"`history` must have an entry for each of the {epoch} epochs, got {len(history)}")
    for number, measured in enumerate(history, start=1):
        where = f"history[{number - 1}]"
        check_instance(where, measured, dict, "a JSON object")
        if missing := [name for name in _MEASURED if name not in measured]:
            raise ValueError(f"`{where}` must have {', '.join(_MEASURED)}, and lacks {', '.join(missing)}")
        check_integer(f"{where}.epoch", measured["epoch"], minimum=number, maximum=number)
        for name in _ERRORS:
            check_number(f"{where}.{name}", measured[name], minimum=0, maximum=measures.largest)
        for name in (f"{part}_{score}" for part in ("train", "test") for score in measures.scores):
            if name in measured:
                check_number(f"{where}.{name}", measured[name])
        for name in (f"{prefix}{part}_member_error" for part in ("train", "test") for prefix in ("", "bayes_")):
            if name in measured:
                check_number(f"{where}.{name}", measured[name], minimum=0, maximum=measures.largest)
        if task_epochs and number % task_epochs == 0:
            _check_tasks(where, measured, number // task_epochs)
        for name in _SECONDS:
            check_number(f"{where}.{name}", measured[name], minimum=0)
        for name in _OF_LAYERS:
            each = check_instance(f"{where}.{name}", measured[name], list, "a list")
            if len(each) != layers:
                raise ValueError(f"`{where}.{name}` must have a number for each of {layers} layers, got {len(each)}")
            for value in each:
                check_number(f"{where}.{name}", value)
    return history


def _check_tasks(where: str, measured: dict[str, Any], tasks: int) -> None:
    """Check what is measured at the end of a task: the test errors on all tasks so far, and what was forgotten."""
    for prefix in ("", "bayes_"):
        name = f"{prefix}task_errors"
        each = check_instance(f"{where}.{name}", measured.get(name), list, "a list")
        if len(each) != tasks:
            raise ValueError(f"`{where}.{name}` must have a number for each of {tasks} tasks, got {len(each)}")
        for value in each:
            check_number(f"{where}.{name}", value, minimum=0, maximum=100)
        check_number(f"{where}.{prefix}forgetting", measured.get(f"{prefix}forgetting"))
