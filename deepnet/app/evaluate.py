"""The command ``deepnet evaluate``: how good a run is, on its data, on a file, and against another data set."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from deepnet.app.options import (
    DATASET_HELP,
    DEVICE_HELP,
    Help,
    add_data_options,
    dataset,
    file,
    path,
)
from deepnet.app.terminal import say, wrong_input
from deepnet.app.texts import detections, errors

if TYPE_CHECKING:
    from pathlib import Path

    from deepnet.app.description import Description
    from deepnet.ensemble import Trained
    from factorgraph.dense.state import Array

#: File in the folder of the run.
FIGURE = "reliability.png"

_DESCRIPTION = """Print errors, log loss, Brier score and expected calibration error of the newest checkpoint of a run,
or root mean square errors, log likelihood and coverage where it predicts numbers, on the whole training and test set,
or on a file with labels, and draw how reliable its probabilities are, into reliability.png in the folder of the run."""


def add_evaluate(commands: Any) -> None:
    """Add the command to those of ``deepnet``, ``commands`` being the action that holds them."""
    about = "errors and calibration of a trained network"
    command = commands.add_parser("evaluate", help=about, formatter_class=Help, allow_abbrev=False)
    command.description = _DESCRIPTION
    command.set_defaults(command=run)
    add = command.add_argument
    add("run", metavar="RUN", type=path, help="folder of the run")
    add("dataset", metavar="DATASET", nargs="?", type=dataset, help=f"{DATASET_HELP} (default: that of the run)")
    add("--labels", metavar="FILE", type=file, help="the labels, for a file of arrays without names")
    add_data_options(command)
    add("--ood", metavar="DATASET", type=dataset, help=f"inputs of another kind, to be told from those: {DATASET_HELP}")
    add("--device", metavar="NAME", default="cpu", help=f"{DEVICE_HELP} (default: cpu)")
    add("--json", action="store_true", help="print one JSON object")
    add("--no-plot", dest="plot", action="store_false", help="draw no figure")


def run(args: argparse.Namespace) -> int:
    """Measure, print and draw."""
    from deepnet.app import run as runs
    from deepnet.kernels.devices import operations_for
    from deepnet.metrics import measure, named

    trained = runs.Run.open(args.run)
    description = trained.description
    with wrong_input():
        operations_for(args.device, description.config.dtype)
    if isinstance(args.dataset, str | None):
        data = description.load_data(args.data_dir, dataset=args.dataset, task=getattr(args, "task", None))
        network = trained.load(args.device)
        measured, x, y, name = runs.evaluate(network, data), data.x_test, data.y_test, data.name
    else:
        x, y = labelled(description, args.dataset, args.labels)
        network, name = trained.load(args.device), str(args.dataset)
        unit = description.prepared()[1].unit
        measured = {"epoch": network.epoch} | named("test", measure(network, x, y, unit))
    found = None if args.ood is None else told_apart(network, x, strange(description, args.ood, args.data_dir))
    if args.json:
        known = {"run": str(args.run), "dataset": name, "task": description.task} | measured
        say(json.dumps(known if found is None else known | {"ood": {"dataset": str(args.ood)} | found}))
    else:
        say(f"{args.run}, epoch {network.epoch}, on {name} ({description.kind}):")
        say(errors(measured, description.measures))
        if found is not None:
            say(detections(str(args.ood), found))
    if args.plot:
        _draw(args.run, network, x, y, f"{description.title()}, on {name}")
    return 0


def labelled(description: "Description", file: "Path", labels: "Path | None") -> "tuple[Array, Array]":
    """Return inputs and labels in a file, as the network of a run takes them.

    Raises:
        DataError: the file is not as those that the run was trained on.
        RunError: the run does not know in which column the labels are.
    """
    from deepnet.app.description import RunError
    from deepnet.data.own import read_table
    from deepnet.data.table import LABELS

    if labels is None and description.files is None:
        raise RunError(f"`--labels` must be the file with the labels of {file}, got none")
    column = LABELS if description.files is None else description.files.column
    table = read_table(file, column, labels, part="_test")
    preparation, target = description.prepared()
    y = target.encode(target.read(table, column))
    return preparation.apply(table, description.config.dtype), y


def strange(description: "Description", source: "str | Path", data_dir: str | None) -> "Array":
    """Return the inputs in the test set of another data set, or in a file."""
    from deepnet.data import load_pictures
    from deepnet.data.own import read_table

    table = load_pictures(source, data_dir) if isinstance(source, str) else read_table(source, part="_test")
    return description.prepared()[0].apply(table, description.config.dtype)


def told_apart(network: "Trained", inside: "Array", outside: "Array") -> dict[str, dict[str, float]]:
    """Return how well entropy and mutual information tell inputs apart, see ``deepnet.scores.detection``."""
    from deepnet.average import uncertainty
    from deepnet.scores import detection

    known, other = uncertainty(network, inside), uncertainty(network, outside)
    return {
        "entropy": detection(known.total, other.total),
        "mutual_information": detection(known.epistemic, other.epistemic),
    }


def _draw(folder: "Path", network: "Trained", x: "Array", y: "Array", title: str) -> None:
    from deepnet.average import class_probabilities, means_and_deviations
    from deepnet.data import DataError
    from deepnet.outputs import output_of
    from deepnet.scores import Reliability

    try:
        from deepnet.app.figures import intervals, reliability, save_figure
    except ImportError as error:
        raise DataError(f"{error}, or give --no-plot") from error
    output = output_of(network.members[0].layers[-1])
    if output.numeric:
        figure = intervals(*means_and_deviations(network, x), y, title)
    else:
        figure = reliability(Reliability.of(class_probabilities(network, x), output.likeliest(y)), title)
    save_figure(folder / FIGURE, figure)
