"""The figure of a run: errors, polarization and overlap against the epoch."""

import errno
import io
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
except ModuleNotFoundError as error:
    remedy = "pip install 'cavity[plots]'"
    raise ModuleNotFoundError(f"matplotlib is needed for the figure ({error}): {remedy}", name=error.name) from error

from deepnet.app.checkpoint import CheckpointError
from deepnet.continual import TASK_ERRORS, accuracy_matrix, average_accuracy, forgetting
from factorgraph.dense.state import Array
from factorgraph.io.files import write_bytes_atomic

#: Key of the metrics, label, colour and line style.
_ERRORS = (
    ("train_error", "training, pointwise", "tab:blue", "-"),
    ("bayes_train_error", "training, Bayesian", "tab:blue", "--"),
    ("test_error", "test, pointwise", "tab:red", "-"),
    ("bayes_test_error", "test, Bayesian", "tab:red", "--"),
)


def save_curves(path: Path, history: Sequence[dict[str, Any]], layers: Sequence[str], title: str) -> None:
    """Draw errors, polarization and overlap against the epoch into a PNG file, replaced in one step.

    Args:
        path: of the file.
        history: the metrics of every epoch, at least one.
        layers: names of the layers.
        title: of the figure; wrapped.

    Raises:
        CheckpointError: the disk is full or refuses; the old file is untouched.
    """
    save_figure(path, curves(history, layers, title))


def save_tasks(path: Path, history: Sequence[dict[str, Any]], title: str) -> None:
    """Draw the accuracy on every task against the tasks learnt into a PNG file; as ``save_curves``, after one task at
    least."""
    figure = titled_figure(title, (11.0, 4.8))
    for axes, name, kind in zip(
        figure.subplots(1, 2, sharey=True), TASK_ERRORS, ("pointwise", "Bayesian"), strict=True
    ):
        _draw_tasks(axes, accuracy_matrix(history, name))
        axes.set_title(f"{kind}: {axes.get_title()}", fontsize=10)
    save_figure(path, figure)


def save_figure(path: Path, figure: Figure) -> None:
    """Draw a figure into a PNG file; as ``save_curves``."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    try:
        write_bytes_atomic(path, stream.getvalue())
    except OSError as error:
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else os.strerror(error.errno or 0)
        raise CheckpointError(f"could not write {path}: {reason}; the checkpoints are good") from error


def curves(history: Sequence[dict[str, Any]], layers: Sequence[str], title: str) -> Figure:
    """Return the figure, not yet drawn: see ``save_curves``."""
    figure = titled_figure(title, (14.0, 4.8))
    left, middle, right = figure.subplots(1, 3)
    _draw_errors(left, history)
    _draw_polarization(middle, history, layers)
    _draw_overlap(right, history, layers)
    for axes in (left, middle, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3, which="both")
    return figure


def titled_figure(title: str, size: tuple[float, float]) -> Figure:
    """Return an empty figure of so many inches, its title wrapped after commas only."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    unbroken = title.replace(" ", "\N{NO-BREAK SPACE}").replace(",\N{NO-BREAK SPACE}", ", ")
    figure.suptitle(textwrap.fill(unbroken, int(11 * size[0])), fontsize=10)
    return figure


def _draw_errors(axes: Axes, history: Sequence[dict[str, Any]]) -> None:
    """Errors on a logarithmic axis; a line that reaches 0 % leaves through the lower edge."""
    epochs = [measured["epoch"] for measured in history]
    values = [measured[key] for measured in history for key, *_ in _ERRORS]
    positive = [value for value in values if value > 0] or [0.1, 100.0]
    axes.set_ylim(min(positive) / 1.25, max(positive) * 1.25)
    axes.set_yscale("log", nonpositive="clip")
    for key, label, colour, style in _ERRORS:
        errors = [measured[key] for measured in history]
        axes.plot(epochs, errors, style, color=colour, label=label, lw=1.5, **_marker(history))
    narrow = max(positive) < 10 * min(positive)
    axes.yaxis.set_major_locator(LogLocator(subs=range(1, 10) if narrow else (1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("error (%)" + ("; 0 % is below the axis" if len(positive) < len(values) else ""))
    axes.set_title("Classification error", fontsize=10)
    axes.legend(fontsize=8)


def _draw_polarization(axes: Axes, history: Sequence[dict[str, Any]], layers: Sequence[str]) -> None:
    _draw_layers(axes, history, layers, "polarization")
    if max(max(measured["polarization"]) for measured in history) <= 1.0:
        axes.set_ylim(0.0, 1.03)
    axes.set_ylabel("polarization: mean of m², from 0 to 1")
    axes.set_title("Polarization of the weights", fontsize=10)


def _draw_overlap(axes: Axes, history: Sequence[dict[str, Any]], layers: Sequence[str]) -> None:
    _draw_layers(axes, history, layers, "overlap")
    axes.set_ylabel("overlap: mean of m·m' of two units, an input")
    axes.set_title("Overlap of the units", fontsize=10)


def _draw_tasks(axes: Axes, matrix: Array) -> None:
    """A line for each task, from where it was learnt, and the mean of those learnt."""
    learnt, colours = range(1, len(matrix) + 1), matplotlib.colormaps["viridis"]
    marker = "o" if len(matrix) <= 20 else None
    for task, accuracy in enumerate(matrix.T):
        colour = colours(0.85 * task / max(1, len(matrix) - 1))
        axes.plot(learnt, accuracy, color=colour, lw=1.0, marker=marker, markersize=3)
    axes.plot(learnt, np.nanmean(matrix, axis=1), "k--", lw=1.5, label="mean of the tasks so far")
    axes.set(xlabel="tasks learnt", ylabel="accuracy (%), a line for each task")
    axes.set_title(f"average {average_accuracy(matrix):.2f} %, forgetting {forgetting(matrix):.2f} %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _draw_layers(axes: Axes, history: Sequence[dict[str, Any]], layers: Sequence[str], key: str) -> None:
    """A line for each layer."""
    epochs, colours = [measured["epoch"] for measured in history], matplotlib.colormaps["viridis"]
    for i, layer in enumerate(layers):
        values = [measured[key][i] for measured in history]
        colour = colours(0.85 * i / max(1, len(layers) - 1))
        axes.plot(epochs, values, color=colour, label=layer, lw=1.5, **_marker(history))
    axes.legend(fontsize=8, title="layer", title_fontsize=8)


def _marker(history: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"marker": "o", "markersize": 3} if len(history) <= 40 else {}
