"""What a sweep has found: tables of mean ± deviation over the seeds, in Markdown and CSV, and curves."""

import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepnet.app.checkpoint import write_text_atomic
from deepnet.experiments.cell import Job
from deepnet.experiments.spec import Spec

TABLE, NUMBERS, CELLS, CURVES, FIGURE = "table.md", "table.csv", "cells.csv", "curves.csv", "curves.png"

#: Titles of what may be reported.
TITLES = {
    "test_error": "test error (%)",
    "train_error": "training error (%)",
    "bayes_test_error": "Bayesian test error (%)",
    "bayes_train_error": "Bayesian training error (%)",
    "seconds": "seconds an epoch",
    "forgetting": "forgetting (%)",
    "bayes_forgetting": "Bayesian forgetting (%)",
}


@dataclass(frozen=True)
class Entry:
    """One place of a table.

    Attributes:
        labels: along the axes.
        values: of the seeds that are done.
    """

    labels: tuple[str, ...]
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float:
        """Standard deviation between the seeds, of one degree of freedom less; NaN for one seed."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else float("nan")

    def __str__(self) -> str:
        if not self.values:
            return "not run"
        spread = f" ± {self.deviation:.2f}" if len(self.values) > 1 else ""
        return f"{self.mean:.2f}{spread} ({len(self.values)})"


def save_results(spec: Spec, jobs: Sequence[Job], out: Path) -> None:
    """Write the tables, the figures of every cell and the curves of all that is done to the folder of the sweep.

    Raises:
        CheckpointError: the disk is full or refuses; the old files are kept.
    """
    write_text_atomic(out / TABLE, markdown(spec, jobs))
    write_text_atomic(out / NUMBERS, _csv(_numbers(spec, jobs)))
    write_text_atomic(out / CELLS, _csv(_cell_rows(spec, jobs)))
    write_text_atomic(out / CURVES, _csv(_curve_rows(spec, jobs)))


def entries(spec: Spec, jobs: Sequence[Job], measured: str) -> list[Entry]:
    """Return what was measured at every place, in the order of the axes."""
    found: dict[tuple[str, ...], list[float]] = {labels: [] for labels in _places(spec)}
    for job in jobs:
        if (result := job.result()) is not None:
            found[job.cell.labels].append(result[measured])
    return [Entry(labels, tuple(values)) for labels, values in found.items()]


def markdown(spec: Spec, jobs: Sequence[Job]) -> str:
    """Return one table for each report: the last axis makes the columns, the others the rows."""
    *rows, columns = spec.axes or {"": ("",)}
    width = len(spec.axes[columns]) if spec.axes else 1
    parts = []
    for measured in spec.report:
        found = entries(spec, jobs, measured)
        heads = [*rows, *(spec.axes[columns] if spec.axes else (TITLES[measured],))]
        lines = [heads, ["---"] * len(heads)]
        for start in range(0, len(found), width):
            row = found[start : start + width]
            lines.append([*row[0].labels[: len(rows)], *map(str, row)])
        table = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
        parts.append(f"{TITLES[measured]}: mean ± deviation (seeds)\n\n{table}\n")
    return "\n".join(parts)


def _places(spec: Spec) -> Iterator[tuple[str, ...]]:
    return itertools.product(*spec.axes.values())


def _numbers(spec: Spec, jobs: Sequence[Job]) -> Iterator[list[object]]:
    yield [*spec.axes, "measured", "mean", "deviation", "seeds"]
    for measured in spec.report:
        for entry in entries(spec, jobs, measured):
            if entry.values:
                deviation = "" if len(entry.values) == 1 else entry.deviation
                yield [*entry.labels, measured, entry.mean, deviation, len(entry.values)]


def _cell_rows(spec: Spec, jobs: Sequence[Job]) -> Iterator[list[object]]:
    """Yield a line for each finished cell, with all that was measured, where and when."""
    results = [(job.cell, result) for job in jobs if (result := job.result()) is not None]
    names = list(dict.fromkeys(name for _, result in results for name in result))
    yield [*spec.axes, "seed", *names]
    for cell, result in results:
        yield [*cell.labels, cell.seed, *(result.get(name, "") for name in names)]


def curves(spec: Spec, jobs: Sequence[Job], measured: str) -> dict[tuple[str, ...], tuple[NDArray, NDArray, NDArray]]:
    """Return epochs, means and deviations over the seeds (0 for one), at every place where something is measured.

    They end where the first of the seeds ends.
    """
    histories: dict[tuple[str, ...], list[list[tuple[int, float]]]] = {labels: [] for labels in _places(spec)}
    for job in jobs:
        if history := job.history():
            points = [(epoch["epoch"], epoch[measured]) for epoch in history if measured in epoch]
            histories[job.cell.labels].append(points)
    found = {}
    for labels, each in histories.items():
        if length := min(map(len, each), default=0):
            epochs, values = np.moveaxis(np.array([points[:length] for points in each]), -1, 0)
            deviation = values.std(axis=0, ddof=1) if len(each) > 1 else np.zeros(length)
            found[labels] = epochs[0].astype(np.int64), values.mean(axis=0), deviation
    return found


def _curve_rows(spec: Spec, jobs: Sequence[Job]) -> Iterator[list[object]]:
    yield [*spec.axes, "measured", "epoch", "mean", "deviation"]
    for measured in spec.report:
        for labels, numbers in curves(spec, jobs, measured).items():
            for epoch, mean, deviation in zip(*numbers, strict=True):
                yield [*labels, measured, epoch, mean, deviation]


def _csv(rows: Iterator[list[object]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
