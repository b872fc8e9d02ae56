"""Figures 5, 7, 8 and 9 [DL]: what they show as ``results/figure*.csv``, and drawn from it, ``results/figure*.png``.

    python examples/paper/figures.py 5
    deepnet sweep examples/paper/figure7.toml && python examples/paper/figures.py 7 --runs runs/figure7
    deepnet sweep examples/paper/figure8.toml && python examples/paper/figures.py 8 --runs runs/figure8
    python examples/paper/figures.py 9 --runs runs/figure9

What is measured already is not measured again. Figures 7 to 9 are drawn from the numbers that are there without
``--runs``.
"""

import argparse
import csv
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepnet import Config
from deepnet.app.cli import main as deepnet
from deepnet.experiments.cell import Job
from deepnet.experiments.spec import read_spec
from deepnet.state import init

PAPER = Path(__file__).parent
Row = dict[str, Any]

#: Sizes of the initial fields in Fig. 5, and of the mini-batches in Fig. 9.
FIELDS, BATCHES = (0.1, 0.5, 1.0, 2.0, 5.0), (16, 32, 64, 128, 256, 512, 1024)


def initial_magnetizations(args: argparse.Namespace) -> Iterator[Row]:
    """Fig. 5: the distribution of the means of the weights before training, for several ε."""
    edges = np.linspace(-1.0, 1.0, 51)
    for size in FIELDS:
        (layer,) = init(Config(hidden=(), eps_init=size), 784, 501).layers
        density, _ = np.histogram(layer.state()["mean"], edges, density=True)
        for low, high, value in zip(edges, edges[1:], density, strict=False):
            yield {"eps_init": size, "m": f"{0.5 * (low + high):.2f}", "density": f"{value:.4f}"}


def local_energies(args: argparse.Namespace) -> Iterator[Row]:
    """Fig. 7: the rise of the training error with the share of flipped weights, of all runs that are done."""
    for job in finished("figure7", args):
        if not (job.directory / "flatness.json").exists():
            data = [] if args.data_dir is None else ["--data-dir", str(args.data_dir)]
            run("flatness", str(job.directory), "--no-plot", *data)
        for point in json.loads((job.directory / "flatness.json").read_text())["local_energy"]:
            yield {"algorithm": job.cell.labels[0], "seed": job.cell.seed, "p": point["p"], "rise": point["mean"]}


def polarizations(args: argparse.Namespace) -> Iterator[Row]:
    """Fig. 8: polarisation and overlap of every layer, and the errors, after every epoch of all runs that are done."""
    for job in finished("figure8", args):
        for measured in job.history():
            for layer, (q0, qab) in enumerate(zip(measured["polarization"], measured["overlap"], strict=True)):
                yield {
                    "seed": job.cell.seed,
                    "epoch": measured["epoch"],
                    "layer": layer,
                    "polarization": f"{q0:.5f}",
                    "overlap": f"{qab:.6f}",
                    "train_error": measured["train_error"],
                    "test_error": measured["test_error"],
                }


def seconds_an_epoch(args: argparse.Namespace) -> Iterator[Row]:
    """Fig. 9: seconds an epoch of 784-501-501-10 takes on Fashion-MNIST, against the size of the mini-batch."""
    args.runs.mkdir(parents=True, exist_ok=True)
    for size in args.batches:
        path = args.runs / f"batch-{size}.json"
        if not path.exists():
            data = [] if args.data_dir is None else ["--data-dir", str(args.data_dir)]
            case = ["fashion-mnist", "--network", "784-501-501-10", "--batch-size", str(size), *data]
            run("bench", *case, *args.bench.split(), "--json", str(path))
        for result in json.loads(path.read_text())["results"]:
            for contender in result["contenders"]:
                yield {"batch_size": size, "algorithm": contender["name"], "seconds": contender["median_seconds"]}


def run(*arguments: str) -> None:
    """Run a command of ``deepnet``; end the program if it fails, which has said why."""
    if code := deepnet(arguments):
        raise SystemExit(code)


def finished(name: str, args: argparse.Namespace) -> list[Job]:
    """Return the cells of a specification that are done."""
    spec = read_spec(PAPER / f"{name}.toml", args.data_dir)
    jobs = [Job(cell, args.runs.absolute(), spec.data_dir, spec.device) for cell in spec.cells]
    return [job for job in jobs if job.result() is not None]


def averaged(rows: Sequence[Row], x: str, y: str, **chosen: str) -> tuple[list[float], list[float], list[float]]:
    """Return x, and mean and deviation of y over the rows that have it and are as chosen."""
    found: dict[float, list[float]] = {}
    for row in rows:
        if all(row[name] == value for name, value in chosen.items()):
            found.setdefault(float(row[x]), []).append(float(row[y]))
    spreads = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in found.values()]
    return list(found), [statistics.mean(values) for values in found.values()], spreads


def curves(axes: Axes, rows: Sequence[Row], x: str, y: str, by: str) -> None:
    """Draw y against x, a line for each value of a column, with the deviations of the seeds."""
    for value in dict.fromkeys(row[by] for row in rows):
        points, means, spreads = averaged(rows, x, y, **{by: value})
        axes.errorbar(points, means, spreads, label=f"{by.replace('_', ' ')} {value}", lw=1.3, capsize=2)
    axes.set(xlabel=x.replace("_", " "), ylabel=y.replace("_", " "))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def draw(number: int, rows: Sequence[Row]) -> Figure:
    """Return a figure of the numbers in its file."""
    panels = {
        5: [("m", "density", "eps_init")],
        7: [("p", "rise", "algorithm")],
        8: [("epoch", "polarization", "layer"), ("epoch", "overlap", "layer")],
        9: [("batch_size", "seconds", "algorithm")],
    }[number]
    figure = Figure(figsize=(5.4 * len(panels), 4.4), layout="constrained")
    for axes, (x, y, by) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        curves(axes, rows, x, y, by)
        if number == 7:
            axes.set(xlabel="probability of a flip", ylabel="rise of the training error (%)")
        if number in (5, 9):
            axes.set_yscale("log")
        if number == 9:
            axes.set_xscale("log", base=2)
    return figure


MEASURES: dict[int, Callable[[argparse.Namespace], Iterator[Row]]] = {
    5: initial_magnetizations,
    7: local_energies,
    8: polarizations,
    9: seconds_an_epoch,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", type=int, choices=MEASURES, help="of the figure")
    parser.add_argument("--runs", type=Path, help="folder of the sweep, or for the times of Fig. 9")
    parser.add_argument("--data-dir", type=Path, help="folder with the files of the data sets")
    parser.add_argument("--results", type=Path, default=PAPER / "results", help="folder to write to")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="sizes of the mini-batches of Fig. 9")
    parser.add_argument("--bench", default="--closure mf amp bp", help="options of `deepnet bench` for Fig. 9")
    args = parser.parse_args()
    path = args.results / f"figure{args.number}.csv"
    if args.number == 5 or args.runs is not None:
        rows = list(MEASURES[args.number](args))
        if not rows:
            raise SystemExit(f"no cell of figure{args.number}.toml is done in {args.runs}")
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    if not path.exists():
        raise SystemExit(f"nothing is measured yet: give --runs ({path} is not there)")
    draw(args.number, list(csv.DictReader(path.read_text().splitlines()))).savefig(path.with_suffix(".png"), dpi=130)
    print(path)


if __name__ == "__main__":
    main()
