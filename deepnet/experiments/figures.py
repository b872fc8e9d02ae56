"""The curves of a sweep: one panel for each row of its tables, one line for each column."""

import io
import itertools
from collections.abc import Sequence
from typing import Any

from deepnet.app.figures import Figure, FigureCanvasAgg, MaxNLocator, matplotlib
from deepnet.experiments.cell import Job
from deepnet.experiments.results import TITLES, curves
from deepnet.experiments.spec import Spec

#: Panels beside each other.
_BESIDE = 3


def figure(spec: Spec, jobs: Sequence[Job]) -> bytes:
    """Return a PNG file: the first report against the epoch, means with bands of one deviation."""
    measured = spec.report[0]
    found = curves(spec, jobs, measured)
    *rows, columns = list(spec.axes.values()) or [("",)]
    panels = list(itertools.product(*rows))
    beside = min(_BESIDE, len(panels))
    below = -(-len(panels) // beside)
    drawing = Figure(figsize=(4.2 * beside + 0.6, 3.4 * below + 0.4), layout="constrained")
    FigureCanvasAgg(drawing)
    axes = drawing.subplots(below, beside, squeeze=False).ravel()
    for panel, labels in zip(axes, panels, strict=False):
        _draw(panel, labels, columns if spec.axes else (), found)
        panel.set(title=", ".join(labels), xlabel="epoch", ylabel=TITLES[measured])
    for panel in axes[len(panels) :]:
        panel.remove()
    stream = io.BytesIO()
    drawing.savefig(stream, format="png", dpi=150)
    return stream.getvalue()


def _draw(axes: Any, row: tuple[str, ...], columns: Sequence[str], found: dict[tuple[str, ...], Any]) -> None:
    colours = matplotlib.colormaps["tab10"]
    for number, labels in enumerate([(*row, column) for column in columns] or [()]):
        if labels in found:
            epochs, mean, deviation = found[labels]
            colour = colours(number % 10)
            axes.plot(epochs, mean, color=colour, label=labels[-1] if labels else None, lw=1.5)
            axes.fill_between(epochs, mean - deviation, mean + deviation, color=colour, alpha=0.2, lw=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    if columns and axes.lines:
        axes.legend(fontsize=8)
