"""Our numbers beside the paper's: tables from ``results/*.csv``, which ``deepnet sweep`` has written as ``cells.csv``.

``python examples/paper/compare.py`` prints Tables 1 and 2 [DL]; every number of ours is the mean ± deviation over the
seeds in brackets, and a star says that it differs from the paper's by more than the sum of both deviations.
"""

import csv
import statistics
from collections.abc import Mapping
from pathlib import Path

RESULTS = Path(__file__).with_name("results")

#: Test and training errors in percent and their deviations [DL, Tables 1 and 2].
PAPER = {
    "test_error": {
        "MNIST (2 classes)": {"BinaryNet": (1.3, 0.1), "BP": (1.4, 0.2), "AMP": (1.4, 0.1), "MF": (1.3, 0.2)},
        "Fashion-MNIST (2 classes)": {"BinaryNet": (2.4, 0.1), "BP": (2.3, 0.1), "AMP": (2.4, 0.1), "MF": (2.3, 0.1)},
        "CIFAR-10 (2 classes)": {"BinaryNet": (30.0, 0.3), "BP": (31.4, 0.1), "AMP": (31.1, 0.3), "MF": (31.1, 0.4)},
        "MNIST": {"BinaryNet": (2.2, 0.1), "BP": (2.6, 0.1), "AMP": (2.6, 0.1), "MF": (2.3, 0.1)},
        "Fashion-MNIST": {"BinaryNet": (12.0, 0.6), "BP": (11.8, 0.3), "AMP": (11.9, 0.2), "MF": (12.1, 0.2)},
        "CIFAR-10": {"BinaryNet": (59.0, 0.7), "BP": (58.7, 0.3), "AMP": (58.5, 0.2), "MF": (60.4, 1.1)},
    },
    "train_error": {
        "MNIST (2 classes)": {"BinaryNet": (0.05, 0.05), "BP": (0.0, 0.0), "AMP": (0.0, 0.0), "MF": (0.0, 0.0)},
        "Fashion-MNIST (2 classes)": {
            "BinaryNet": (0.3, 0.1),
            "BP": (0.06, 0.01),
            "AMP": (0.06, 0.01),
            "MF": (0.09, 0.01),
        },
        "CIFAR-10 (2 classes)": {"BinaryNet": (1.2, 0.5), "BP": (0.37, 0.01), "AMP": (0.4, 0.1), "MF": (0.9, 0.2)},
        "MNIST": {"BinaryNet": (0.09, 0.01), "BP": (0.12, 0.01), "AMP": (0.12, 0.01), "MF": (0.03, 0.01)},
        "Fashion-MNIST": {"BinaryNet": (4.0, 0.5), "BP": (3.4, 0.1), "AMP": (3.7, 0.1), "MF": (2.5, 0.2)},
        "CIFAR-10": {"BinaryNet": (13.0, 0.9), "BP": (4.7, 0.1), "AMP": (4.7, 0.2), "MF": (9.2, 0.5)},
    },
}

ALGORITHMS = ("BinaryNet", "BP", "AMP", "MF")


def measured(name: str, column: str) -> dict[tuple[str, str], list[float]]:
    """Return a column of a file of results, the seeds of each data set and algorithm together."""
    found: dict[tuple[str, str], list[float]] = {}
    path = RESULTS / f"{name}.csv"
    for row in csv.DictReader(path.read_text().splitlines()) if path.exists() else ():
        found.setdefault((row["data"], row["algorithm"]), []).append(float(row[column]))
    return found


def cell(ours: list[float], paper: tuple[float, float]) -> str:
    """Return ours and the paper's number in one cell of a table."""
    theirs = f"{paper[0]:g} ± {paper[1]:g}"
    if not ours:
        return f"not run / {theirs}"
    mean, deviation = statistics.mean(ours), statistics.stdev(ours) if len(ours) > 1 else 0.0
    star = " *" if abs(mean - paper[0]) > deviation + paper[1] else ""
    return f"{mean:.2f} ± {deviation:.2f} ({len(ours)}) / {theirs}{star}"


def table(column: str, paper: Mapping[str, Mapping[str, tuple[float, float]]]) -> str:
    """Return a Markdown table: ours / the paper's."""
    ours = measured("table1", column) | measured("table1_cifar", column)
    lines = [["data", *ALGORITHMS], ["---"] * (1 + len(ALGORITHMS))]
    for data, row in paper.items():
        lines.append([data, *(cell(ours.get((data, name), []), row[name]) for name in ALGORITHMS)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    for title, column in (("Test error", "test_error"), ("Training error", "train_error")):
        print(f"{title} (%), ours: mean ± deviation (seeds) / the paper's\n\n{table(column, PAPER[column])}\n")
