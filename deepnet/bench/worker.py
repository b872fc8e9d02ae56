"""One process for each contender, with the same environment, data and number of threads.

Side by side in one process, the idle threads of one library would spin on the cores of the next, and peak memory would
be that of all. The processes live through all rounds and work one at a time, when they are asked.
"""

import contextlib
import math
import os
import signal
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

from deepnet.bench import BenchError
from deepnet.bench.case import Case
from deepnet.bench.contenders import Contender, make
from deepnet.bench.limits import Limits
from deepnet.data import DataError

#: Variables that limit the threads of Numba and of the libraries of linear algebra.
_THREADS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

#: Batches before each measurement that are not timed: caches and threads have gone to sleep since the last one.
_LEAD_IN = 2

#: Smallest number of batches of an epoch that is cut: what there is to do once an epoch counts with them.
_MIN_BATCHES = 8


class Worker:
    """A contender in a process of its own, seen from the parent; to be closed.

    Args:
        name: of the contender.
        case: what it trains.
    """

    def __init__(self, name: str, case: Case) -> None:
        self.name = name
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, name, case), daemon=True)
        with _environment(dict.fromkeys(_THREADS, str(case.threads))):
            self._process.start()
        theirs.close()

    def ask(self, question: str, *arguments: Any) -> Any:
        """Answer of a method of ``Session``; raises as ``receive``."""
        self.send(question, *arguments)
        return self.receive()

    def send(self, question: str, *arguments: Any) -> None:
        """Ask without waiting; ``receive`` the answer before the next question."""
        with contextlib.suppress(OSError):  # of a process that has ended, which `receive` reports
            self._connection.send((question, arguments))

    def receive(self) -> Any:
        """Answer to what was sent.

        Raises:
            BenchError: the contender cannot run, or failed.
            DataError: the data set cannot be had.
        """
        try:
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join(5)
            reason = f"its process ended with exit code {self._process.exitcode}: too little memory?"
            raise BenchError(f"{self.name} failed: {reason}") from error
        if isinstance(answer, BenchError | DataError):
            raise answer
        if isinstance(answer, Exception):
            raise BenchError(f"{self.name} failed: {type(answer).__name__}: {answer}") from answer
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()
        self._connection.close()


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Environment variables for the processes that are started meanwhile."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _serve(connection: Connection, name: str, case: Case) -> None:
    """Answer questions until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent sees to it
    session = Session(name, case)
    with contextlib.suppress(EOFError):
        while True:
            question, arguments = connection.recv()
            try:
                answer = getattr(session, question)(*arguments)
            except Exception as error:
                answer = error
            connection.send(answer)


class Session:
    """What the parent may ask of a contender."""

    def __init__(self, name: str, case: Case) -> None:
        self._name, self._case = name, case
        self._contender: Contender
        self._before: int | None = None

    def prepare(self) -> dict[str, Any]:
        """Load libraries and data, build the network, and train on every size of batch once.

        Returns:
            weights: number of elements of the weight arrays.
            operations: what a sample and a batch take.
        """
        contender = self._contender = make(self._name, self._case)
        self._before = memory("VmRSS")
        contender.build()
        size = self._case.batch_size
        self._train_aside(min(self._case.samples, _LEAD_IN * size + self._case.samples % size))
        return {"weights": contender.weights, "operations": contender.operations}

    def batches(self, seconds: float) -> int:
        """Return how many batches of an epoch take about so long; at least ``_MIN_BATCHES``, at most all."""
        case, tried = self._case, 2
        if math.isinf(seconds):
            return case.batches
        while True:
            tried = min(tried, case.batches)
            samples = min(tried * case.batch_size, case.samples)
            taken = min(self._seconds_aside(samples) for _ in range(3))  # one alone may have been disturbed
            if taken > seconds / 8 or tried == case.batches:
                return min(case.batches, max(_MIN_BATCHES, round(tried * seconds / taken)))
            tried *= 4

    def advance(self, epoch: int) -> list[float] | None:
        """Train until so many epochs are completed; return the polarisation of each layer, if there is one."""
        while self._contender.epoch < epoch:
            self._contender.train(self._case.samples)
        return self._contender.polarization()

    def measure(self, batches: int) -> float:
        """Return the seconds of an epoch of so many batches."""
        samples = min(batches * self._case.batch_size, self._case.samples)
        self._train_aside(min(_LEAD_IN * self._case.batch_size, samples))
        start = perf_counter()
        self._contender.train(samples)
        return perf_counter() - start

    def memory(self) -> dict[str, int | None]:
        """Return peak memory of the process, what of it came after libraries and data, and the GPU's, in bytes."""
        peak, before = memory("VmHWM"), self._before
        own = None if peak is None or before is None else max(0, peak - before)
        return {"peak": peak, "own": own, "device": self._contender.device_memory()}

    def limits(self) -> Limits:
        """Return the limits of the machine."""
        return self._contender.limits()

    def _seconds_aside(self, samples: int) -> float:
        start = perf_counter()
        self._train_aside(samples)
        return perf_counter() - start

    def _train_aside(self, samples: int) -> None:
        """Train without counting it as an epoch."""
        epoch = self._contender.epoch
        self._contender.train(samples)
        self._contender.epoch = epoch


def memory(name: str) -> int | None:
    """Return the memory of this process, in bytes: "VmRSS" now, "VmHWM" at its peak; None where the system does not
    say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return 1024 * int(line.split()[1])
    return None
