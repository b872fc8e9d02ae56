"""The folder of a training run: its settings, checkpoints and metrics, begun or taken up again.

A folder holds ``config.json`` (what is trained on what), the newest checkpoints, ``metrics.jsonl`` (one line an epoch)
and ``curves.png``. The checkpoint is the truth: it contains the metrics of all epochs before it, and ``metrics.jsonl``
is written anew from them, so that a run killed at any moment and resumed leaves the same files as one never killed.
"""

import contextlib
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any, cast

from deepnet.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint, save_checkpoint, write_text_atomic
from deepnet.config import Config
from deepnet.data import Dataset, Task, load_dataset
from deepnet.schedule import Schedule
from deepnet.train import Evaluation, Network, init, metrics, model, train, warm_up
from factorgraph.dense.state import LayerPlan
from factorgraph.files import remove_abandoned
from factorgraph.model import Model

CONFIG, METRICS, FIGURE = "config.json", "metrics.jsonl", "curves.png"

_SCHEDULED = ("rho", "damping", "beta")


class RunError(Exception):
    """A folder, data set or setting that does not fit what was asked for; the message says what to do."""


@dataclass(frozen=True)
class Description:
    """What a run trains, and on what: the content of ``config.json``.

    Attributes:
        dataset: name of the data set.
        task: "multiclass" or "parity".
        data_dir: folder given for the files of the data set, absolute; None for the usual places.
        features: number of inputs.
        classes: number of classes.
        config: the settings.
        versions: of this package and of those that its results depend on, when the run began.
        device: where it is trained; the only part that may change when a run is resumed, besides the epochs.
    """

    dataset: str
    task: str
    data_dir: str | None
    features: int
    classes: int
    config: Config
    versions: Mapping[str, str]
    device: str = "cpu"

    @classmethod
    def of(
        cls, data: Dataset, config: Config, data_dir: str | os.PathLike[str] | None = None, device: str = "cpu"
    ) -> "Description":
        """The description of a run that begins now."""
        folder = None if data_dir is None else str(Path(data_dir).expanduser().absolute())
        features = data.x_train.shape[1]
        return cls(data.name, data.task, folder, features, data.classes, config, versions(), device)

    def to_json(self) -> str:
        """Text of ``config.json``."""
        return json.dumps(vars(self) | {"config": self.config.to_json()}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Description":
        """The reverse of ``to_json``; raises ``ValueError``, ``TypeError`` or ``KeyError`` for anything else."""
        values = json.loads(text)
        return cls(**values | {"config": Config.from_json(values["config"])})

    def model(self) -> Model:
        """The network as a model, the one that ``train.init`` lowers."""
        return model(self.config, self.features, self.classes)

    def load_data(self, data_dir: str | None = None, dataset: str | None = None, task: str | None = None) -> Dataset:
        """The data set of the run, from where it was when the run began, unless other ones are given.

        Raises:
            DataError: it cannot be had.
            RunError: it has not the shape that the network was made for.
        """
        if dataset is None or dataset == self.dataset:
            data_dir = data_dir or self.data_dir
        chosen = cast(Task, task or self.task)
        data = load_dataset(dataset or self.dataset, task=chosen, data_dir=data_dir, dtype=self.config.dtype)
        self.check_fits(data)
        return data

    def check_fits(self, data: Dataset) -> None:
        """Raise ``RunError`` unless the network can be applied to ``data``."""
        found = {"features": data.x_train.shape[1], "classes": data.classes}
        for name, value in found.items():
            if value != (need := getattr(self, name)):
                raise RunError(f"data set {data.name} must have {need} {name} for this network, got {value}")

    def changed_versions(self) -> str:
        """What has another version than when the run began, in words; empty if nothing has."""
        now = versions()
        changed = [name for name in now if self.versions.get(name) != now[name]]
        return ", ".join(f"{name} was {self.versions.get(name)} and is {now[name]}" for name in changed)

    def check_same(self, dataset: str, given: Mapping[str, Any]) -> None:
        """Raise ``RunError`` if settings given for a resumed run (``epochs`` aside) differ from its own."""
        own = self.config.to_json() | {"dataset": self.dataset, "task": self.task}
        for name, value in {"dataset": dataset, **given}.items():
            if name == "epochs":
                if value < own["epochs"]:
                    raise RunError(f"`epochs` of a resumed run may only grow: the run has {own['epochs']}, got {value}")
            elif _canonical(name, value) != _canonical(name, own[name]):
                has, got = _shown(own[name]), _shown(value)
                raise RunError(f"`{name}` must stay as it was in a resumed run: the run has {has}, got {got}")

    def title(self) -> str:
        """The settings that matter, in a line."""
        config, values = self.config, self.config.to_json()
        widths = "-".join(map(str, [self.features, *config.hidden, self.classes if self.classes > 2 else 1]))
        names = ("closure", "weights", "activation", "batch_size", "preset", *_SCHEDULED, "tau", "seed")
        parts = [f"{name.replace('_', ' ')} {_shown(_canonical(name, values[name]))}" for name in names]
        return f"{self.dataset} ({self.task}), units {widths}, {', '.join(parts)}"

    def __str__(self) -> str:
        values = {name.replace("_", "-"): _shown(value) for name, value in self.config.to_json().items()}
        return "\n".join(
            [
                f"data set  {self.dataset} ({self.task}), {self.features} features, {self.classes} classes",
                f"device    {self.device}",
                f"versions  {', '.join(f'{name} {version}' for name, version in self.versions.items())}",
                "settings",
                *(f"  {name:<14}{value}" for name, value in values.items()),
                "model",
                *(f"  {line}" for line in str(self.model()).splitlines()),
            ]
        )


@dataclass
class Run:
    """A run and its folder. Nothing is written before ``prepare``.

    Attributes:
        directory: its folder.
        description: what is trained.
        history: the metrics of the epochs so far.
    """

    directory: Path
    description: Description
    history: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> "Run":
        """The run in a folder.

        Raises:
            RunError: there is none.
            CheckpointError: its ``config.json`` cannot be read.
        """
        path = Path(directory) / CONFIG
        try:
            return cls(Path(directory), Description.from_json(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(f"there is no run in {directory}: it has no {CONFIG}") from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"cannot read {path}: {error}") from error

    @property
    def figure(self) -> Path:
        """Where the curves are drawn."""
        return self.directory / FIGURE

    def extend(self, epochs: int, device: str | None = None) -> None:
        """Train up to ``epochs`` in all, from now on on another device if one is given."""
        config = replace(self.description.config, epochs=epochs)
        self.description = replace(self.description, config=config, device=device or self.description.device)

    def load(self, device: str = "cpu") -> Network:
        """The network at the newest checkpoint, the history with it; the initial network if there is none.

        Raises:
            DeviceUnavailableError: the device is not there.
            ValueError: settings that are no network.
            CheckpointError: the checkpoint is damaged or of another network.
        """
        description = self.description
        network = init(description.config, description.features, description.classes, device)
        path = latest_checkpoint(self.directory)
        if path is None:
            return network
        epoch, arrays, meta = load_checkpoint(path)
        try:
            network.restore(arrays, epoch)
            self.history = meta["history"]
        except (ValueError, KeyError) as error:
            raise CheckpointError(f"{path} does not belong to the run described in {CONFIG}: {error}") from error
        return network

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder if need be and keep other processes from training in it; the lock dies with the process."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot make the folder {self.directory}: {error.strerror}") from error
        if sys.platform == "win32":
            yield
            return
        import fcntl

        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise RunError(f"another process is training in {self.directory}: wait for it, or end it first") from None
        try:
            yield
        finally:
            os.close(descriptor)

    def prepare(self, network: Network) -> None:
        """Write what training needs to be resumable, and bring the files in line with the newest checkpoint."""
        write_text_atomic(self.directory / CONFIG, self.description.to_json())
        if latest_checkpoint(self.directory) is None:
            save_checkpoint(self.directory, network.epoch, network.arrays(), {"history": self.history})
        self._write_metrics()
        remove_abandoned(self.directory, "|".join(map(re.escape, (CONFIG, METRICS, FIGURE))))

    def train(
        self, network: Network, data: Dataset, progress: Callable[[int], None] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Train up to ``config.epochs``; every epoch's metrics are on the disk when they are yielded.

        Raises:
            DivergenceError: the run has diverged; the last checkpoint is as it was.
            CheckpointError: the disk is full or refuses; the last checkpoint is as it was.
        """
        warm_up(network.config, data.classes, network.device)  # so that the seconds of the first epoch are its own
        x, y, seed = data.x_train, data.y_train, network.config.seed
        epochs = train(network, x, y, Evaluation.of(x, y, data.x_test, data.y_test, seed=seed), progress)
        while True:
            start = perf_counter()
            measured = next(epochs, None)
            if measured is None:
                return
            measured["evaluation_seconds"] = perf_counter() - start - measured["seconds"]
            self.record(network, measured)
            yield measured

    def record(self, network: Network, measured: dict[str, Any]) -> None:
        """Write the checkpoint of an epoch, its metrics in it, and then the line of the metrics."""
        history = [*self.history, measured]
        save_checkpoint(self.directory, network.epoch, network.arrays(), {"history": history})
        self.history = history
        self._write_metrics()

    def _write_metrics(self) -> None:
        lines = [json.dumps(measured) + "\n" for measured in self.history]
        write_text_atomic(self.directory / METRICS, "".join(lines))


def evaluate(network: Network, data: Dataset) -> dict[str, Any]:
    """The metrics of a network on the whole training and test set."""
    return metrics(network, Evaluation(data.x_train, data.y_train, data.x_test, data.y_test))


def describe(plan: LayerPlan) -> str:
    """A layer in a line: shape of its weights, what they are, activation, closure."""
    bias = ", bias in the last column" if plan.bias else ""
    edges = "" if plan.mask is None else f", {plan.mask.mean():.1%} of the edges"
    return f"{plan.name}: {plan.outputs} x {plan.inputs} {plan.prior}, {plan.channel}, {plan.closure}{bias}{edges}"


def default_directory(dataset: str, task: str, closure: str | Sequence[str], seed: int) -> Path:
    """Where a run goes unless the user says otherwise: runs/DATASET[-parity]-CLOSURE-SEED."""
    kind = closure if isinstance(closure, str) else "+".join(closure)
    return Path("runs", "-".join([dataset, *([task] if task != "multiclass" else []), kind, str(seed)]))


def check_free(directory: Path) -> None:
    """Raise ``RunError`` unless a new run may be written to ``directory``."""
    check_writable(directory)
    names = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    if names & {CONFIG, METRICS} or latest_checkpoint(directory) is not None:
        raise RunError(
            f"{directory} already holds a run: continue it with --resume, or choose another folder with --out"
        )


def check_writable(directory: Path) -> None:
    """Raise ``RunError`` unless files can be written to ``directory``, or it can be made."""
    place = directory.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise RunError(f"`--out` must be a folder, got {str(directory)!r}: {place} is a file")
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        raise RunError(
            f"`--out` must be a folder that can be written, got {str(directory)!r}: no permission in {place}"
        )


def versions() -> dict[str, str]:
    """Versions of this package, and of what its numbers depend on."""
    found = {"python": platform.python_version()}
    for name in ("cavity", "numpy", "scipy", "numba"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _canonical(name: str, value: Any) -> Any:
    """A form in which equal settings are equal: one value for all layers, or a list; schedules as objects."""
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if name in _SCHEDULED:
        values = [str(Schedule.of(name, each)) for each in values]
    same = name != "hidden" and all(each == values[0] for each in values[1:])
    return values[:1] if same else values


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
