"""The figure of a run: errors, polarisation and overlap against the epoch."""

import errno
import io
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
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
from deepnet.data.preparation import Pixels, Preparation
from deepnet.layers import Layer
from deepnet.scores import Measures, Reliability, coverage
from factorgraph.dense.state import Array
from factorgraph.io.files import write_bytes_atomic

#: Inches of a figure of one thing.
_SINGLE = (5.4, 4.6)

#: Key of the metrics, label, colour and line style.
_ERRORS = (
    ("train_error", "training, pointwise", "tab:blue", "-"),
    ("bayes_train_error", "training, Bayesian", "tab:blue", "--"),
    ("test_error", "test, pointwise", "tab:red", "-"),
    ("bayes_test_error", "test, Bayesian", "tab:red", "--"),
)


def save_curves(
    path: Path, history: Sequence[dict[str, Any]], layers: Sequence[str], title: str, measures: Measures
) -> None:
    """Draw errors, polarisation and overlap against the epoch into a PNG file, replaced in one step.

    Args:
        path: of the file.
        history: the metrics of every epoch, at least one.
        layers: names of the layers.
        title: of the figure; wrapped.
        measures: what the errors are.

    Raises:
        CheckpointError: the disk is full or refuses; the old file is untouched.
    """
    save_figure(path, curves(history, layers, title, measures))


def save_tasks(path: Path, history: Sequence[dict[str, Any]], title: str) -> None:
    """Draw the accuracy on every task against the tasks learnt into a PNG file; as ``save_curves``, after one task at
    least."""
    save_figure(path, tasks(history, title))


def tasks(history: Sequence[dict[str, Any]], title: str) -> Figure:
    """Return the figure, not yet drawn: see ``save_tasks``."""
    figure = titled_figure(title, (11.0, 4.8))
    for axes, name, kind in zip(
        figure.subplots(1, 2, sharey=True), TASK_ERRORS, ("pointwise", "Bayesian"), strict=True
    ):
        _draw_tasks(axes, accuracy_matrix(history, name))
        axes.set_title(f"{kind}: {axes.get_title()}", fontsize=10)
    return figure


def save_figure(path: Path, figure: Figure) -> None:
    """Draw a figure into a PNG file; as ``save_curves``."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    try:
        write_bytes_atomic(path, stream.getvalue())
    except OSError as error:
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else os.strerror(error.errno or 0)
        raise CheckpointError(f"could not write {path}: {reason}; the checkpoints are good") from error


def curves(history: Sequence[dict[str, Any]], layers: Sequence[str], title: str, measures: Measures) -> Figure:
    """Return the figure, not yet drawn: see ``save_curves``."""
    figure = titled_figure(title, (14.0, 4.8))
    left, middle, right = figure.subplots(1, 3)
    _draw_errors(left, history, measures)
    _draw_polarization(middle, history, layers)
    _draw_overlap(right, history, layers)
    for axes in (left, middle, right):
        _against_epochs(axes)
    return figure


def single_curves(history: Sequence[dict[str, Any]], layers: Sequence[str], measures: Measures) -> dict[str, Figure]:
    """Return a figure for each of what ``curves`` shows, and for the scores, by what it is about."""
    drawings: dict[str, Callable[[Axes], None]] = {
        "Errors after every epoch": lambda axes: _draw_errors(axes, history, measures),
        "Polarisation after every epoch": lambda axes: _draw_polarization(axes, history, layers),
        "Overlap after every epoch": lambda axes: _draw_overlap(axes, history, layers),
    }
    # Not in runs of earlier versions.
    if all(f"test_{name}" in measured for measured in history for name in measures.scores):
        drawings["Scores of the test set after every epoch"] = lambda axes: _draw_scores(axes, history, measures)
    found = {}
    for name, draw in drawings.items():
        found[name] = titled_figure("", _SINGLE)
        axes = found[name].subplots()
        draw(axes)
        _against_epochs(axes)
    return found


def compared(histories: Mapping[str, Sequence[dict[str, Any]]], measures: Measures) -> Figure:
    """Return the test errors of several runs against the epoch, by their names."""
    figure = titled_figure("", (9.0, 4.8))
    axes = figure.subplots()
    for number, (name, history) in enumerate(histories.items()):
        epochs = [measured["epoch"] for measured in history]
        for key, style, what in (("test_error", "-", "pointwise"), ("bayes_test_error", "--", "Bayesian")):
            errors = [measured[key] for measured in history]
            axes.plot(
                epochs, errors, style, color=f"C{number % 10}", label=f"{name}, {what}", lw=1.5, **_marker(history)
            )
    axes.set(ylabel=f"test {measures.error}", ylim=(0.0, None))
    axes.legend(fontsize=7)
    _against_epochs(axes)
    return figure


def confusion(predicted: Array, numbers: Array, labels: Sequence[str]) -> Figure:
    """Return how often each class (rows) is taken for each (columns), as a matrix."""
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, (numbers, predicted), 1)
    figure = titled_figure("", _SINGLE)
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    if len(labels) <= 20:
        size = 9 if len(labels) <= 10 else 6
        for (i, j), count in np.ndenumerate(counts):
            if count:
                axes.text(
                    j, i, str(count), ha="center", va="center", fontsize=size, color="w" if shares[i, j] > 0.5 else "k"
                )
        short = [label if len(label) <= 12 else f"{label[:11]}…" for label in labels]
        axes.set_xticks(range(len(labels)), short, fontsize=size, rotation=90 if max(map(len, short)) > 3 else 0)
        axes.set_yticks(range(len(labels)), short, fontsize=size)
    axes.set(xlabel="predicted", ylabel="label")
    return figure


def pictures_of(preparation: Preparation, values: Array, *, weights: bool = False) -> Array | None:
    """Return inputs, or weights of inputs, as pictures (samples, rows, columns[, 3]) from 0 to 1; None if they are no
    pictures."""
    if not isinstance(preparation, Pixels) or len(preparation.shape) not in (2, 3):
        return None
    pictures = np.asarray(values, dtype=np.float64).reshape(-1, *preparation.shape)
    if len(preparation.shape) == 3:
        if preparation.shape[0] == 3:
            pictures = np.moveaxis(pictures, 1, -1)
        elif preparation.shape[2] != 3:
            return None
    if weights:  # of either sign: zero is grey
        return 0.5 + 0.5 * pictures / (np.abs(pictures).max() or 1.0)
    low, high = pictures.min(), pictures.max()
    return (pictures - low) / ((high - low) or 1.0)


def gallery(pictures: Array, titles: Sequence[str] = ()) -> Figure:
    """Return pictures (samples, rows, columns[, 3]) from 0 to 1 beside each other, with their titles, if there are
    any."""
    columns = min(len(pictures), 6)
    rows = -(-len(pictures) // columns)
    figure = titled_figure("", (1.35 * columns, (1.65 if titles else 1.35) * rows))
    for number, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.axis("off")
        if number < len(pictures):
            axes.imshow(pictures[number], cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
            if titles:
                axes.set_title(textwrap.fill(titles[number], 16), fontsize=7)
    return figure


def predicted(mean: Array, deviation: Array, y: Array) -> Figure:
    """Return targets against their means, with bars of two deviations; on the diagonal they are equal."""
    figure = titled_figure("", _SINGLE)
    axes = figure.subplots()
    axes.errorbar(mean, y, xerr=2.0 * deviation, fmt=".", color="tab:blue", ecolor="lightsteelblue", lw=1.0)
    ends = [min(mean.min(), y.min()), max(mean.max(), y.max())]
    axes.plot(ends, ends, "--", color="tab:gray")
    axes.set(xlabel="mean, ± two deviations", ylabel="target")
    axes.grid(alpha=0.3)
    return figure


def intervals(mean: Array, deviation: Array, y: Array, title: str) -> Figure:
    """Return which share of the targets is within the central intervals of normal laws, against their probability."""
    figure = titled_figure(title, _SINGLE)
    axes, levels = figure.subplots(), np.linspace(0.05, 0.95, 19)
    axes.plot(levels, [coverage(mean, deviation, y, level) for level in levels], "o-", color="tab:red", markersize=4)
    axes.plot([0, 1], [0, 1], "--", color="tab:gray", label="calibrated")
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.02), xlabel="probability of a central interval", ylabel="share of targets")
    axes.legend(fontsize=8, loc="upper left")
    axes.grid(alpha=0.3)
    return figure


def _against_epochs(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3, which="both")


def _draw_scores(axes: Axes, history: Sequence[dict[str, Any]], measures: Measures) -> None:
    epochs = [measured["epoch"] for measured in history]
    for name in measures.scores:
        values = [measured[f"test_{name}"] for measured in history]
        axes.plot(epochs, values, label=name.replace("_", " "), lw=1.5, **_marker(history))
    axes.set(ylabel="score of the test set")
    if all(measured[f"test_{name}"] >= 0.0 for measured in history for name in measures.scores):
        axes.set_ylim(0.0, None)
    axes.set_title(", ".join(name.replace("_", " ") for name in measures.scores).capitalize(), fontsize=10)
    axes.legend(fontsize=8)


def reliability(found: Reliability, title: str) -> Figure:
    """Return the figure of accuracy against confidence, and of how often each confidence is, not yet drawn."""
    figure = titled_figure(title, (6.4, 6.4))
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    draw_reliability(axes, found)
    edges = np.linspace(0.0, 1.0, len(found.counts) + 1)
    below.bar(edges[:-1], found.counts, np.diff(edges), align="edge", color="tab:gray", edgecolor="white")
    below.set(xlabel="confidence: largest probability", ylabel="samples")
    return figure


def draw_reliability(axes: Axes, found: Reliability) -> None:
    """Accuracy against confidence, interval by interval; on the diagonal they are equal."""
    there, edges = found.counts > 0, np.linspace(0.0, 1.0, len(found.counts) + 1)
    axes.bar(edges[:-1][there], found.accuracy[there], np.diff(edges)[there], align="edge", alpha=0.35)
    axes.plot(found.confidence[there], found.accuracy[there], "o-", color="tab:red", label="accuracy", markersize=4)
    axes.plot([0, 1], [0, 1], "--", color="tab:gray", label="calibrated")
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.02), ylabel="share of right labels")
    axes.set_title(f"Reliability: expected calibration error {found.error:.4f}", fontsize=10)
    axes.legend(fontsize=8, loc="upper left")
    axes.grid(alpha=0.3)


def magnetizations(layers: Sequence[Layer], title: str) -> Figure:
    """Return the figure of how the means m of the weights are distributed, layer by layer, not yet drawn."""
    figure = titled_figure(title, (6.4, 4.8))
    axes = figure.subplots()
    for layer in layers:
        weights = layer.stochastic_weights()
        mean = weights.mean.ravel() if weights.mask is None else weights.mean[weights.mask]
        axes.hist(mean, 101, density=True, histtype="step", label=layer.plan.name, lw=1.5)
    axes.set(xlabel="mean m of a weight", ylabel="density", yscale="log")
    axes.legend(fontsize=8, title="layer", title_fontsize=8)
    axes.grid(alpha=0.3)
    return figure


def titled_figure(title: str, size: tuple[float, float]) -> Figure:
    """Return an empty figure of so many inches, its title wrapped after commas only."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    if not title:
        return figure
    unbroken = title.replace(" ", "\N{NO-BREAK SPACE}").replace(",\N{NO-BREAK SPACE}", ", ")
    figure.suptitle(textwrap.fill(unbroken, int(11 * size[0])), fontsize=10)
    return figure


def _draw_errors(axes: Axes, history: Sequence[dict[str, Any]], measures: Measures) -> None:
    """Errors on a logarithmic axis; a line that reaches 0 leaves through the lower edge."""
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
    axes.set_ylabel(measures.error + (f"; 0{measures.unit} is below the axis" if len(positive) < len(values) else ""))
    axes.set_title("Errors", fontsize=10)
    axes.legend(fontsize=8)


def _draw_polarization(axes: Axes, history: Sequence[dict[str, Any]], layers: Sequence[str]) -> None:
    _draw_layers(axes, history, layers, "polarization")
    if max(max(measured["polarization"]) for measured in history) <= 1.0:
        axes.set_ylim(0.0, 1.03)
    axes.set_ylabel("polarisation: mean of m², from 0 to 1")
    axes.set_title("Polarisation of the weights", fontsize=10)


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
