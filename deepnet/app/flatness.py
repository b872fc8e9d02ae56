"""The command ``deepnet flatness``: the local energy of a run, as a table and a figure."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from deepnet.app.options import integer, number, path
from deepnet.app.terminal import say, wrong_input

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepnet.flatness import LocalEnergy

#: Files in the folder of the run.
NUMBERS, FIGURE = "flatness.json", "flatness.png"

_DESCRIPTION = """Print by how much the training error of a run rises if every weight is flipped with probability p: a
flat minimum has a slow rise. Of several tasks, it is the error on the last one. Writes flatness.json and flatness.png
to the folder of the run."""


def add_flatness(commands: Any) -> None:
    """Add the command to those of ``deepnet``, ``commands`` being the action that holds them."""
    command = commands.add_parser("flatness", help="how flat the error is about a trained network", allow_abbrev=False)
    command.description = _DESCRIPTION
    command.set_defaults(command=run)
    add = command.add_argument
    add("run", metavar="RUN", type=path, help="folder of the run, of ±1 weights and any algorithm")
    add("--data-dir", metavar="DIR", type=path, help="folder with the files of the data set")
    add("--largest", metavar="P", type=number, default=0.2, help="largest probability (default: 0.2)")
    add("--points", metavar="N", type=integer, default=11, help="probabilities from 0 to P (default: 11)")
    add("--repeats", metavar="N", type=integer, default=10, help="random flips for each (default: 10)")
    add("--samples", metavar="N", type=integer, help="of the training set, the first ones (default: all)")
    add("--seed", metavar="N", type=integer, default=0, help="of the flips (default: 0)")
    add("--no-plot", dest="plot", action="store_false", help="draw no figure")


def run(args: argparse.Namespace) -> int:
    """Measure, print and save."""
    import numpy as np

    from deepnet.app.checkpoint import write_text_atomic
    from deepnet.app.run import Run
    from deepnet.config import LARGEST_SEED
    from deepnet.continual import tasks_of
    from deepnet.flatness import local_energy
    from deepnet.sizes import check_count
    from factorgraph.interface.arguments import check_number

    with wrong_input():
        largest = check_number("largest", args.largest, above=0, maximum=1)
        points, repeats = check_count("points", args.points, 2), check_count("repeats", args.repeats, 2)
        samples = None if args.samples is None else check_count("samples", args.samples, 1)
        seed = check_count("seed", args.seed, 0, LARGEST_SEED)
    trained = Run.open(args.run)
    data = tasks_of(trained.description.load_data(args.data_dir))[-1]
    network = trained.load()
    with wrong_input():
        found = local_energy(
            network,
            data.x_train[:samples],
            data.y_train[:samples],
            np.linspace(0.0, largest, points).tolist(),
            repeats=repeats,
            rng=np.random.default_rng(seed),
        )
    say(table(found))
    numbers = {"epoch": network.epoch, "repeats": repeats, "samples": len(data.x_train[:samples]), "seed": seed}
    content = numbers | {"local_energy": [each._asdict() for each in found]}
    write_text_atomic(args.run / NUMBERS, json.dumps(content, indent=2) + "\n")
    if args.plot:
        _draw(args, found, trained.description.title())
    return 0


def table(found: "Sequence[LocalEnergy]") -> str:
    """Return the local energy in lines."""
    rows = [f"{each.p:8.4f} {each.mean:12.3f} {each.error:8.3f}" for each in found]
    return "\n".join([f"{'p':>8} {'δE (%)':>12} {'error':>8}", *rows])


def _draw(args: argparse.Namespace, found: "Sequence[LocalEnergy]", title: str) -> None:
    from deepnet.data import DataError

    try:
        from deepnet.app.figures import save_figure, titled_figure
    except ImportError as error:
        raise DataError(f"{error}, or give --no-plot") from error
    figure = titled_figure(title, (6.4, 4.8))
    axes = figure.subplots()
    axes.errorbar([each.p for each in found], [each.mean for each in found], [each.error for each in found], capsize=2)
    axes.set(xlabel="probability p of a flip", ylabel="local energy δE(p) (%)", ylim=(0.0, None))
    axes.grid(alpha=0.3)
    save_figure(args.run / FIGURE, figure)
