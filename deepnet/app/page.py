"""The HTML page about runs: tables, and figures inside of it."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from matplotlib.figure import Figure

from deepnet.app import figures
from deepnet.app.told import Measured, Told
from deepnet.continual import TASK_ERRORS
from deepnet.scores import Measures, Reliability
from factorgraph.interface.html import html_table

#: Mistakes and units that are shown.
_MISTAKES, _UNITS = 24, 36

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.45 system-ui, sans-serif; color: #222; background: #fff; margin: 0 auto; max-width: 1200px;
  padding: 0 16px 48px; }
h1 { font-size: 1.5rem; margin: 24px 0 8px; }
h2 { font-size: 1.2rem; margin: 40px 0 8px; padding-top: 12px; border-top: 2px solid #ddd; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 24px 0 6px; }
p, summary { overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 12px 4px 0; text-align: right; white-space: nowrap; border-bottom: 1px solid #eee; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 1px solid #999; font-weight: 600; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); gap: 16px; }
figure { margin: 0; min-width: 0; }
figcaption { font-size: 0.85rem; color: #555; }
img { display: block; max-width: 100%; height: auto; margin: auto; }
pre { font-size: 0.8rem; background: #f6f6f6; padding: 12px; overflow-x: auto; }
"""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(told: Sequence[Told]) -> str:
    """Return the page about runs, at least one."""
    title = f"{len(told)} runs" if len(told) > 1 else told[0].run.description.title()
    parts = [f"<h1>{escape(title)}</h1>", _compared(told), *map(_section, told)]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _compared(told: Sequence[Told]) -> str:
    """Return the runs side by side, those of one kind: a row for each, and their test errors in one figure."""
    kinds: dict[Measures, list[Told]] = {}
    for each in told:
        kinds.setdefault(each.run.description.measures, []).append(each)
    return "\n".join(_compared_by(measures, alike) for measures, alike in kinds.items())


def _compared_by(measures: Measures, told: Sequence[Told]) -> str:
    heads = [
        "run",
        "data set",
        "units",
        "algorithm",
        "epochs",
        f"test {measures.error}",
        "Bayesian",
        *measures.scores,
        "s an epoch",
        "packed",
    ]
    rows = []
    for each in told:
        description, history = each.run.description, each.run.history
        widths = "-".join(
            str(size)
            for size in (description.features, *(layer.plan.outputs for layer in each.network.members[0].layers))
        )
        method = description.config.method
        took = sum(epoch["seconds"] for epoch in history) / len(history) if history else float("nan")
        packed = [size for name, size, *_ in each.exports if name == "packed"]
        rows.append([
            each.name, f"{description.dataset} ({description.kind})", widths,
            method if isinstance(method, str) else "+".join(method), str(each.network.epoch),
            *(measures.said(each.measured[f"{prefix}test_error"]) for prefix in ("", "bayes_")),
            *(f"{each.measured[f'test_{name}']:.4f}" for name in measures.scores), f"{took:.3g}",
            f"{packed[0]} bytes" if packed else "",
        ])  # fmt: skip
    table = _table([head.replace("_", " ") for head in heads], rows)
    trained = [each for each in told if each.run.history]
    if len(trained) < 2:
        return table
    histories = {each.name: each.run.history for each in trained}
    drawn = figures.compared(histories, measures)
    return table + _figures([(drawn, "Test errors, pointwise and Bayesian, of all runs")])


def _section(told: Told) -> str:
    """Return all about one run."""
    history, layers = told.run.history, [layer.plan.name for layer in told.network.members[0].layers]
    drawn: list[tuple[Figure, str]] = []
    if history:
        curves = figures.single_curves(history, layers, told.run.description.measures)
        drawn = [(figure, caption) for caption, figure in curves.items()]
    if any(TASK_ERRORS[0] in measured for measured in history):
        drawn.append((figures.tasks(history, ""), "Accuracy on every task against the tasks learnt"))
    settings = escape(str(told.run.description))
    parts = [
        f"<h2>{escape(told.name)}</h2>",
        f"<p>{escape(told.run.description.title())}</p>",
        _errors(told),
        _figures([*drawn, *_predictions(told)]),
        _mistakes(told),
        _weights(told),
        _sizes(told),
        f"<h3>Settings</h3>\n<details><summary>all of them</summary>\n<pre>{settings}</pre></details>",
    ]
    return "\n".join(part for part in parts if part)


def _predictions(told: Told) -> list[tuple[Figure, str]]:
    """Return figures of what is predicted of the test set."""
    found = told.predicted
    if isinstance(found, Measured):
        values = (found.mean, found.deviation, found.y)
        return [
            (figures.predicted(*values), "Targets of the test set against their means"),
            (figures.intervals(*values, ""), "Coverage: how many targets are within intervals of each probability"),
        ]
    reliability = Reliability.of(found.p, found.numbers)
    return [
        (figures.confusion(found.p.argmax(axis=1), found.numbers, _names(told)), "Confusion: samples of the test set"),
        (figures.reliability(reliability, ""), "Reliability of the probabilities on the test set"),
    ]


def _names(told: Told) -> list[str]:
    return [str(label) for label in told.data.labels]


def _errors(told: Told) -> str:
    rows, measures = [], told.run.description.measures
    for part, name in (("train", "training set"), ("test", "test set")):
        errors = [measures.said(told.measured[f"{prefix}{part}_error"]) for prefix in ("", "bayes_")]
        rows.append([name, *errors, *(f"{told.measured[f'{part}_{score}']:.4f}" for score in measures.scores)])
    heads = [f"{measures.error}, pointwise", "Bayesian", *(score.replace("_", " ") for score in measures.scores)]
    return _table(["", *heads], rows)


def _mistakes(told: Told) -> str:
    """Return the most confident mistakes: pictures where the inputs are, else a table."""
    found, wrong = told.predicted, told.predicted.mistakes(_MISTAKES)
    if isinstance(found, Measured):
        numbers = [[f"{values[i]:.4g}" for values in (found.y, found.mean, found.deviation)] for i in wrong]
        rows = [[str(i), *each] for i, each in zip(wrong, numbers, strict=True)]
        heading = "<h3>Targets of the test set that are the most deviations off</h3>"
        return heading + _table(["row of the test set", "target", "mean", "deviation"], rows)
    if not wrong:
        return "<h3>Mistakes</h3><p>There are none on the test set.</p>"
    guessed, p, names = found.p.argmax(axis=1), found.p.max(axis=1), _names(told)
    heading = "<h3>Most confident mistakes on the test set</h3>"
    pictures = figures.pictures_of(told.data.preparation, told.data.x_test[wrong])
    if pictures is not None:
        titles = [f"{names[guessed[i]]} ({p[i]:.2f}), is {names[found.numbers[i]]}" for i in wrong]
        return heading + _figures([(figures.gallery(pictures, titles), "What it said, how sure, and what it is")])
    rows = [[str(i), names[found.numbers[i]], names[guessed[i]], f"{p[i]:.4f}"] for i in wrong]
    return heading + _table(["row of the test set", "label", "predicted", "probability"], rows)


def _weights(told: Told) -> str:
    """Return the means of the first layer's weights as pictures, where its inputs are."""
    first = told.network.members[0].layers[0]
    mean = getattr(first, "mean", None)
    if mean is None:
        return ""
    pictures = figures.pictures_of(told.data.preparation, mean[:_UNITS, : told.data.features], weights=True)
    if pictures is None:
        return ""
    shown = f"the first {len(pictures)} of {len(mean)} units" if len(pictures) < len(mean) else f"{len(mean)} units"
    return "<h3>Weights of the first layer</h3>" + _figures([(figures.gallery(pictures), f"Means, {shown}")])


def _sizes(told: Told) -> str:
    heads = ["", "bytes", "one sample", f"{told.timed} samples"]
    rows = [[name, f"{size}", *_seconds(times)] for name, size, *times in told.exports]
    note = f"<p>It cannot be packed: {escape(told.refused)}.</p>" if told.refused else ""
    return "<h3>Size and speed of what it predicts with, on this machine</h3>" + _table(heads, rows) + note


def _seconds(values: Sequence[float]) -> list[str]:
    """Return times in words; empty where there is none."""
    return [
        "" if value != value else f"{1e6 * value:.3g} µs" if value < 1e-3 else f"{1e3 * value:.3g} ms"
        for value in values
    ]


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    return f'<div class="wide">{html_table(heads, rows)}</div>'


def _figures(drawn: Iterable[tuple[Figure, str]]) -> str:
    each = (
        f"<figure>{_image(figure, caption)}<figcaption>{escape(caption)}</figcaption></figure>"
        for figure, caption in drawn
    )
    return f'<div class="figures">{"".join(each)}</div>'


def _image(figure: Figure, text: str) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    data: Any = base64.b64encode(stream.getvalue()).decode()
    width, height = (round(110 * size) for size in figure.get_size_inches())
    return f'<img src="data:image/png;base64,{data}" width="{width}" height="{height}" alt="{escape(text)}">'
