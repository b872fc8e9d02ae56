"""The command ``deepnet sweep``: all runs of a specification, in parallel, and their tables."""

import argparse
import contextlib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from deepnet.app.options import integer, path

if TYPE_CHECKING:
    from deepnet.experiments.cell import Job
    from deepnet.experiments.spec import Spec

_DESCRIPTION = """Run all cells of a specification: data sets x networks x algorithms x seeds, whatever its axes are.
Each one is a run in a folder of its own, on one thread, written after every epoch. Cells that are done are skipped;
those that died or were interrupted go on where they were when the command is given again. Tables (Markdown, CSV) and
curves are written to the folder of the sweep, one line for every finished cell to the standard output stream."""


def add_sweep(commands: Any) -> None:
    """Add the command to those of ``deepnet``, ``commands`` being the action that holds them."""
    command = commands.add_parser("sweep", help="run all cells of a file, and make tables of them", allow_abbrev=False)
    command.description = _DESCRIPTION
    command.set_defaults(command=run, parser=command)
    add = command.add_argument
    add("spec", metavar="SPEC", type=path, help="TOML file: see deepnet.experiments.spec")
    add("--out", metavar="DIR", type=path, help="folder of the sweep (default: runs/NAME of SPEC without its ending)")
    add("--data-dir", metavar="DIR", type=path, help="folder with the files of the data sets")
    add("--scheduler", metavar="ADDRESS", help="of a Dask cluster whose workers see the folders under the same names")
    add("--workers", metavar="N", type=integer, help="processes on this machine (default: one for each core)")
    add("--serial", action="store_true", help="one cell after the other, in this process, without Dask")
    add("--no-plot", dest="plot", action="store_false", help="draw no figure")


def run(args: argparse.Namespace) -> int:
    """Run the cells that are not done, and write tables of all that are."""
    spec, jobs = _checked(args)
    out = jobs[0].out
    done = [job for job in jobs if job.result() is not None]
    todo = [job for job in jobs if job.result() is None]
    print(f"{len(jobs)} cells in {out}: {len(done)} are done, {len(todo)} to run", flush=True)
    try:
        failed = _run(args, todo, len(jobs)) if todo else 0
    except KeyboardInterrupt:
        print("deepnet: interrupted; go on with the same command", file=sys.stderr, flush=True)
        return 130
    finally:
        _save(spec, jobs, out, args.plot)
    return 1 if failed else 0


def _checked(args: argparse.Namespace) -> "tuple[Spec, list[Job]]":
    """Return the specification and its jobs; what is wrong is found before anything runs or is written.

    Raises:
        RunError: a folder holds another run, or there is no Matplotlib for the figure.
    """
    from deepnet.app.run import check_writable
    from deepnet.experiments.cell import Job
    from deepnet.experiments.spec import read_spec
    from deepnet.kernels.devices import operations_for

    try:
        if args.serial and (args.scheduler or args.workers):
            raise ValueError("`serial` must come without --scheduler and --workers, got both")
        if args.workers is not None and args.workers < 1:
            raise ValueError(f"`workers` must be an integer >= 1, got {args.workers}")
        if args.scheduler and args.workers:
            raise ValueError("`workers` must come without --scheduler, which has its own, got both")
        spec = read_spec(args.spec, args.data_dir)
        if not args.scheduler:
            for cell in spec.cells:
                operations_for(spec.device, cell.config.dtype)
    except ValueError as error:
        parser: argparse.ArgumentParser = args.parser
        parser.error(str(error))
    if args.plot:
        _figure_module()
    out = (args.out or Path("runs", args.spec.stem)).absolute()
    check_writable(out)
    data_dir = None if spec.data_dir is None else spec.data_dir.absolute()
    jobs = [Job(cell, out, data_dir, spec.device) for cell in spec.cells]
    for job in jobs:
        job.check()
    return spec, jobs


def _run(args: argparse.Namespace, todo: "Sequence[Job]", total: int) -> int:
    """Run the jobs, with a line for each that ends; the number of those that failed.

    Raises:
        ExecutorError: no Dask.
    """
    from tqdm.auto import tqdm

    from deepnet.experiments.cell import run_job
    from factorgraph.runtime.executor import ExecutorError, import_distributed, run_on_dask, run_serially

    if args.serial:
        outcomes = run_serially(run_job, todo)
    else:
        try:
            import_distributed()
        except ExecutorError as error:
            raise ExecutorError(f"{error}, or give --serial") from error
        outcomes = run_on_dask(run_job, todo, scheduler=args.scheduler, workers=args.workers)
    failed, left, start = 0, len(todo), perf_counter()
    bar = tqdm(total=total, initial=total - left, unit=" cells", leave=False, disable=None)
    with bar, contextlib.closing(outcomes):
        for job, outcome in outcomes:
            left -= 1
            failed += isinstance(outcome, Exception)
            bar.update()
            tqdm.write(f"{_line(job, outcome)}; {left} left, {perf_counter() - start:.0f} s", file=sys.stdout)
            sys.stdout.flush()
    return failed


def _line(job: "Job", outcome: Any) -> str:
    """Return a finished cell in a line."""
    if isinstance(outcome, Exception):
        return f"{job.cell}: failed: {' '.join(f'{type(outcome).__name__}: {outcome}'.split())}"
    result = job.result() or {}
    return f"{job.cell}: test error {result.get('test_error', float('nan')):.2f} %"


def _save(spec: "Spec", jobs: "Sequence[Job]", out: Path, plot: bool) -> None:
    """Tables and figure of all that is done so far."""
    from deepnet.experiments.results import FIGURE, TABLE, markdown, save_results

    if not any(job.history() for job in jobs):
        return
    save_results(spec, jobs, out)
    if plot:
        _draw(spec, jobs, out / FIGURE)
    print(f"\n{markdown(spec, jobs)}\nfiles:  {out}, tables in {TABLE}", flush=True)


def _draw(spec: "Spec", jobs: "Sequence[Job]", path: Path) -> None:
    from factorgraph.io.files import write_bytes_atomic

    write_bytes_atomic(path, _figure_module().figure(spec, jobs))


def _figure_module() -> Any:
    from deepnet.app.run import RunError

    try:
        return importlib.import_module("deepnet.experiments.figures")
    except ImportError as error:
        raise RunError(f"{error}, or give --no-plot") from error
