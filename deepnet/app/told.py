"""What the page about runs tells of each of them: measured anew, from its newest checkpoint."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from deepnet.app.run import Run, evaluate
from deepnet.average import class_probabilities, means_and_deviations, most_probable
from deepnet.data import Dataset
from deepnet.data.target import Numbers
from deepnet.data.tasks import TaskSequence
from deepnet.ensemble import Trained, one_network
from deepnet.export.c_header import c_header
from deepnet.export.exported import Exported
from deepnet.export.packing import pack
from deepnet.outputs import output_of
from factorgraph.dense.state import Array

#: Samples that predictions are timed with, and seconds that it may take.
_TIMED, _SECONDS = 10_000, 0.5


@dataclass(frozen=True, eq=False)
class Labelled:
    """What is predicted of classes: probabilities p (samples, classes), and the true class numbers (samples,)."""

    p: Array
    numbers: Array

    def mistakes(self, most: int) -> list[int]:
        """Return the numbers of the wrong samples, the most confident first."""
        wrong = np.flatnonzero(self.p.argmax(axis=1) != self.numbers)
        return wrong[np.argsort(-self.p[wrong].max(axis=1), kind="stable")][:most].tolist()


@dataclass(frozen=True, eq=False)
class Measured:
    """What is predicted of numbers: means and deviations, and the targets, (samples,) each, as the file has them."""

    mean: Array
    deviation: Array
    y: Array

    def mistakes(self, most: int) -> list[int]:
        """Return the numbers of the samples, those that are the most deviations off first."""
        return np.argsort(-np.abs(self.y - self.mean) / self.deviation, kind="stable")[:most].tolist()


@dataclass(frozen=True, eq=False)
class Told:
    """What the page tells of a run.

    Attributes:
        run: it, with the history of its epochs.
        network: at its newest checkpoint.
        data: what it was trained on.
        measured: errors and scores on the whole training and test set.
        predicted: of the test set.
        exports: lines about what it can be exported to: name, bytes, seconds for a sample and for many.
        refused: why it cannot be packed; empty if it can.
    """

    run: Run
    network: Trained
    data: Dataset | TaskSequence
    measured: dict[str, Any]
    predicted: Labelled | Measured
    exports: list[tuple[str, int | None, float, float]]
    refused: str

    @property
    def name(self) -> str:
        """What the run is called on the page."""
        return str(self.run.directory)

    @property
    def timed(self) -> int:
        """Number of samples in the second time of ``exports``."""
        return min(_TIMED, len(self.data.x_test))


def gathered(folder: Path, data_dir: str | None) -> Told:
    """Return what is to be told of the run in a folder."""
    trained = Run.open(folder)
    data, network = trained.description.load_data(data_dir), trained.load()
    exports, refused = _exports(network, data)
    return Told(
        run=trained,
        network=network,
        data=data,
        measured=evaluate(network, data),
        predicted=_predicted(network, data),
        exports=exports,
        refused=refused,
    )


def _predicted(network: Trained, data: Dataset | TaskSequence) -> Labelled | Measured:
    target = data.target
    if isinstance(target, Numbers):
        mean, deviation = means_and_deviations(network, data.x_test)
        return Measured(target.decode(mean), target.unit * deviation, target.decode(data.y_test))
    numbers = output_of(network.members[0].layers[-1]).likeliest(data.y_test)
    return Labelled(class_probabilities(network, data.x_test), numbers)


def _exports(network: Trained, data: Dataset | TaskSequence) -> tuple[list[tuple[str, int | None, float, float]], str]:
    """Return sizes and times, see ``Told``, and why there are no more of them."""
    x = data.x_test[:_TIMED]
    weights = sum(values.nbytes for values in network.arrays().values())
    found: list[tuple[str, int | None, float, float]] = [
        ("Bayesian, this program", weights, *_times(_bayesian(network), x)),
        ("pointwise, this program", weights, *_times(lambda x: most_probable(network, x), x)),
    ]
    try:
        packed = pack(Exported(one_network(network, "to be packed").layers))
    except ValueError as error:
        return found, str(error)
    found.append(("packed", len(packed.to_bytes()), *_times(packed.predict, x)))
    found.append(("C header, as text", len(c_header(packed, "network")), float("nan"), float("nan")))
    return found, ""


def _bayesian(network: Trained) -> Callable[[Array], Any]:
    """Return what predicts with the weights averaged over their posterior."""
    whole = means_and_deviations if output_of(network.members[0].layers[-1]).numeric else class_probabilities
    return lambda x: whole(network, x)


def _times(predict: Any, x: Array) -> tuple[float, float]:
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
