"""The folder of a training run: its settings, checkpoints and metrics, begun or taken up again.

A folder holds ``config.json`` (what is trained on what), the newest checkpoints, ``metrics.jsonl`` (one line an epoch)
and ``curves.png``. The checkpoint is the truth: it contains the metrics of all epochs before it, and ``metrics.jsonl``
is written anew from them, so that a run killed at any moment and resumed leaves the same files as one never killed.
"""

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from deepnet.app.checkpoint import (
    CheckpointError,
    as_path,
    checkpoints,
    file_name,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
    write_text_atomic,
)
from deepnet.app.description import CONFIG, Description, RunError
from deepnet.app.history import check_history
from deepnet.continual import TASK_ERRORS, measure_tasks, tasks_of
from deepnet.data import Dataset
from deepnet.data.target import Classes, Numbers
from deepnet.data.tasks import TaskSequence
from deepnet.ensemble import Trained, check_drawn, create, drawn_digests, one_network
from deepnet.export.exported import Exported
from deepnet.metrics import Evaluation, metrics
from deepnet.processes import ALONE, Communicator
from deepnet.state import check_arrays
from deepnet.train import train, warm_up
from factorgraph.interface.arguments import shown
from factorgraph.io.files import read_bytes, remove_abandoned

METRICS, FIGURE, TASKS_FIGURE = "metrics.jsonl", "curves.png", "tasks.png"

#: Bytes that ``config.json`` may have; one of a hundred layers has some thousands.
_LONGEST_CONFIG = 1 << 20

#: Seconds between two looks whether the folder is still there.
_WATCH_PERIOD = 1.0


@dataclass
class Run:
    """A run and its folder. Nothing is written before ``prepare``.

    Attributes:
        directory: its folder.
        description: what is trained.
        history: the metrics of the epochs so far.
        new: nothing of it has been written, and nothing is read.
        communicator: of the processes that train its network together.
    """

    directory: Path
    description: Description
    history: list[dict[str, Any]] = field(default_factory=list, repr=False)
    new: bool = True
    communicator: Communicator = field(default=ALONE, repr=False)
    _descriptor: int | None = field(default=None, repr=False)

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> "Run":
        """Return the run in a folder.

        Raises:
            RunError: there is none.
            CheckpointError: its ``config.json`` cannot be read.
        """
        path = as_path("directory", directory) / CONFIG
        try:
            text = read_bytes(path, _LONGEST_CONFIG).decode()
            return cls(Path(directory), Description.from_json(text), new=False)
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(f"there is no run in {directory}: it has no {CONFIG}{_orphans(Path(directory))}") from None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"cannot read {path}: {_reason(error)}") from error

    @classmethod
    @contextlib.contextmanager
    def resumed(cls, directory: str | os.PathLike[str]) -> "Iterator[Run]":
        """The run in a folder, read while no other process trains in it, nor can until the end of the block.

        Raises:
            RunError: there is none, or another process is training.
            CheckpointError: as by ``open``.
        """
        folder = as_path("directory", directory)
        if not os.path.isdir(folder):
            raise RunError(f"there is no run in {directory}: it has no {CONFIG}")
        with _locked(folder) as descriptor:
            run = cls.open(folder)
            run._descriptor = descriptor
            yield run

    @classmethod
    def check_free(cls, directory: Path) -> None:
        """As ``check_free`` of the module."""
        check_free(directory)

    @contextlib.contextmanager
    def begun(self) -> Iterator[None]:
        """Make the folder of a new run and keep others from training in it, until the end of the block.

        Raises:
            RunError: there is a run in it, also one that came in between.
        """
        with self.locked():
            check_free(self.directory)
            yield

    @property
    def figure(self) -> Path:
        """Where the curves are drawn."""
        return self.directory / FIGURE

    def extend(self, epochs: int, device: str | None = None) -> None:
        """Train up to ``epochs`` in all, from now on on another device if one is given."""
        config = replace(self.description.config, epochs=epochs)
        self.description = replace(self.description, config=config, device=device or self.description.device)

    def load(self, device: str = "cpu") -> Trained:
        """Return the network at the newest checkpoint, the history with it; the initial network if there is none.

        Raises:
            DeviceUnavailableError: the device is not there.
            ValueError: settings that are no network.
            CheckpointError: the checkpoint is damaged, of another network, or trained with other settings.
        """
        path = None if self.new else latest_checkpoint(self.directory)
        while path is not None:
            try:
                return self._restored(path, device)
            except CheckpointError:
                if (newer := latest_checkpoint(self.directory)) == path:
                    raise
                path = newer  # another process is training, and has removed the one that was the newest
        return self._initial(device)

    def _initial(self, device: str) -> Trained:
        """Return the network before the first epoch."""
        description = self.description
        return create(description.config, description.features, description.classes, device, self.communicator)

    def exported(self, network: Trained) -> Exported:
        """Return the network with what pictures, as files have them, go through before it, and the scale of numbers
        behind it; of columns it takes inputs as they are prepared."""
        layers = one_network(network, "to be exported").layers
        preparation, target = self.description.prepared()
        scale = (target.mean, target.scale) if isinstance(target, Numbers) else None
        classes = target.labels if isinstance(target, Classes) else None
        return Exported(layers, preparation.standardization, classes, scale)

    def _restored(self, path: Path, device: str) -> Trained:
        """Return the network in a checkpoint, which must be one of this run."""
        description = self.description
        epoch, arrays, meta = load_checkpoint(path)
        problems = []
        if "trained" in meta:  # older checkpoints are without
            problems += _problem(lambda: description.check_decisive(meta["trained"]))
        problems += _problem(
            lambda: check_arrays(arrays, description.config, description.features, description.classes)
        )
        if problems:
            raise self._foreign(path, "; ".join(problems))
        try:
            every = None if description.tasks is None else description.config.epochs
            layers, measures = description.config.layers, description.measures
            history = check_history(meta.get("history"), epoch, layers, measures, every)
        except ValueError as error:
            raise self._foreign(path, error) from error
        network = self._initial(device)
        try:
            if "masks" in meta:  # older checkpoints are without
                check_drawn(network, meta["masks"])
            network.restore(arrays, epoch)
        except ValueError as error:
            raise self._foreign(path, error) from error
        self.history = history
        return network

    def _foreign(self, path: Path, error: ValueError | str) -> CheckpointError:
        return CheckpointError(f"{path} does not belong to the run described in {CONFIG}: {error}")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder if need be and keep other processes from training in it; the lock dies with the process."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot make the folder {self.directory}: {_reason(error)}") from error
        with _locked(self.directory) as self._descriptor:
            try:
                yield
            finally:
                self._descriptor = None

    def prepare(self, network: Trained) -> None:
        """Write what training needs to be resumable, and bring the files in line with the newest checkpoint.

        Raises:
            RunError: the folder holds a run, and this is a new one; or the run has gone on since it was read.
            CheckpointError: the disk is full or refuses.
        """
        if self.new:
            check_free(self.directory)
        newest = latest_checkpoint(self.directory)
        if newest is not None and newest.name != file_name(network.epoch):
            raise RunError(f"the run in {self.directory} has gone on to {newest.name} since it was read: read it again")
        write_text_atomic(self.directory / CONFIG, self.description.to_json())
        self.new = False
        if newest is None:
            self._save(network, self.history)
        self._write_metrics()
        remove_abandoned(self.directory, "|".join(map(re.escape, (CONFIG, METRICS, FIGURE, TASKS_FIGURE))))

    def train(
        self,
        network: Trained,
        data: Dataset | TaskSequence,
        progress: Callable[[int], None] | None = None,
        compiling: Callable[[int, int], None] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Train ``config.epochs`` on the data, or on each task; every epoch's metrics are on the disk when they are
        yielded.

        Args:
            network: of this run.
            data: to train on and to evaluate with.
            progress: called with the number of samples after each batch.
            compiling: as ``progress`` of ``warm_up``.

        Raises:
            DivergenceError: the run has diverged; the last checkpoint is as it was.
            CheckpointError: the disk is full or refuses; the last checkpoint is as it was.
        """
        # So that the seconds of the first epoch are its own.
        with self.communicator.after_first():  # which compiles for all
            warm_up(network.config, data.classes, network.device, compiling, self.communicator)
        tasks, watch, each = tasks_of(data), self._watched(progress), network.config.epochs
        for number in range(network.epoch // max(1, each), len(tasks)):
            since = number * each
            if network.epoch == since:
                network.settle()
            epochs = _epochs(network, tasks[number], watch, since)
            while True:
                start = perf_counter()
                measured = next(epochs, None)
                if measured is None:
                    break
                if network.epoch == since + each and isinstance(data, TaskSequence):
                    measured |= measure_tasks(network, data, self.history)
                measured["evaluation_seconds"] = perf_counter() - start - measured["seconds"]
                self.record(network, measured)
                yield measured

    def record(self, network: Trained, measured: dict[str, Any]) -> None:
        """Write the checkpoint of an epoch, its metrics in it, and then the line of the metrics."""
        history = [*self.history, measured]
        self._check_folder()
        if not (self.directory / CONFIG).exists():  # without it the rest would be of no use
            write_text_atomic(self.directory / CONFIG, self.description.to_json())
        self._save(network, history)
        self.history = history
        self._write_metrics()

    def _save(self, network: Trained, history: list[dict[str, Any]]) -> None:
        """Write a checkpoint, with what decides whether it belongs to a description."""
        meta = {"history": history, "trained": self.description.decisive(), "masks": drawn_digests(network)}
        save_checkpoint(self.directory, network.epoch, network.arrays(), meta, make_folder=False)

    def _watched(self, progress: Callable[[int], None] | None) -> Callable[[int], None]:
        """Return the same ``progress``, and an error soon after the folder is gone: the epoch could not be kept."""
        checked = perf_counter()

        def watch(samples: int) -> None:
            nonlocal checked
            if perf_counter() - checked > _WATCH_PERIOD:
                self._check_folder()
                checked = perf_counter()
            if progress is not None:
                progress(samples)

        return watch

    def _check_folder(self) -> None:
        """Raise ``CheckpointError`` unless the folder is there, and the one that was locked."""
        try:
            now = os.stat(self.directory)
            there = self._descriptor is None or os.path.samestat(now, os.fstat(self._descriptor))
        except OSError:
            there = False
        if not there:
            raise CheckpointError(
                f"the folder {self.directory} of the run was removed, or another one put in its place, while the run "
                f"was going on: its last checkpoints went with it"
            )

    def _write_metrics(self) -> None:
        lines = [json.dumps(measured) + "\n" for measured in self.history]
        write_text_atomic(self.directory / METRICS, "".join(lines))


def _epochs(network: Trained, data: Dataset, watch: Callable[[int], None], since: int) -> Iterator[dict[str, Any]]:
    """Train on one data set after so many epochs on others."""
    x, y = data.x_train, data.y_train
    evaluation = Evaluation.of(x, y, data.x_test, data.y_test, seed=network.config.seed, unit=data.target.unit)
    return train(network, x, y, evaluation, watch, since=since)


def evaluate(network: Trained, data: Dataset | TaskSequence) -> dict[str, Any]:
    """Return the metrics of a network on the whole training and test set: the means over the tasks if there are
    several, and each test error as well."""
    each = [
        metrics(network, Evaluation(one.x_train, one.y_train, one.x_test, one.y_test, one.target.unit))
        for one in tasks_of(data)
    ]
    if not isinstance(data, TaskSequence):
        return each[0]
    means = {
        name: float(np.mean([one[name] for one in each])) for name, value in each[0].items() if isinstance(value, float)
    }
    own = {name: [one[name.replace("task_errors", "test_error")] for one in each] for name in TASK_ERRORS}
    return each[0] | means | own


def default_directory(dataset: str, task: str, tasks: str | None, method: str | Sequence[str], seed: int) -> Path:
    """Where a run goes unless the user says otherwise: runs/DATASET[-parity][-TASKS]-METHOD-SEED, see
    ``Config.method``."""
    kind = method if isinstance(method, str) else "+".join(method)
    parts = [dataset, task if task != "multiclass" else "", (tasks or "").replace(":", "-"), kind, str(seed)]
    return Path("runs", "-".join(filter(None, parts)))


def check_free(directory: Path) -> None:
    """Raise ``RunError`` unless a new run may be written to ``directory``."""
    check_writable(directory)
    try:
        if (directory / CONFIG).exists():
            raise RunError(
                f"{directory} already holds a run: continue it with --resume, or choose another folder with --out"
            )
    except OSError as error:
        raise RunError(f"`--out` must be a folder, got {shown(str(directory))}: {_reason(error)}") from error
    if orphans := _orphans(directory):
        raise RunError(f"{directory} cannot take a new run: it has no {CONFIG}{orphans}")


def _orphans(directory: Path) -> str:
    """In words, what a folder without ``config.json`` has of a run; empty if it has nothing."""
    parts = [METRICS] if (directory / METRICS).exists() else []
    parts += [path.name for path in checkpoints(directory)]
    if not parts:
        return ""
    return f", only parts that are of no use without it ({', '.join(parts)}): remove them, or choose another folder"


def check_writable(directory: Path) -> None:
    """Raise ``RunError`` unless files can be written to ``directory``, or it can be made."""
    place = directory.absolute()
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
        is_folder = place.is_dir()
    except OSError as error:  # a name that is too long, say
        raise RunError(f"`--out` must be a folder, got {shown(str(directory))}: {_reason(error)}") from error
    if not is_folder:
        raise RunError(f"`--out` must be a folder, got {str(directory)!r}: {place} is a file")
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        raise RunError(
            f"`--out` must be a folder that can be written, got {str(directory)!r}: no permission in {place}"
        )


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[int | None]:
    """Keep other processes from training in a folder; the descriptor of the folder, where it has one."""
    if sys.platform == "win32":
        yield None
        return
    import fcntl

    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise RunError(f"cannot open the folder {directory}: {_reason(error)}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = os.path.samestat(os.fstat(descriptor), os.stat(directory))
        except BlockingIOError:
            raise RunError(f"another process is training in {directory}: wait for it, or end it first") from None
        except OSError as error:
            raise RunError(f"cannot lock the folder {directory}: {_reason(error)}") from error
        if not same:
            raise RunError(f"the folder {directory} was replaced by another one at this moment: try again")
        yield descriptor
    finally:
        os.close(descriptor)


def _problem(check: Callable[[], None]) -> list[str]:
    """Return what a check complains of, if it does."""
    try:
        check()
    except ValueError as error:
        return [str(error)]
    return []


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
