"""The command ``deepnet report``: runs side by side on one page that needs no network."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from deepnet.app.options import path
from deepnet.app.terminal import say

if TYPE_CHECKING:
    from deepnet.app.run import Run
    from deepnet.data import Dataset
    from deepnet.state import Network
    from factorgraph.dense.state import Array

#: File in the folder of the first run.
PAGE = "report.html"

_DESCRIPTION = """Write one HTML page about runs, side by side: settings, curves, confusion, reliability, the most
confident mistakes, the weights of the first layer, and the size and speed of what they can be exported to. The page
contains all of its figures and asks for nothing from elsewhere."""

#: Samples that predictions are timed with, and seconds that it may take.
_TIMED, _SECONDS = 10_000, 0.5


def add_report(commands: Any) -> None:
    """Add the command to those of ``deepnet``, ``commands`` being the action that holds them."""
    command = commands.add_parser("report", help="a page about runs, side by side", allow_abbrev=False)
    command.description = _DESCRIPTION
    command.set_defaults(command=run)
    add = command.add_argument
    add("runs", metavar="RUN", nargs="+", type=path, help="folder of a run")
    add("--data-dir", metavar="DIR", default=None, help="folder with the files of the data sets")
    add("--out", metavar="FILE", type=path, help="file to write (default: report.html in the folder of the first run)")


def run(args: argparse.Namespace) -> int:
    """Gather what is to be told, and write the page."""
    from deepnet.app.checkpoint import write_text_atomic
    from deepnet.data import DataError

    try:
        from deepnet.app.page import page
    except ImportError as error:
        raise DataError(str(error)) from error
    out = args.out or args.runs[0] / PAGE
    write_text_atomic(out, page([gathered(folder, args.data_dir) for folder in args.runs]))
    say(f"{out}: {out.stat().st_size} bytes, {len(args.runs)} run{'s' if len(args.runs) > 1 else ''}")
    return 0


@dataclass(frozen=True, eq=False)
class Told:
    """What the page tells of a run.

    Attributes:
        run: it, with the history of its epochs.
        network: at its newest checkpoint.
        data: what it was trained on.
        measured: errors and scores on the whole training and test set.
        p: probabilities (samples, classes) of the test set.
        numbers: class numbers (samples,) of the test set.
        exports: lines about what it can be exported to: name, bytes, seconds for a sample and for many.
        refused: why it cannot be packed; empty if it can.
    """

    run: "Run"
    network: "Network"
    data: "Dataset"
    measured: dict[str, Any]
    p: "Array"
    numbers: "Array"
    exports: list[tuple[str, int | None, float, float]]
    refused: str

    @property
    def name(self) -> str:
        """What the run is called on the page."""
        return str(self.run.directory)

    def mistakes(self, most: int) -> list[int]:
        """Return the numbers of the wrong samples, the most confident first."""
        import numpy as np

        wrong = np.flatnonzero(self.p.argmax(axis=1) != self.numbers)
        return wrong[np.argsort(-self.p[wrong].max(axis=1), kind="stable")][:most].tolist()

    @property
    def timed(self) -> int:
        """Number of samples in the second time of ``exports``."""
        return min(_TIMED, len(self.data.x_test))


def gathered(folder: Path, data_dir: str | None) -> Told:
    """Return what is to be told of the run in a folder."""
    from deepnet.app import run as runs
    from deepnet.metrics import class_probabilities
    from deepnet.outputs import output_of

    trained = runs.Run.open(folder)
    data, network = trained.description.load_data(data_dir), trained.load()
    numbers = output_of(network.layers[-1].plan).likeliest(data.y_test)
    exports, refused = _exports(network, data)
    return Told(
        run=trained,
        network=network,
        data=data,
        measured=runs.evaluate(network, data),
        p=class_probabilities(network, data.x_test),
        numbers=numbers,
        exports=exports,
        refused=refused,
    )


def _exports(network: "Network", data: "Dataset") -> tuple[list[tuple[str, int | None, float, float]], str]:
    """Return sizes and times, see ``Told``, and why there are no more of them."""
    from deepnet.export.c_header import c_header
    from deepnet.export.packing import pack
    from deepnet.metrics import class_probabilities
    from deepnet.predict import predict_pointwise

    x = data.x_test[:_TIMED]
    weights = sum(values.nbytes for values in network.arrays().values())
    found: list[tuple[str, int | None, float, float]] = [
        ("Bayesian, this program", weights, *_times(lambda x: class_probabilities(network, x), x)),
        ("pointwise, this program", weights, *_times(lambda x: predict_pointwise(network.layers, x), x)),
    ]
    try:
        packed = pack(network.layers)
    except ValueError as error:
        return found, str(error)
    found.append(("packed", len(packed.to_bytes()), *_times(packed.predict, x)))
    found.append(("C header, as text", len(c_header(packed, "network")), float("nan"), float("nan")))
    return found, ""


def _times(predict: Any, x: "Array") -> tuple[float, float]:
    """Return seconds for one sample and for all, the shortest of several calls; the first one, which may compile, is
    not counted."""
    times = []
    for part in (x[:1], x):
        predict(part)
        taken, start = [], perf_counter()
        while not taken or perf_counter() - start < _SECONDS:
            before = perf_counter()
            predict(part)
            taken.append(perf_counter() - before)
        times.append(min(taken))
    return times[0], times[1]


def seconds(values: Sequence[float]) -> list[str]:
    """Return times in words; empty where there is none."""
    return [
        "" if value != value else f"{1e6 * value:.3g} µs" if value < 1e-3 else f"{1e3 * value:.3g} ms"
        for value in values
    ]
