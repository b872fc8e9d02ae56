"""One cell of a sweep: a run that is begun, taken up where it was left, or done, and its figures at the end."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deepnet.app.checkpoint import write_text_atomic
from deepnet.app.description import CONFIG, Description, RunError
from deepnet.app.run import METRICS, Run, evaluate
from deepnet.data import Dataset
from deepnet.data.tasks import TaskSequence, load_data
from deepnet.ensemble import Trained
from deepnet.experiments.spec import OF_TASKS, Cell
from factorgraph.io.files import parse_json
from factorgraph.runtime.executor import one_thread
from factorgraph.runtime.machine import machine

#: The figures of a finished cell, in its folder.
RESULT = "result.json"


@dataclass(frozen=True)
class Job:
    """A cell with what it needs to be run anywhere.

    Attributes:
        cell: the run.
        out: folder of the sweep, which all workers see.
        data_dir: folder with the files of the data sets; None for the usual places.
        device: where to train.
    """

    cell: Cell
    out: Path
    data_dir: Path | None
    device: str

    @property
    def directory(self) -> Path:
        """Folder of the run."""
        return self.out / self.cell.directory

    def check(self) -> None:
        """Raise ``RunError`` if the folder holds a run of other settings, or of more epochs."""
        if (self.directory / CONFIG).exists():
            self._check_same(Run.open(self.directory))

    def _check_same(self, run: Run) -> None:
        given = self.cell.config.to_json() | {"task": self.cell.task, "tasks": self.cell.tasks}
        try:
            run.description.check_same(self.cell.dataset, given)
        except RunError as error:
            raise RunError(f"{self.directory} cannot go on as {self.cell}: {error}") from error

    def result(self) -> dict[str, Any] | None:
        """Return the figures of the cell; None unless it is done."""
        try:
            result = parse_json((self.directory / RESULT).read_bytes())
        except (OSError, ValueError):
            return None
        return result if isinstance(result, dict) and result.get("epoch") == self.cell.epochs else None

    def history(self) -> list[dict[str, Any]]:
        """Return the metrics of the epochs so far."""
        try:
            return [json.loads(line) for line in (self.directory / METRICS).read_text().splitlines()]
        except OSError:
            return []


def run_job(job: Job) -> None:
    """Train a cell to its end, from its last checkpoint if there is one, on one thread, and write its figures.

    Raises:
        RunError: its folder holds another run, or another process trains in it.
        CheckpointError: the disk is full or refuses.
        DataError: the data set cannot be had.
        DivergenceError: it has diverged; its last checkpoint is as it was.
    """
    with one_thread():
        cell = job.cell
        settings: Any = {"task": cell.task, "tasks": cell.tasks, "dtype": cell.config.dtype}
        data = load_data(cell.dataset, data_dir=job.data_dir, **settings)
        with _opened(job, data) as (run, network):
            run.prepare(network)
            for _ in run.train(network, data):
                pass
            of_tasks = {name: run.history[-1][name] for name in OF_TASKS if run.history and cell.tasks is not None}
            of_run = {
                "seconds": sum(each["seconds"] for each in run.history) / max(1, len(run.history)),
                "machine": machine(job.device)["processor" if job.device == "cpu" else "gpu"],
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            figures = evaluate(network, data) | of_tasks | of_run
        write_text_atomic(job.directory / RESULT, json.dumps(figures, indent=2) + "\n")


@contextlib.contextmanager
def _opened(job: Job, data: Dataset | TaskSequence) -> Iterator[tuple[Run, Trained]]:
    """The run in the folder of a job, a new one if there is none, which nobody else can train meanwhile."""
    config = job.cell.config
    if (job.directory / CONFIG).exists():
        with Run.resumed(job.directory) as run:
            job._check_same(run)
            run.extend(config.epochs, job.device)
            yield run, run.load(job.device)
        return
    run = Run(job.directory, Description.of(data, config, job.data_dir, job.device))
    network = run.load(job.device)
    with run.begun():
        yield run, network
