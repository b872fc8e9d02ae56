"""Results as tables and as JSON."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from deepnet.bench.measure import Protocol
from factorgraph.runtime.machine import machine

_HEADINGS = ("", "s/epoch", "ratio", "(range)", "batches", "GFLOP/s", "1e9 g/s", "of limit", "memory", "own")


def document(results: Sequence[Mapping[str, Any]], protocol: Protocol) -> str:
    """Return machine, protocol (``seconds`` null where epochs are never cut) and results as JSON."""
    device = results[0]["case"]["device"]
    settings = asdict(protocol) | {"seconds": protocol.seconds if math.isfinite(protocol.seconds) else None}
    content = {"machine": machine(device), "protocol": settings, "results": results}
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def table(result: Mapping[str, Any]) -> str:
    """Return the result of ``measure`` as lines of text."""
    case = result["case"]
    lines = [
        f"{'-'.join(map(str, case['widths']))}, batch {case['batch_size']}, {case['samples']} samples"
        + (f", density {case['density']:g}" if case["density"] < 1 else "")
        + ("" if (case["weights"], case["activation"]) == ("binary", "sign") else f", {_kind(case)}")
        + f"; {case['device']}, threads: {case['threads']}; medians of {len(result['contenders'][0]['seconds'])} rounds"
    ]
    for after in dict.fromkeys(row["after"] for row in result["contenders"]):
        rows = [row for row in result["contenders"] if row["after"] == after]
        if after or len(rows) < len(result["contenders"]):
            lines.append(f"after {after} epochs{_polarizations(rows)}")
        lines += _columns([_HEADINGS, *map(_cells, rows)])
    return "\n".join(lines)


def _kind(case: Mapping[str, Any]) -> str:
    return f"{case['weights']} weights, {case['activation']} units"


def _polarizations(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the mean of m² in each layer, of the contenders that have it."""
    texts = [
        f"{row['name']} {' '.join(f'{value:.2f}' for value in row['polarization'])}"
        for row in rows
        if row["polarization"] is not None
    ]
    return f"; polarisation: {', '.join(texts)}" if texts else ""


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    ratios, memory = row["ratios"], row["memory"]
    device = memory["device"]
    return (
        row["name"],
        f"{row['median_seconds']:.3g}",
        "-" if ratios is None else f"{row['median_ratio']:.2f}",
        "" if ratios is None else f"({min(ratios):.2f}-{max(ratios):.2f})",
        f"{row['batches']}/{row['epoch_batches']}",
        f"{row['flops'] / 1e9:.1f}",
        f"{row['evaluations'] / 1e9:.2f}" if row["evaluations"] else "-",
        "-" if row["share"] is None else f"{100 * row['share']:.0f} %",
        _megabytes(memory["peak"] if device is None else device),
        _megabytes(memory["own"] if device is None else device),
    )


def _megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:.0f} MB"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows of cells, the first column flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        padded = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *padded]))
    return lines


def legend(results: Iterable[Mapping[str, Any]]) -> str:
    """Return what the columns are, and the limits that were measured."""
    limits: dict[str, list[Mapping[str, Any]]] = {}
    for row in (row for result in results for row in result["contenders"]):
        limits.setdefault(row["name"], []).append(row["limits"])
    lines = [
        "s/epoch: scaled to all batches of an epoch from those timed. ratio: to the first baseline, in the same round.",
        "GFLOP/s: of the matrix products, 2 a weight and sample each. 1e9 g/s: one g a weight and sample of BP, BPI.",
        "of limit: least time at the limits (products and g's, or traffic of the weights) over the time taken;",
        "-: the limits, timed by themselves, came out lower than what was reached.",
        "memory: peak of the process; own: without libraries and data; on a GPU both are its pool of memory.",
    ]
    for name, found in limits.items():
        best = {key: max(each[key] or 0.0 for each in found) / 1e9 for key in ("flops", "bytes", "evaluations")}
        evaluations = f", {best['evaluations']:.2f}e9 g/s" if best["evaluations"] else ""
        lines.append(f"limits of {name}: {best['flops']:.0f} GFLOP/s, copy {best['bytes']:.0f} GB/s{evaluations}")
    return "\n".join(lines)
