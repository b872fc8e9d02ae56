"""What the command line prints of a run: tables and lines."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepnet.app.run import Run
    from deepnet.ensemble import Trained
    from deepnet.scores import Measures


def header(run: "Run", network: "Trained") -> str:
    """Return what is trained on what: settings, model and layers."""
    layers = [f"  {layer.plan}" for layer in network.members[0].layers]
    together = [f"processes {run.communicator.size}"] if run.communicator.size > 1 else []
    return "\n".join([f"run       {run.directory}", *together, str(run.description), "layers", *layers])


def column_heads(network: "Trained", measures: "Measures") -> str:
    """Return the heads of the columns of ``row``."""
    score, width = measures.scores[0].replace("_", " "), _width(measures)
    span = 2 * width + 16
    return (
        f"\n{'':9}  {measures.error:{span}}{'test':>{len(score)}}{'':11}polarisation of layer\n"
        f"{'epoch':>9}  {'train':>{width}}  {'test':>{width}}  {'test Bayes':>10}  {score}  {'seconds':>7}  "
    ) + " ".join(f"{layer.plan.name:>6}" for layer in network.members[0].layers)


def row(measured: Mapping[str, Any], epochs: int, measures: "Measures") -> str:
    """Return one epoch in one line."""
    width, digits, score = _width(measures), measures.digits, measures.scores[0]
    return (
        f"{measured['epoch']:>4}/{epochs:<4}  {measured['train_error']:{width}{digits}}  "
        f"{measured['test_error']:{width}{digits}}  {measured['bayes_test_error']:10{digits}}  "
        f"{measured[f'test_{score}']:{len(score)}.4f}  {measured['seconds']:7.2f}  "
    ) + " ".join(f"{value:6.3f}" for value in measured["polarization"])


def _width(measures: "Measures") -> int:
    """Return the width of an error: of numbers, of any size."""
    return 5 if measures.unit else 9


def errors(measured: Mapping[str, Any], measures: "Measures") -> str:
    """Return errors and scores on the parts of the data as a table, the mean errors of one member of an ensemble below,
    and the test errors on every task where there are several; runs of earlier versions are without scores."""
    parts = [part for part in ("train", "test") if f"{part}_error" in measured]
    scored = [name for name in measures.scores if all(f"{part}_{name}" in measured for part in parts)]
    heads = "".join(f" {name.replace('_', ' '):>17}" for name in scored)
    first = max(10, len(measures.error))
    lines = [f"{measures.error:<{first}} {'pointwise':>9} {'Bayesian':>9}{heads}"]
    for part in parts:
        scores = "".join(f" {measured[f'{part}_{name}']:17.4f}" for name in scored)
        each = " ".join(f"{measured[f'{prefix}{part}_error']:9{measures.digits}}" for prefix in ("", "bayes_"))
        lines.append(f"{part:<{first}} {each}{scores}")
        if f"{part}_member_error" in measured:
            each = " ".join(
                f"{measured[f'{prefix}{part}_member_error']:9{measures.digits}}" for prefix in ("", "bayes_")
            )
            lines.append(f"{'  of one':<{first}} {each}")
    tasks = zip(measured.get("task_errors", []), measured.get("bayes_task_errors", []), strict=True)
    return "\n".join([*lines, *(f"task {task:<5} {one:9.2f} {other:9.2f}" for task, (one, other) in enumerate(tasks))])


def detections(name: str, found: Mapping[str, Mapping[str, float]]) -> str:
    """Return how well each measure of uncertainty tells another data set from the test set."""
    lines = [f"against {name:<20} {'AUROC':>8} {'average precision':>18} {'FPR95':>8}"]
    for measure, values in found.items():
        numbers = f"{values['auroc']:8.4f} {values['average_precision']:18.4f} {values['fpr95']:8.4f}"
        lines.append(f"{measure.replace('_', ' '):<28} {numbers}")
    return "\n".join(lines)


def summary(run: "Run", status: str, plot: bool) -> str:
    """Return the end of a run: status, final errors, files."""
    measures = run.description.measures
    lines = [f"\n{status}"]
    if run.history:
        last = run.history[-1]
        pointwise, bayesian = (measures.said(last[f"{prefix}test_error"]) for prefix in ("", "bayes_"))
        lines.append(f"final test error {pointwise}, Bayesian {bayesian}")
        if "task_errors" in last:
            lines += _of_tasks(last)
    if plot and run.history:
        lines.append(f"figure: {run.figure}")
    return "\n".join([*lines, f"files:  {run.directory}"])


def _of_tasks(measured: Mapping[str, Any]) -> list[str]:
    """Return what is known of the tasks so far."""
    parts = []
    for name, prefix in (("pointwise", ""), ("Bayesian", "bayes_")):
        errors = measured[f"{prefix}task_errors"]
        accuracy = 100.0 - sum(errors) / len(errors)
        parts.append(f"{name}: average accuracy {accuracy:.2f} %, forgetting {measured[f'{prefix}forgetting']:.2f} %")
    return [f"after {len(measured['task_errors'])} tasks", *parts]


def last_metrics(run: "Run", network: "Trained") -> str:
    """Return the metrics of the last epoch, and where the curves are."""
    epochs = f"epoch {network.epoch} of {run.description.epochs}"
    figure = f"figure: {run.figure if run.figure.exists() else 'none'}"
    if not run.history:
        return f"{epochs}\n{figure}"
    last = run.history[-1]
    times = f"{last['seconds']:.2f} s of training, {last['evaluation_seconds']:.2f} s of evaluation"
    rows = [f"{'layer':<10} {'polarisation':>12} {'overlap':>9}"]
    for layer, q0, q_ab in zip(network.members[0].layers, last["polarization"], last["overlap"], strict=True):
        rows.append(f"{layer.plan.name:<10} {q0:12.4f} {q_ab:9.4f}")
    return "\n".join([f"{epochs}: {times}", errors(last, run.description.measures), *rows, figure])


def sums(network: "Trained") -> str:
    """Return what the pre-activations are expected to be, which the messages take for Gaussian."""
    from deepnet.observables import expected_preactivations

    rows = [f"{'layer':<10} {'known part':>12} {'excess kurtosis':>16}   of the sums into its units, expected"]
    for layer, expected in zip(
        network.members[0].layers, expected_preactivations(network.members[0].layers), strict=True
    ):
        rows.append(f"{layer.plan.name:<10} {expected.known:12.4f} {expected.excess_kurtosis:16.4f}")
    return "\n".join(rows)


def zeros(network: "Trained") -> str:
    """Return how many weights are 0 in the layers whose prior lets them be so; nothing if there are none."""
    from deepnet.layers import DenseLayer
    from deepnet.observables import share_of_zeros

    rows = [
        f"{layer.plan.name:<10} {layer.mass.item():12.4f} {share_of_zeros(layer):12.4f}"
        for layer in network.members[0].layers
        if isinstance(layer, DenseLayer) and layer.mass is not None
    ]
    return "\n".join([f"{'layer':<10} {'mass at 0':>12} {'zeros':>12}", *rows]) if rows else ""
