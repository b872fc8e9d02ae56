"""What a run trains, and on what: the content of ``config.json``, and what a checkpoint remembers of it."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any, cast

from deepnet.config import SCHEDULED, Config
from deepnet.data import DATASETS, TASKS, Dataset, Files, Label, Task, load_files
from deepnet.data.fitting import preparation_from_json
from deepnet.data.preparation import Preparation
from deepnet.data.target import REGRESSION, Classes, Numbers, Target
from deepnet.data.tasks import Tasks, TaskSequence, load_data, number_of_tasks
from deepnet.kernels.devices import DEVICES
from deepnet.outputs import kind_named, output_name, units_for
from deepnet.schedule import Schedule
from deepnet.scores import Measures, measures
from deepnet.sizes import LARGEST
from deepnet.train import model
from factorgraph.interface.arguments import check_choice, check_fields, check_instance, check_integer, check_name, shown
from factorgraph.io.files import parse_json
from factorgraph.model.description import Model

#: The file that holds a description, in the folder of a run.
CONFIG = "config.json"

#: What the descriptions of earlier versions are without, and what it was.
_LATER: dict[str, Any] = {
    "device": "cpu",
    "tasks": None,
    "labels": None,
    "preparation": None,
    "files": None,
    "digests": {},
    "numbers": None,
}

#: Settings that are paths, if they are no names of data sets.
_PATHS = ("dataset", "train", "target", "test", "test_target")


class RunError(Exception):
    """A folder, data set or setting that does not fit the request; the message says what to do."""


@dataclass(frozen=True)
class Description:
    """What a run trains, and on what: the content of ``config.json``.

    Attributes:
        dataset: name of the data set, or of the files.
        task: "multiclass", "parity" or "regression".
        tasks: how the data set is made into tasks, see ``deepnet.data.tasks.Tasks``; None if it is learnt as it is.
        data_dir: folder given for the files of the data set, absolute; None for the usual places.
        features: number of inputs.
        classes: number of classes; of numbers, how many each sample has.
        config: the settings.
        versions: of this package and of those that its results depend on, when the run began.
        device: where it is trained; the only part that may change when a run is resumed, besides the epochs.
        labels: the classes as the user knows them, in the order of their numbers, none for numbers; None in runs of
            earlier versions.
        preparation: how inputs are made from what files hold; likewise.
        files: which files of the user's make the data set; None for one of ``DATASETS``.
        digests: of these files, by their paths.
        numbers: the scale of the targets, if these are numbers.
    """

    dataset: str
    task: str
    tasks: str | None
    data_dir: str | None
    features: int
    classes: int
    config: Config
    versions: Mapping[str, str]
    device: str = "cpu"
    labels: tuple[Label, ...] | None = None
    preparation: Preparation | None = None
    files: Files | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    numbers: Numbers | None = None

    @classmethod
    def of(
        cls,
        data: Dataset | TaskSequence,
        config: Config,
        data_dir: str | os.PathLike[str] | None = None,
        device: str = "cpu",
        files: Files | None = None,
    ) -> "Description":
        """Return the description of a run that begins now."""
        return cls(
            dataset=data.name,
            task=data.task,
            tasks=str(data.tasks) if isinstance(data, TaskSequence) else None,
            data_dir=None if data_dir is None else str(Path(data_dir).expanduser().absolute()),
            features=data.features,
            classes=data.classes,
            config=config,
            versions=versions(),
            device=device,
            labels=data.labels,
            preparation=data.preparation,
            files=files,
            digests={} if files is None else files.digests(),
            numbers=data.target if isinstance(data.target, Numbers) else None,
        )

    @property
    def epochs(self) -> int:
        """Number of epochs of the whole run, of all tasks if there are several."""
        return self.config.epochs * number_of_tasks(self.tasks)

    def to_json(self) -> str:
        """Return the text of ``config.json``."""
        inner = {name: getattr(self, name) for name in ("config", "preparation", "files", "numbers")}
        values = {name: None if value is None else value.to_json() for name, value in inner.items()}
        return json.dumps(vars(self) | values, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Description":
        """Return the reverse of ``to_json``; raise ``ValueError`` that names the field for anything else."""
        values = check_fields(CONFIG, parse_json(text), [each.name for each in fields(cls)], _LATER)
        config = Config.from_json(values["config"])
        if values["data_dir"] is not None:
            check_name("data_dir", values["data_dir"])
        for name, version in check_instance("versions", values["versions"], dict, "a JSON object").items():
            check_instance(f"versions.{name}", version, str, "a string")
        for name, digest in check_instance("digests", values["digests"], dict, "a JSON object").items():
            check_name(f"digests.{name}", digest)
        files = None if values["files"] is None else Files.from_json(values["files"])
        dataset, task = values["dataset"], check_choice("task", values["task"], (*TASKS, REGRESSION))
        if files is not None and (values["labels"] is None or values["preparation"] is None):
            raise ValueError("`labels` and `preparation` must be there for a run on `files`, got null")
        return cls(
            dataset=check_choice("dataset", dataset, DATASETS) if files is None else check_name("dataset", dataset),
            task=task,
            tasks=None if values["tasks"] is None else str(Tasks.of(values["tasks"])),
            data_dir=values["data_dir"],
            features=check_integer("features", values["features"], minimum=1, maximum=LARGEST),
            classes=check_integer("classes", values["classes"], minimum=1 + (task != REGRESSION), maximum=LARGEST),
            config=config,
            versions=values["versions"],
            device=check_choice("device", values["device"], DEVICES),
            labels=None if values["labels"] is None else _labels(values["labels"]),
            preparation=None if values["preparation"] is None else preparation_from_json(values["preparation"]),
            files=files,
            digests=values["digests"],
            numbers=Numbers.from_json(values["numbers"]) if task == REGRESSION else None,
        )

    def decisive(self) -> dict[str, Any]:
        """Return what decides the weights: all but the number of epochs, the device and the circumstances."""
        own = {name: getattr(self, name) for name in ("dataset", "task", "tasks", "features", "classes")}
        free = () if self._fixed_epochs() else ("epochs",)
        return own | {name: value for name, value in self.config.to_json().items() if name not in free}

    def _fixed_epochs(self) -> bool:
        """Return whether the number of epochs decides what each of them does."""
        return self.tasks is not None or (self.config.baseline is not None and self.config.baseline.anneals)

    def check_decisive(self, trained: Any) -> None:
        """Raise ``ValueError`` if a network was trained with other settings than these: the first one is named."""
        own = self.decisive()
        later = {name: value for name, value in (_LATER | Config.later()).items() if name in own}
        trained = later | check_instance("trained", trained, dict, "settings by name")
        for name, value in own.items():
            if name in trained and _canonical(name, value) != _canonical(name, trained[name]):
                was, got = _shown(trained[name]), _shown(value)
                raise ValueError(f"`{name}` must be {was}, with which it was trained, got {got} in {CONFIG}")
        check_fields("trained", trained, list(own))

    def model(self) -> Model:
        """Return the network as a model, the one that ``train.init`` lowers."""
        return model(self.config, self.features, self.classes)

    def load_data(
        self, data_dir: str | None = None, dataset: str | None = None, task: str | None = None
    ) -> Dataset | TaskSequence:
        """Return the data set of the run, from where it was when the run began, or its tasks, unless other ones are
        given.

        Raises:
            DataError: it cannot be had.
            RunError: it has not the shape that the network was made for, or its files have changed.
        """
        if self.files is not None and dataset is None:
            return self._load_files(self.files)
        if dataset is None or dataset == self.dataset:
            data_dir = data_dir or self.data_dir
        if self.numbers is not None:
            raise RunError(f"the data set must be a file with a column of numbers for this network, got {dataset}")
        chosen = cast(Task, task or self.task)
        name, dtype = dataset or self.dataset, self.config.dtype
        data = load_data(name, task=chosen, tasks=self.tasks, data_dir=data_dir, dtype=dtype)
        self.check_fits(data)
        return data

    def prepared(self) -> tuple[Preparation, Target]:
        """Return how inputs are made from files, and what is learned; found anew in runs of earlier versions.

        Raises:
            RunError: they do not fit the network.
            DataError: as of ``load_data``.
        """
        if self.preparation is None or self.labels is None:
            data = self.load_data()
            return data.preparation, data.target
        target = self.numbers or Classes(self.labels)
        for name, value in {"features": self.preparation.features, "classes": target.size}.items():
            if value != getattr(self, name):
                raise RunError(
                    f"`{name}` in {CONFIG} must be {value}, as its preparation has it, got {getattr(self, name)}"
                )
        return self.preparation, target

    def _load_files(self, files: Files) -> Dataset:
        now = files.digests()
        if changed := [path for path, digest in self.digests.items() if now.get(path) != digest]:
            raise RunError(f"{changed[0]} must be as it was when the run began, and has changed: begin another run")
        preparation, target = self.prepared()
        seed, dtype = self.config.seed, self.config.dtype
        return load_files(files, seed=seed, dtype=dtype, preparation=preparation, target=target)

    def check_fits(self, data: Dataset | TaskSequence) -> None:
        """Raise ``RunError`` unless the network can be applied to ``data``."""
        found = {"features": data.features, "classes": data.classes}
        for name, value in found.items():
            if value != (need := getattr(self, name)):
                raise RunError(f"data set {data.name} must have {need} {name} for this network, got {value}")

    def changed_versions(self) -> str:
        """Return what has another version than when the run began, in words; empty if nothing has."""
        now = versions()
        changed = [name for name in now if self.versions.get(name) != now[name]]
        return ", ".join(f"{name} was {self.versions.get(name)} and is {now[name]}" for name in changed)

    def check_same(self, dataset: str, given: Mapping[str, Any]) -> None:
        """Raise ``RunError`` if settings given for a resumed run (``epochs`` aside), or what is given of its files,
        differ from its own."""
        of_files = dict.fromkeys(each.name for each in fields(Files)) if self.files is None else self.files.to_json()
        own = self.config.to_json() | of_files | {"dataset": self.source, "task": self.task, "tasks": self.tasks}
        for name, value in {"dataset": dataset, **given}.items():
            if name == "epochs" and not self._fixed_epochs():
                if value < own["epochs"]:
                    raise RunError(f"`epochs` of a resumed run may only grow: the run has {own['epochs']}, got {value}")
            elif _canonical(name, value) != _canonical(name, own[name]):
                has, got = _shown(own[name]), _shown(value)
                raise RunError(f"`{name}` must stay as it was in a resumed run: the run has {has}, got {got}")

    @property
    def measures(self) -> Measures:
        """What is measured of the predictions."""
        return measures(kind_named(output_name(self.config.output, self.classes)).numeric)

    @property
    def source(self) -> str:
        """What the data set is called on the command line: its name, or the file with the training set."""
        return self.dataset if self.files is None else str(self.files.train)

    def title(self) -> str:
        """Return the settings that matter, in a line."""
        config, values = self.config, self.config.to_json()
        widths = "-".join(map(str, [self.features, *config.hidden, units_for(config.output, self.classes)]))
        names = (
            *("closure", "weights", "activation", "batch_size", "memory"),
            *("preset", "rho", "damping", "beta", "tau", "seed"),
        )
        if config.baseline is not None:
            names = ("algorithm", "weights", "activation", "batch_size", "seed")
        parts = [f"{name.replace('_', ' ')} {_shown(_canonical(name, values[name]))}" for name in names]
        return f"{self.dataset} ({self.kind}), units {widths}, {', '.join(parts)}"

    @property
    def kind(self) -> str:
        """What is made of the data set, in words."""
        return ", ".join(filter(None, (self.task, self.tasks)))

    def __str__(self) -> str:
        read, settings = self.config.read(), self.config.to_json()
        learned = self.numbers or f"{self.classes} classes"
        chosen = {name: value for name, value in settings.items() if name in read and value is not None}
        values = {name.replace("_", "-"): _shown(value) for name, value in chosen.items()}
        return "\n".join(
            [
                f"data set  {self.source} ({self.kind}), {self.features} features, {learned}",
                f"device    {self.device}",
                f"versions  {', '.join(f'{name} {version}' for name, version in self.versions.items())}",
                "settings",
                *(f"  {name:<14} {value}" for name, value in values.items()),
                "model",
                *(f"  {line}" for line in str(self.model()).splitlines()),
            ]
        )


def versions() -> dict[str, str]:
    """Return the versions of this package, and of what its numbers depend on."""
    found = {"python": platform.python_version()}
    for name in ("cavity", "numpy", "scipy", "numba"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _labels(values: Any) -> tuple[Label, ...]:
    """Return classes as they stand in ``config.json``."""
    labels = check_instance("labels", values, list, "a list")
    if not all(isinstance(each, str | int) and not isinstance(each, bool) for each in labels):
        raise ValueError(f"`labels` must be texts or integers, got {shown(labels)}")
    if len(set(map(str, labels))) < len(labels):
        raise ValueError(f"`labels` must be different, got {shown(labels)}")
    return tuple(labels)


def _canonical(name: str, value: Any) -> Any:
    """Return a form in which equal settings are equal: one value for all layers, or a list; schedules as objects; paths
    as those of the files themselves."""
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if name in SCHEDULED and value is not None:
        values = [str(Schedule.of(name, each)) for each in values]
    if name in _PATHS:
        values = [os.path.realpath(each) if isinstance(each, str) and os.path.isabs(each) else each for each in values]
    same = name != "hidden" and all(each == values[0] for each in values[1:])
    return values[:1] if same else values


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
