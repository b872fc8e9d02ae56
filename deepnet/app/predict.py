"""The command ``deepnet predict``: labels and probabilities for the rows of a file, however large it is."""

import argparse
import contextlib
import csv
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deepnet.app.options import file, path
from deepnet.app.terminal import say

_DESCRIPTION = """Write, for every row of a file, the most probable label and the probability of every class, with the
weights averaged over their posterior, as comma-separated values. Columns are found by their names; there may be
others."""


def add_predict(commands: Any) -> None:
    """Add the command to those of ``deepnet``, ``commands`` being the action that holds them."""
    command = commands.add_parser("predict", help="labels and probabilities for the rows of a file", allow_abbrev=False)
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
    from deepnet.metrics import class_probabilities

    trained = Run.open(args.run)
    network = trained.load().in_double()
    preparation, labels = trained.description.prepared()
    rows = 0
    with _written(args.out) as write:
        write([["label", *(f"p_{label}" for label in labels)]])
        for table in read_pieces(args.file, part="" if whole(args.file) else "_test"):
            p = class_probabilities(network, preparation.apply(table, "float64"))
            chosen = [labels[number] for number in p.argmax(axis=1)]
            write([label, *(f"{value:.6g}" for value in each)] for label, each in zip(chosen, p.tolist(), strict=True))
            rows += len(table)
    if args.out is not None:
        say(f"{args.out}: {rows} predictions by epoch {network.epoch} of {args.run}")
    return 0


@contextlib.contextmanager
def _written(out: Path | None) -> Iterator[Callable[[Any], None]]:
    """A function that writes rows, to the output or to a file that takes its place at the end of the block."""
    from factorgraph.io.files import replaced

    if out is None:
        yield csv.writer(sys.stdout, lineterminator="\n").writerows
        return
    with replaced(out) as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8", newline="")
        yield csv.writer(text, lineterminator="\n").writerows
        text.flush()
        text.detach()
