"""What a sweep runs, read from a TOML file and checked whole before anything runs.

seeds = 3                               # 0, 1, 2; or a list of seeds
report = ["test_error", "train_error"]  # one table for each

[settings]                              # of all cells: dataset, task, tasks, and anything in ``Config``
dataset = "mnist"
hidden = [501, 501]

[axes]                                  # the cells are the product of the axes; the last one makes the columns
density = [1.0, 0.5]                    # values of the setting of this name,

[axes.algorithm]                        # or groups of settings by the label that tables give them
BP = { closure = "bp" }
BinaryNet = { algorithm = "binarynet" }
"""

import itertools
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from deepnet.config import LARGEST_SEED, Config
from deepnet.data import DATASETS, TASKS
from deepnet.data.tasks import Tasks, number_of_tasks
from deepnet.kernels.devices import DEVICES
from deepnet.state import plans
from factorgraph.interface.arguments import check_choice, check_instance, check_integer, shown

#: What may be reported where every cell learns several tasks.
OF_TASKS = ("forgetting", "bayes_forgetting")

#: What may be reported of a finished cell; the errors are means over the tasks.
REPORTS = ("test_error", "train_error", "bayes_test_error", "bayes_train_error", "seconds", *OF_TASKS)

_FIELDS = ("seeds", "report", "data_dir", "device", "settings", "axes")
_OF_DATA = ("dataset", "task", "tasks")
_SETTINGS = (*_OF_DATA, *(field.name for field in fields(Config) if field.name != "seed"))


class SpecError(ValueError):
    """A specification is not as it must be; the message names the field, what it must be and what it was."""


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
        labels: of its place on every axis.
        seed: of the run.
        dataset: name of the data set.
        task: "multiclass" or "parity".
        tasks: how the data set is made into tasks, see ``deepnet.data.tasks.Tasks``; None if it is learnt as it is.
        config: the settings.
        directory: folder of the run, below that of the sweep.
    """

    labels: tuple[str, ...]
    seed: int
    dataset: str
    task: str
    tasks: str | None
    config: Config
    directory: Path

    def __str__(self) -> str:
        return ", ".join([*self.labels, f"seed {self.seed}"])

    @property
    def epochs(self) -> int:
        """Number of epochs of the whole run, of all tasks if there are several."""
        return self.config.epochs * number_of_tasks(self.tasks)


@dataclass(frozen=True)
class Spec:
    """A sweep.

    Attributes:
        axes: labels along each axis, by its name.
        seeds: of every place.
        report: what the tables tell, of ``REPORTS``.
        data_dir: folder with the files of the data sets; None for the usual places.
        device: where the cells train.
        cells: all runs, the seeds of one place together.
    """

    axes: Mapping[str, tuple[str, ...]]
    seeds: tuple[int, ...]
    report: tuple[str, ...]
    data_dir: Path | None
    device: str
    cells: tuple[Cell, ...]


def read_spec(path: Path, data_dir: Path | None = None) -> Spec:
    """Return the sweep that a file describes.

    Args:
        path: of the TOML file.
        data_dir: instead of that in the file, which is relative to the file's folder.

    Raises:
        SpecError: the file is none, or a field is wrong.
        OSError: it cannot be read.
    """
    try:
        values = tomllib.loads(path.read_bytes().decode())
    except ValueError as error:
        raise SpecError(f"{path} must be a TOML file in UTF-8: {error}") from error
    try:
        return _parsed(values, path.parent, data_dir)
    except ValueError as error:
        raise SpecError(f"{path}: {error}") from error


def _parsed(values: dict[str, Any], folder: Path, data_dir: Path | None) -> Spec:
    if unknown := [name for name in values if name not in _FIELDS]:
        raise ValueError(f"`{unknown[0]}` must be one of the fields {', '.join(_FIELDS)}")
    if data_dir is None and "data_dir" in values:
        data_dir = folder / Path(check_instance("data_dir", values["data_dir"], str, "a folder")).expanduser()
    seeds, report = _seeds(values.get("seeds", 1)), _report(values.get("report", ["test_error", "train_error"]))
    device = check_choice("device", values.get("device", "cpu"), DEVICES)
    common = _settings("settings", values.get("settings", {}))
    axes = {name: _axis(name, axis) for name, axis in _table("axes", values.get("axes", {})).items()}
    _check_disjoint(axes)
    cells = []
    for place in itertools.product(*(axis.items() for axis in axes.values())):
        labels = tuple(label for label, _ in place)
        origin = {
            f"axes.{axis}" if isinstance(values["axes"][axis], list) else f"axes.{axis}.{label}": chosen
            for axis, (label, chosen) in zip(axes, place, strict=True)
        }
        cells += _cells(labels, {"settings": common} | origin, seeds)
    single = [cell for cell in cells if cell.tasks is None]
    if single and (wrong := [name for name in report if name in OF_TASKS]):
        raise ValueError(f"`report` must be without {wrong[0]} where a cell has no `tasks`, as {single[0]}")
    folders = [cell.directory for cell in cells]
    if twice := {str(each) for each in folders if folders.count(each) > 1}:
        raise ValueError(f"`axes` must have labels that make different folders, got {sorted(twice)[0]} more than once")
    return Spec(
        axes={name: tuple(axis) for name, axis in axes.items()},
        seeds=seeds,
        report=report,
        data_dir=data_dir,
        device=device,
        cells=tuple(cells),
    )


def _table(name: str, value: Any) -> dict[str, Any]:
    return check_instance(name, value, dict, "a table")


def _seeds(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        return tuple(range(check_integer("seeds", value, minimum=1, maximum=10_000)))
    seeds = tuple(check_integer("seeds", each, minimum=0, maximum=LARGEST_SEED) for each in value)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"`seeds` must be at least one integer, all different, got {shown(value)}")
    return seeds


def _report(value: Any) -> tuple[str, ...]:
    names = tuple(check_choice("report", each, REPORTS) for each in check_instance("report", value, list, "a list"))
    if not names or len(set(names)) < len(names):
        raise ValueError(f"`report` must be at least one of {', '.join(REPORTS)}, none twice, got {shown(value)}")
    return names


def _settings(where: str, value: Any) -> dict[str, Any]:
    """Return settings by name; their values are checked together."""
    for name in _table(where, value):
        if name not in _SETTINGS:
            raise ValueError(f"`{where}.{name}` must be one of the settings {', '.join(_SETTINGS)}")
    return value


def _axis(name: str, value: Any) -> dict[str, dict[str, Any]]:
    """Return the settings at each label."""
    if not isinstance(value, list | dict) or not value:
        need = "a list of values, or settings by label, at least one"
        raise ValueError(f"`axes.{name}` must be {need}, got {shown(value)}")
    if isinstance(value, dict):
        return {label: _settings(f"axes.{name}.{label}", each) for label, each in value.items()}
    if name not in _SETTINGS:
        raise ValueError(f"`axes.{name}` must have the name of a setting for a list: {', '.join(_SETTINGS)}")
    axis = {_label(each): {name: each} for each in value}
    if len(axis) < len(value):
        raise ValueError(f"`axes.{name}` must have different values, got {shown(value)}")
    return axis


def _label(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, list) else str(value)


def _check_disjoint(axes: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Raise ``ValueError`` if two axes decide one setting."""
    owner: dict[str, str] = {}
    for axis, groups in axes.items():
        for setting in {name for group in groups.values() for name in group}:
            if owner.setdefault(setting, axis) != axis:
                raise ValueError(f"`axes.{axis}` must leave `{setting}` to `axes.{owner[setting]}`, got both")


def _cells(labels: tuple[str, ...], origin: Mapping[str, Mapping[str, Any]], seeds: Sequence[int]) -> list[Cell]:
    """Return the runs at one place: later tables of ``origin`` override earlier ones."""
    values = {name: value for table in origin.values() for name, value in table.items()}
    sources = {
        name: where if where == f"axes.{name}" else f"{where}.{name}"
        for where, table in origin.items()
        for name in table
    }
    if "dataset" not in values:
        raise ValueError("`settings` must have a `dataset`, unless every place on an axis has one")
    try:
        dataset = check_choice("dataset", values.pop("dataset"), DATASETS)
        task = check_choice("task", values.pop("task", "multiclass"), TASKS)
        tasks = str(Tasks.of(values.pop("tasks"))) if "tasks" in values else None
        config = Config(**values)
        _check_network(config, 2 if task == "parity" else 10)
    except ValueError as error:
        raise ValueError(_located(str(error), sources, labels)) from error
    folder = Path("cells", *map(_file_name, labels))
    return [
        Cell(labels, seed, dataset, task, tasks, replace(config, seed=seed), folder / f"seed-{seed}") for seed in seeds
    ]


def _check_network(config: Config, classes: int) -> None:
    """Raise ``ValueError`` unless there are networks of these settings: what does not depend on their sizes."""
    tiny = replace(config, hidden=(1,) * len(config.hidden))
    plans(tiny, 1, classes)


def _located(message: str, sources: Mapping[str, str], labels: Sequence[str]) -> str:
    """Return the message with the place of the setting in the file, where it begins with one."""
    named = re.match(r"`(\w+)`", message)
    if named and named[1] in sources:
        return f"`{sources[named[1]]}`{message[named.end() :]}"
    return f"{message} (in {', '.join(labels)})" if labels else message


def _file_name(label: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", label).strip("-.") or "-"
