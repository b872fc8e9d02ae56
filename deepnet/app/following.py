"""The part that a process has in a run which the first of several processes keeps on the disk."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from deepnet.app.checkpoint import as_path
from deepnet.app.run import Run
from deepnet.ensemble import Trained
from deepnet.processes import Communicator


class FollowingRun(Run):
    """A run that is trained here as well, and written by another process: it reads the folder, which it does not
    lock."""

    @classmethod
    def check_free(cls, directory: str | os.PathLike[str]) -> None:
        """As the first process finds it."""

    @classmethod
    @contextlib.contextmanager
    def resumed(cls, directory: str | os.PathLike[str]) -> "Iterator[Run]":
        """As ``Run.resumed``; the lock is the first process's."""
        yield cls.open(as_path("directory", directory))

    @contextlib.contextmanager
    def begun(self) -> Iterator[None]:
        yield

    def prepare(self, network: Trained) -> None:
        """Nothing is written."""

    def record(self, network: Trained, measured: dict[str, Any]) -> None:
        """Keep the metrics."""
        self.history = [*self.history, measured]

    def _check_folder(self) -> None:
        """The first process watches the folder."""


def run_of(communicator: Communicator) -> type[Run]:
    """Return what a run is in this process."""
    return FollowingRun if communicator.rank else Run
