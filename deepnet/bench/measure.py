"""Rounds: every contender is timed in turn, several times, and compared within each round."""

import contextlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

from deepnet.bench.case import Case
from deepnet.bench.contenders import BASELINES
from deepnet.bench.worker import Worker
from deepnet.cost import Cost, Limits
from deepnet.sizes import LARGEST, check_count
from factorgraph.interface.arguments import shown

#: Seconds before each measurement in which the threads of the contender before it go to sleep.
_SETTLE = 0.3


@dataclass(frozen=True)
class Protocol:
    """How a case is measured.

    Attributes:
        rounds: number of times that every contender is timed.
        seconds: a measurement is a whole epoch, or so many of its batches as take about this long; infinite for always
            a whole one.
        after: numbers of completed epochs after which the rounds take place.

    Raises:
        ValueError: naming the attribute, what it must be and what it was.
    """

    rounds: int = 5
    seconds: float = 5.0
    after: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        check_count("rounds", self.rounds, 1)
        if not isinstance(self.seconds, Real) or not self.seconds > 0:
            raise ValueError(f"`seconds` must be greater than 0, got {shown(self.seconds)}")
        whole = all(isinstance(epoch, Integral) and 0 <= int(epoch) <= LARGEST for epoch in self.after)
        if not self.after or not whole or any(a >= b for a, b in pairwise(self.after)):
            raise ValueError(f"`after` must be integers >= 0 that increase, got {shown(list(self.after))}")


def measure(
    case: Case, names: Sequence[str], protocol: Protocol, progress: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Time the contenders on a case.

    Args:
        case: what is trained.
        names: of the contenders, see ``contenders.make``. A baseline is what the others are compared with.
        protocol: how often, how long and when.
        progress: called with what is done next.

    Returns:
        ``case``, its settings, and ``contenders``: for each one and number of epochs after which it was timed a
        dictionary, of numbers and strings only, with the keys

        - ``name``, ``after``, ``weights``;
        - ``polarization``: mean of m² in each layer before the rounds, None for the baseline;
        - ``batches``: how many of an epoch were timed, ``epoch_batches``: of how many;
        - ``seconds``: of an epoch, in every round, scaled from the batches timed; what there is to do once an epoch
          is scaled with them. ``median_seconds``: their median;
        - ``ratios``: in every round, to the first baseline; None without one. ``median_ratio``;
        - ``flops``, ``evaluations``: a second, see ``Cost``;
        - ``limits``: see ``Limits``, ``share``: least time at these limits over the median time; None where it is more
          than 1, which says that the limits were measured too low;
        - ``memory``: in bytes, ``peak`` of the process, ``own`` (without libraries and data), ``device`` (GPU).

    Raises:
        BenchError: a contender cannot run, or failed.
    """
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(contextlib.closing(Worker(name, case))) for name in names]
        prepared, batches = {}, {}
        if case.device != "cpu":  # side by side; on the CPU, each finds in the cache what those before it compiled
            for worker in workers:
                worker.send("prepare")
        for worker in workers:
            progress(f"{worker.name}: preparing")
            if case.device == "cpu":
                worker.send("prepare")
            prepared[worker.name] = worker.receive()
        for worker in workers:
            time.sleep(_SETTLE)
            batches[worker.name] = worker.ask("batches", protocol.seconds)
        timed = [(epoch, *_timed(workers, batches, epoch, case, protocol, progress)) for epoch in protocol.after]
        memory = {worker.name: worker.ask("memory") for worker in workers}
        limits = {worker.name: worker.ask("limits") for worker in workers}
    rows = []
    for epoch, polarizations, seconds in timed:
        reference = next((seconds[name] for name in BASELINES if name in seconds), None)
        for name in names:
            row = {"name": name, "after": epoch, "weights": prepared[name]["weights"]}
            row |= {"polarization": polarizations[name], "batches": batches[name], "epoch_batches": case.batches}
            row |= _compared(seconds[name], reference)
            row |= _rates(prepared[name]["operations"], limits[name], row["median_seconds"], case)
            rows.append(row | {"memory": memory[name]})
    return {
        "case": asdict(case) | {"data_dir": None if case.data_dir is None else str(case.data_dir)},
        "contenders": rows,
    }


def _timed(
    workers: Sequence[Worker],
    batches: dict[str, int],
    epoch: int,
    case: Case,
    protocol: Protocol,
    progress: Callable[[str], None],
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Return polarisations after ``epoch`` epochs, and seconds of an epoch in each of the rounds that follow."""
    polarizations = {}
    for worker in workers:
        progress(f"{worker.name}: training until epoch {epoch}")
        polarizations[worker.name] = worker.ask("advance", epoch)
    seconds: dict[str, list[float]] = {worker.name: [] for worker in workers}
    for number in range(protocol.rounds):
        for worker in workers:
            progress(f"{worker.name}: round {number + 1} of {protocol.rounds}")
            time.sleep(_SETTLE)
            samples = min(batches[worker.name] * case.batch_size, case.samples)
            taken = worker.ask("measure", batches[worker.name])
            seconds[worker.name].append(taken * case.samples / samples)
    return polarizations, seconds


def _compared(seconds: list[float], reference: list[float] | None) -> dict[str, Any]:
    ratios = None if reference is None else [a / b for a, b in zip(seconds, reference, strict=True)]
    return {
        "seconds": seconds,
        "median_seconds": statistics.median(seconds),
        "ratios": ratios,
        "median_ratio": None if ratios is None else statistics.median(ratios),
    }


def _rates(operations: Cost, limits: Limits, seconds: float, case: Case) -> dict[str, Any]:
    """Return what is achieved in an epoch of so many seconds."""
    share = operations.min_seconds(limits, case.samples, case.batches) / seconds
    return {
        "flops": operations.flops * case.samples / seconds,
        "evaluations": operations.evaluations * case.samples / seconds,
        "limits": asdict(limits),
        "share": share if share <= 1 else None,
    }
