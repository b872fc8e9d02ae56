"""The scaling study: one property of a case varied, the others kept; and its figure."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deepnet.bench import BenchError
from deepnet.bench.case import Case
from deepnet.bench.contenders import BASELINES
from factorgraph.dense.closures import CLOSURES


@dataclass(frozen=True)
class Axis:
    """One property that is varied.

    Attributes:
        label: of the property, in the figure.
        values: usual ones.
        kind: ``int`` or ``float``.
        vary: the case with another value.
        per_weight: the figure shows the cost against the number of weights, which the property changes.
        whole: only whole epochs are timed: scaled ones would be proportional by construction.
    """

    label: str
    values: tuple[float, ...]
    kind: type
    vary: Callable[[Case, Any], Case]
    per_weight: bool = False
    whole: bool = False

    def cases(self, case: Case, values: Sequence[float] | None = None) -> list[tuple[float, Case]]:
        """Return the values (the usual ones if None) and their cases; raise ``ValueError`` for impossible ones."""
        if values and self.kind is int and not all(float(value).is_integer() for value in values):
            raise ValueError(f"`values` must be integers for this axis, got {list(values)}")
        chosen = [self.kind(value) for value in values or self.values]
        return [(value, self.vary(case, value)) for value in chosen]


def _width(case: Case, width: int) -> Case:
    return replace(case, widths=(case.widths[0], *(width for _ in case.widths[1:-1]), case.widths[-1]))


def _depth(case: Case, depth: int) -> Case:
    if not 0 <= depth <= _DEEPEST:
        raise ValueError(f"`values` must be 0 to {_DEEPEST} hidden layers for this axis, got {depth}")
    return replace(case, widths=(case.widths[0], *case.widths[1:2] * depth, case.widths[-1]))


AXES = {
    "samples": Axis(
        "samples",
        (1875, 3750, 7500, 15_000, 30_000, 60_000),
        int,
        lambda case, samples: replace(case, samples=samples),
        whole=True,
    ),
    "width": Axis("units in each hidden layer", (64, 128, 256, 512, 1024, 2048, 4096, 8192), int, _width, True),
    "depth": Axis("hidden layers", (1, 2, 4, 8, 16), int, _depth, True),
    "batch": Axis(
        "samples in a mini-batch",
        (1, 4, 16, 64, 256, 1024, 4096),
        int,
        lambda case, size: replace(case, batch_size=size),
    ),
    "density": Axis(
        "fraction of the weights kept",
        (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
        float,
        lambda case, density: replace(case, density=density),
    ),
}

#: Most hidden layers of a study.
_DEEPEST = 1000

_COLOURS = {name: "black" if mode == "eager" else "grey" for name, mode in BASELINES.items()} | {
    name: f"C{number}" for number, name in enumerate(CLOSURES)
}

#: What is drawn of a row of a result; None where it is not known.
_Quantity = Callable[[Mapping[str, Any]], float | None]

#: One point of a curve: abscissa, value of the property, row of the result.
_Point = tuple[float, float, Mapping[str, Any]]


def figure(results: Sequence[Mapping[str, Any]]) -> bytes:
    """Return time, and for the width memory, against every property that was varied: a PNG file.

    Args:
        results: of ``measure``, with the keys ``axis`` and ``value``; those without an axis are left out.

    Raises:
        BenchError: there is nothing to draw.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [name for name in AXES if any(result["axis"] == name for result in results)]
    if not names:
        raise BenchError("the results must have a scaling study, and have none")
    panels: list[tuple[str, Callable[[Mapping[str, Any]], float | None], str]] = [
        (name, _seconds, "seconds an epoch") for name in names
    ]
    if "width" in names:
        panels.insert(names.index("width") + 1, ("width", _own_memory, "memory but libraries and data (MB)"))
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    drawing = Figure(figsize=(4.6 * columns, 4.2 * rows), layout="constrained")
    FigureCanvasAgg(drawing)
    grid = drawing.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, quantity, label) in zip(grid, panels, strict=False):
        _draw(axes, name, [result for result in results if result["axis"] == name], quantity)
        axes.set_ylabel(label)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    grid[0].legend(fontsize=8)
    stream = io.BytesIO()
    drawing.savefig(stream, format="png", dpi=130)
    return stream.getvalue()


def _seconds(row: Mapping[str, Any]) -> float:
    return row["median_seconds"]


def _own_memory(row: Mapping[str, Any]) -> float | None:
    """In megabytes; None where it was not measured."""
    size = row["memory"]["own"] if row["memory"]["device"] is None else row["memory"]["device"]
    return size / 1e6 if size else None


def _draw(axes: Any, name: str, results: Sequence[Mapping[str, Any]], quantity: _Quantity) -> None:
    """One panel: a curve a contender, and a dashed line of slope 1 where the cost should be linear."""
    axis = AXES[name]
    axes.set_xscale("log")
    axes.set_yscale("log")
    points: list[_Point] = []
    for contender in dict.fromkeys(row["name"] for result in results for row in result["contenders"]):
        curve = _curve(axis, contender, results)
        shown = [(x, y) for x, _, row in curve if (y := quantity(row)) is not None]
        if not shown:
            continue
        axes.plot(*zip(*shown, strict=True), "o-", color=_COLOURS[contender], label=contender, lw=1.3, ms=3.5)
        points += curve
        if (axis.per_weight or axis.whole) and contender == results[0]["contenders"][-1]["name"]:
            (x1, y1), x0 = shown[-1], shown[0][0]
            axes.plot([x0, x1], [y1 * x0 / x1, y1], "--", color="grey", lw=1, label="linear", zorder=0)
    _label(axes, axis, points)


def _curve(axis: Axis, contender: str, results: Sequence[Mapping[str, Any]]) -> list[_Point]:
    """Return the points of a contender in order, where it was timed; the first number of epochs only."""
    curve = {}
    for result in results:
        row = next((row for row in result["contenders"] if row["name"] == contender), None)
        if row is None:
            continue
        x = float(row["weights"] if axis.per_weight else result["value"])
        curve[x] = (x, result["value"], row)
    return [curve[x] for x in sorted(curve)]


def _label(axes: Any, axis: Axis, points: Sequence[_Point]) -> None:
    """Ticks at the values of the property; above, if the abscissa is the number of weights."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    ticks = {x: value for x, value, _ in points}
    shown = axes
    if axis.per_weight:
        axes.set_xlabel("weights")
        shown = axes.twiny()
        shown.set_xscale("log")
        shown.set_xlim(axes.get_xlim())
    shown.set_xlabel(axis.label)
    shown.set_xticks(list(ticks), [f"{value:g}" for value in ticks.values()], fontsize=8)
    shown.xaxis.set_minor_locator(NullLocator())
    for side in (axes.yaxis, axes.xaxis) if axis.per_weight else (axes.yaxis,):
        low, high = side.get_view_interval()
        side.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,)))
        side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        side.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
