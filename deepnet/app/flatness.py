"""The command ``deepnet flatness``: local energy and entropy of a run and its magnetisations, as tables and figures."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from deepnet.app.options import integer, number, path
from deepnet.app.terminal import say, wrong_input

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from deepnet.entropy import Entropy
    from deepnet.flatness import LocalEnergy
    from deepnet.state import Network
    from factorgraph.dense.state import Array

#: Files in the folder of the run.
NUMBERS, FIGURE, MAGNETIZATIONS = "flatness.json", "flatness.png", "magnetizations.png"

_DESCRIPTION = """Print by how much the training error of a run rises if every weight is flipped with probability p: a
flat minimum has a slow rise. With --entropy, print as well how many networks near it have the same labels right: their
entropy, by message passing, in nats a weight, where its messages converge. Of several tasks, it is about the last one.
Writes flatness.json, flatness.png and a histogram of the means of the weights, magnetizations.png, to the folder of
the run."""


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
    add(
        "--entropy",
        metavar="X",
        nargs="+",
        type=number,
        default=[],
        help="couplings γ >= 0 to the weights, such as 1 2 3: the larger, the nearer; up to 300 sweeps for each",
    )
    add("--seed", metavar="N", type=integer, default=0, help="of the flips (default: 0)")
    add("--no-plot", dest="plot", action="store_false", help="draw no figure")


def run(args: argparse.Namespace) -> int:
    """Measure, print and save."""
    import numpy as np

    from deepnet.app.checkpoint import write_text_atomic
    from deepnet.app.run import Run
    from deepnet.config import LARGEST_SEED
    from deepnet.continual import tasks_of
    from deepnet.ensemble import one_network
    from deepnet.flatness import local_energy
    from deepnet.layers.dense import LARGEST_FIELD
    from deepnet.sizes import check_count
    from factorgraph.interface.arguments import check_number, shown

    with wrong_input():
        largest = check_number("largest", args.largest, above=0, maximum=1)
        points, repeats = check_count("points", args.points, 2), check_count("repeats", args.repeats, 2)
        samples = None if args.samples is None else check_count("samples", args.samples, 1)
        seed = check_count("seed", args.seed, 0, LARGEST_SEED)
        couplings = [check_number("entropy", each, minimum=0, maximum=LARGEST_FIELD) for each in args.entropy]
        if len(set(map(_text, couplings))) < len(couplings):
            raise ValueError(f"`entropy` must be couplings that differ in six digits, got {shown(couplings)}")
    trained = Run.open(args.run)
    data = tasks_of(trained.description.load_data(args.data_dir))[-1]
    with wrong_input():
        network = one_network(trained.load(), "for flatness, which is that of one network")
    x, y = data.x_train[:samples], data.y_train[:samples]
    with wrong_input():
        entropies = _entropies(network, x, y, couplings)
        found = local_energy(
            network,
            x,
            y,
            np.linspace(0.0, largest, points).tolist(),
            repeats=repeats,
            rng=np.random.default_rng(seed),
        )
    say(table(found))
    numbers = {"epoch": network.epoch, "repeats": repeats, "samples": len(x), "seed": seed}
    content: dict[str, Any] = numbers | {"local_energy": [each._asdict() for each in found]}
    if entropies:
        say("\n" + entropy_table(entropies))
        content["entropy"] = {name: each._asdict() for name, each in entropies.items()}
    write_text_atomic(args.run / NUMBERS, json.dumps(content, indent=2) + "\n")
    if args.plot:
        _draw(args, network, found, entropies, trained.description.title())
    return 0


def table(found: "Sequence[LocalEnergy]") -> str:
    """Return the local energy in lines."""
    rows = [f"{each.p:8.4f} {each.mean:12.3f} {each.error:8.3f}" for each in found]
    return "\n".join([f"{'p':>8} {'δE (%)':>12} {'error':>8}", *rows])


def entropy_table(entropies: "Mapping[str, Entropy]") -> str:
    """Return the entropies in lines, by what they are about; "-" where the messages have no fixed point."""
    names = f"{'γ':>9} {'overlap':>9} {'entropy':>9} {'independent':>12}"
    rows = [
        f"{name:>9} {each.overlap:9.4f} {f'{each.entropy:.5f}' if each.status.converged else '-':>9} "
        f"{each.independent:12.5f}  {each.status}"
        for name, each in entropies.items()
    ]
    return "\n".join([names, *rows])


def _text(coupling: float) -> str:
    return f"{coupling:g}"


def _entropies(network: "Network", x: "Array", y: "Array", couplings: "Sequence[float]") -> "dict[str, Entropy]":
    """Return the entropies at these couplings by their texts, and that of the posterior, where there is one."""
    from deepnet.entropy import local_entropy, posterior_entropy

    if not couplings:
        return {}
    found = dict(zip(map(_text, couplings), local_entropy(network, x, y, couplings), strict=True))
    return found if network.config.baseline else found | {"posterior": posterior_entropy(network, x, y)}


def _draw(
    args: argparse.Namespace,
    network: "Network",
    found: "Sequence[LocalEnergy]",
    entropies: "Mapping[str, Entropy]",
    title: str,
) -> None:
    from deepnet.data import DataError

    try:
        from deepnet.app.figures import magnetizations, save_figure, titled_figure
    except ImportError as error:
        raise DataError(f"{error}, or give --no-plot") from error
    figure = titled_figure(title, (10.8 if entropies else 6.4, 4.8))
    axes, *others = figure.subplots(1, 2 if entropies else 1, squeeze=False)[0]
    axes.errorbar([each.p for each in found], [each.mean for each in found], [each.error for each in found], capsize=2)
    axes.set(xlabel="probability p of a flip", ylabel="local energy δE(p) (%)", ylim=(0.0, None))
    axes.grid(alpha=0.3)
    for other in others:
        _draw_entropies(other, list(entropies.values()))
    save_figure(args.run / FIGURE, figure)
    save_figure(args.run / MAGNETIZATIONS, magnetizations(network.to("cpu").layers, title))


def _draw_entropies(axes: "Axes", entropies: "Sequence[Entropy]") -> None:
    """Those of converged messages against the share of weights that differ from the most probable ones."""
    known = sorted((each for each in entropies if each.status.converged), key=lambda each: each.overlap)
    distances = [0.5 * (1.0 - each.overlap) for each in known]
    axes.plot(distances, [each.independent for each in known], "--", color="tab:gray", label="of independent weights")
    axes.plot(distances, [each.entropy for each in known], "o-", markersize=4, label="with all labels right")
    axes.set(xlabel="share of weights that differ", ylabel="local entropy (nats a weight)")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
