"""The command ``deepnet bench``: its options, and what it does with them."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepnet.app.options import Help, dataset, device, integer, number, path, short
from deepnet.bench import BenchError

if TYPE_CHECKING:
    from deepnet.bench.case import Case
    from deepnet.bench.measure import Protocol

_DESCRIPTION = """Time training by message passing and by gradients, with PyTorch, in turn: BinaryNet or, where weights
are continuous, a multi-layer perceptron. The same network, data in memory and number of threads, each contender in a
process of its own, warm; no errors are computed meanwhile. Tables on the standard output stream, progress on the error
stream."""


def add_bench(commands: Any) -> None:
    """Add the command to those of ``deepnet``, in the action that holds them."""
    about = "time message passing beside training by gradients"
    command = commands.add_parser("bench", help=about, formatter_class=Help, allow_abbrev=False)
    command.description = _DESCRIPTION
    command.set_defaults(command=run, parser=command)
    help_dataset = "{names} (default: synthetic data of the shape of MNIST); comes before the options"
    command.add_argument("dataset", metavar="DATASET", nargs="?", type=dataset, help=help_dataset)
    command.add_argument("--data-dir", metavar="DIR", type=path, help="folder with the files of the data set")
    _add_contenders(command)
    _add_protocol(command)


def _add_contenders(command: argparse.ArgumentParser) -> None:
    """Options: what is trained, by whom."""
    add = command.add_argument
    add(
        "--network",
        metavar="N-N-N",
        nargs="+",
        type=_network,
        default=[(784, 501, 501, 10)],
        help="inputs, units of the hidden layers and outputs: classes, or 1 for two classes (default: 784-501-501-10)",
    )
    add(
        "--batch-size",
        metavar="N",
        nargs="+",
        type=integer,
        default=[128],
        help="samples in a mini-batch (default: 128)",
    )
    add("--samples", metavar="N", type=integer, help="samples in an epoch (default: 60000, or all of DATASET)")
    closures = ["mf", "amp", "bp"]
    add("--closure", metavar="NAME", nargs="+", default=closures, help="{names} (default: mf amp bp)")
    add("--weights", metavar="NAME", default="binary", help="{names} (default: binary)")
    add("--activation", metavar="NAME", default="sign", help="of the hidden units, {names} (default: sign)")
    add("--density", metavar="X", type=number, default=1.0, help="fraction of the weights kept (default: 1)")
    add("--preset", metavar="NAME", default="default", help="settings, {names} (default: default)")
    where = "where to train: {names}; cuda-tf32 lets products round their factors to 10 bits (default: cpu)"
    add("--device", metavar="NAME", type=device, default="cpu", help=where)
    add("--threads", metavar="N", type=integer, help="threads of each contender (default: as many as there are cores)")
    add("--seed", metavar="N", type=integer, default=0, help="of everything random (default: 0)")
    baseline = "how PyTorch runs; ratios are to the first (default: eager on the CPU, all three on a GPU)"
    add("--baseline", choices=("eager", "compiled", "graph"), nargs="+", help=baseline)
    optimizer = "(default: sgd, or adam where weights are continuous)"
    add("--baseline-optimizer", choices=("sgd", "adam"), help=optimizer)
    add("--no-baseline", dest="baseline", action="store_const", const=[], help="no PyTorch, no ratios")


def _add_protocol(command: argparse.ArgumentParser) -> None:
    """Options: how it is measured, and what becomes of the results."""
    add = command.add_argument
    add("--rounds", metavar="N", type=integer, default=5, help="times that each contender is timed (default: 5)")
    seconds = (
        "cut epochs that take longer after about so many seconds, and scale their time; inf: cut none (default: 5)"
    )
    add("--seconds", metavar="X", type=number, default=5.0, help=seconds)
    after = "time after so many epochs of training, when weights have polarised (default: 0)"
    add("--after", metavar="N", nargs="+", type=integer, default=[0], help=after)
    scaling = "vary one property at a time, of the first network and batch size: samples, width, depth, batch, density"
    add("--scaling", metavar="AXIS", nargs="+", choices=("samples", "width", "depth", "batch", "density"), help=scaling)
    add("--values", metavar="X", nargs="+", type=number, help="values of the property (default: a wide range)")
    add("--from", dest="earlier", metavar="FILE", nargs="+", type=path, help="show earlier results, measure nothing")
    cold = "time the first calls on a machine instead, each in a new process with nothing compiled"
    add("--cold", action="store_true", help=cold)
    add("--json", metavar="FILE", type=path, help="write the results there; '-': print them instead of the tables")
    add("--plot", metavar="FILE", type=path, help="draw the scaling study there, a PNG file")


def _network(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(width) for width in text.split("-"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be integers joined by '-', got {short(text)}") from None


@dataclass(frozen=True)
class Plan:
    """What is measured: cases, with the axis and the value that they stand for in a scaling study, and how."""

    cases: "Sequence[tuple[str | None, float | None, Case]]"
    contenders: Sequence[str]
    protocol: "Protocol"


def run(args: argparse.Namespace) -> int:
    """Measure, or read earlier results; print, write and draw them.

    Raises:
        BenchError: a contender cannot run or failed, matplotlib is missing, or a file cannot be read or written.
        DataError: the data set cannot be had.
    """
    from deepnet.bench.report import document, legend, table

    chosen = _checked(args)
    if args.cold:
        from deepnet.bench.cold import lines

        for line in lines():
            print(line, flush=True)
        return 0
    if args.plot:
        _require_matplotlib()
    for name in ("json", "plot"):
        if (path := getattr(args, name)) and not path.parent.is_dir():
            raise BenchError(f"`{name}` must be in an existing folder, got {str(path)!r}")
    to_stdout = args.json == Path("-")
    results: list[dict[str, Any]] = []
    for result in _read(args.earlier) if args.earlier else _measured(chosen):
        results.append(result)
        if not to_stdout:
            print(table(result), end="\n\n", flush=True)
        if args.json and not to_stdout:  # after every case: a study may take long, and be stopped
            _save(args.json, document(results, chosen.protocol).encode())
    print(document(results, chosen.protocol) if to_stdout else legend(results), flush=True)
    if args.plot:
        from deepnet.bench.scaling import figure

        _save(args.plot, figure(results))
    return 0


def _checked(args: argparse.Namespace) -> Plan:
    """Return the plan; what is wrong with it is an error of the command line."""
    try:
        return _plan(args)
    except ValueError as error:
        parser: argparse.ArgumentParser = args.parser
        parser.error(str(error))


def _plan(args: argparse.Namespace) -> Plan:
    """Check the options; raises ``ValueError`` naming the option, what it must be and what it was."""
    from deepnet.bench.contenders import MODES, NETWORKS
    from deepnet.bench.measure import Protocol
    from deepnet.network import choice

    if args.cold and (args.scaling or args.earlier or args.json or args.plot):
        raise ValueError("`cold` must come without --scaling, --from, --json and --plot, got one of them")
    if args.plot and not (args.scaling or args.earlier):
        raise ValueError("`plot` must come with --scaling or --from, got neither")
    if args.json and args.earlier:
        raise ValueError("`json` must not come with --from, got both")
    if args.values and len(args.scaling or ()) != 1:
        raise ValueError(f"`values` must come with one axis of --scaling, got {len(args.scaling or ())}")
    baseline = args.baseline
    if baseline is None:
        baseline = ["eager"] if args.device == "cpu" else list(MODES)
    network = choice("weights", args.weights, NETWORKS)
    contenders = [*(network + MODES[name] for name in baseline), *args.closure]
    if len(set(args.closure)) < len(args.closure):
        raise ValueError(f"`closure` must be names that differ, got {args.closure}")
    if len(set(baseline)) < len(baseline):
        raise ValueError(f"`baseline` must be names that differ, got {baseline}")
    cases = [] if args.earlier else list(_cases(args))
    for _, _, case in cases:
        for closure in args.closure:
            case.config(closure)
    return Plan(cases, contenders, Protocol(args.rounds, args.seconds, tuple(args.after)))


def _cases(args: argparse.Namespace) -> "Iterator[tuple[str | None, float | None, Case]]":
    from deepnet.bench.case import Case
    from deepnet.bench.scaling import AXES
    from factorgraph.runtime.machine import cores

    samples = _all_samples(args) if args.samples is None else args.samples
    common: dict[str, Any] = {
        name: getattr(args, name)
        for name in ("weights", "activation", "density", "preset", "dataset", "data_dir", "seed", "device")
    }
    optimizer = args.baseline_optimizer or ("sgd" if args.weights == "binary" else "adam")
    common |= {"threads": cores() if args.threads is None else args.threads, "optimizer": optimizer}
    cases = [Case(w, size, samples, **common) for w in args.network for size in args.batch_size]
    if not args.scaling:
        yield from ((None, None, case) for case in cases)
    for axis in args.scaling or ():
        yield from ((axis, value, case) for value, case in AXES[axis].cases(cases[0], args.values))


def _all_samples(args: argparse.Namespace) -> int:
    from deepnet.data import load_dataset

    return 60_000 if args.dataset is None else len(load_dataset(args.dataset, data_dir=args.data_dir).x_train)


def _measured(chosen: Plan) -> Iterator[dict[str, Any]]:
    from tqdm.auto import tqdm

    from deepnet.bench.measure import measure

    with tqdm(chosen.cases, unit=" cases", leave=False, disable=None) as bar:
        for axis, value, case in bar:
            found = measure(case, chosen.contenders, chosen.protocol, bar.set_description)
            bar.clear()
            yield {"axis": axis, "value": value} | found


def _read(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the results in files that ``--json`` wrote; all are read before anything is shown."""
    from deepnet.bench.results import read

    return [result for path in paths for result in read(path)]


def _save(path: Path, content: bytes) -> None:
    from factorgraph.io.files import write_bytes_atomic

    try:
        write_bytes_atomic(path, content)
    except OSError as error:
        raise BenchError(f"could not write {path}: {error.strerror or error}") from error


def _require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise BenchError(f"matplotlib is needed for the figure ({error}): pip install 'cavity[plots]'") from error
