"""The command ``deepnet predict``: labels and probabilities, or means and deviations, for the rows of a file, however
large it is."""

import argparse
import contextlib
import csv
import io
import itertools
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepnet.app.options import file, path
from deepnet.app.terminal import UsageError, say

if TYPE_CHECKING:
    from deepnet.data.target import Target
    from deepnet.ensemble import Trained
    from factorgraph.dense.state import Array

_DESCRIPTION = """Write, for every row of a file, the most probable label and the probability of every class, or mean
and deviation of the number, with the weights averaged over their posterior, as comma-separated values. Columns are
found by their names; there may be others."""


def add_predict(commands: Any) -> None:
    """Add the command to those of ``deepnet``, ``commands`` being the action that holds them."""
    command = commands.add_parser("predict", help="predictions for the rows of a file", allow_abbrev=False)
    command.description = _DESCRIPTION
    command.set_defaults(command=run)
    add = command.add_argument
    add("run", metavar="RUN", type=path, help="folder of the run")
    add("file", metavar="FILE", type=file, help="CSV, ARFF, Parquet, NPY, NPZ or IDX, plain or .gz, read in pieces")
    add("--out", metavar="FILE", type=path, help="file to write, whole or not at all (default: the output)")


def run(args: argparse.Namespace) -> int:
    """Predict piece by piece."""
    from deepnet.app.run import Run
    from deepnet.data.own import read_pieces, whole

    trained = Run.open(args.run)
    network = trained.load().in_double()
    preparation, target = trained.description.prepared()
    tables = read_pieces(args.file, part="" if whole(args.file) else "_test")
    inputs = (preparation.apply(table, "float64") for table in tables)
    first = list(itertools.islice(inputs, 1))  # a wrong file is told of before anything is written
    rows = 0
    with _written(args.out) as write:
        write([_heads(target)])
        for x in itertools.chain(first, inputs):
            write(_rows(network, target, x))
            rows += len(x)
    if args.out is not None:
        say(f"{args.out}: {rows} predictions by epoch {network.epoch} of {args.run}")
    return 0


def _heads(target: "Target") -> list[str]:
    """Return the names of the columns."""
    from deepnet.data.target import Numbers

    return ["mean", "deviation"] if isinstance(target, Numbers) else ["label", *(f"p_{each}" for each in target.labels)]


def _rows(network: "Trained", target: "Target", x: "Array") -> Iterator[list[Any]]:
    """Yield what is predicted of inputs (samples, features), row by row."""
    from deepnet.average import class_probabilities, means_and_deviations
    from deepnet.data.target import Numbers

    if isinstance(target, Numbers):
        mean, deviation = means_and_deviations(network, x)
        for value, own in zip(target.decode(mean).tolist(), (target.unit * deviation).tolist(), strict=True):
            yield [_digits(value, target.unit), f"{own:.6g}"]
        return
    p = class_probabilities(network, x)
    chosen = [target.labels[number] for number in p.argmax(axis=1)]
    for label, each in zip(chosen, p.tolist(), strict=True):
        yield [label, *(f"{value:.6g}" for value in each)]


def _digits(value: float, unit: float) -> str:
    """Return a number to six digits, or to more where it is large and yet known to a part of its unit."""
    larger = math.log10(abs(value)) - math.log10(unit) if value else 0.0
    return f"{value:.{min(17, 6 + max(0, math.ceil(larger)))}g}"


@contextlib.contextmanager
def _written(out: Path | None) -> Iterator[Callable[[Any], None]]:
    """A function that writes rows, to the output or to a file that takes its place at the end of the block."""
    from factorgraph.io.files import replaced

    if out is None:
        if sys.stdout is None:
            raise UsageError("`--out` must be given where the output is closed")
        yield csv.writer(sys.stdout, lineterminator="\n").writerows
        return
    with replaced(out) as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8", newline="")
        yield csv.writer(text, lineterminator="\n").writerows
        text.flush()
        text.detach()
