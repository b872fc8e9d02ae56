"""``python -m factorgraph solve``: the tasks of the UAI competitions, from the files to the solutions.

Exit codes: 0; 1 for what failed at run time (files, contradictions); 2 for a wrong command line or a malformed file.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from factorgraph.engine.infer import infer
from factorgraph.engine.result import Result
from factorgraph.engine.unroll import unroll
from factorgraph.interface.command_line import add_common, handle_common
from factorgraph.interface.errors import ContradictionError, ModelError
from factorgraph.io.uai import TASKS, read_uai, read_uai_evidence, solution_text, write_uai_solution
from factorgraph.messages.natural import Array
from factorgraph.model.description import Selection
from factorgraph.model.graph import Graph
from factorgraph.reference.exact import Exact, TooLargeError, exact

#: Share of the old messages in loopy runs, and how many sweeps these may take.
_DAMPING, _SWEEPS = 0.5, 5000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (that of the process if None) and return the exit code."""
    top = _parser()
    args = top.parse_args(argv)
    try:
        if (version := handle_common(top, args)) is not None:
            print(version, flush=True)
            return 0
        graph, variables = read_uai(args.model)
        observed = {} if args.evidence is None else read_uai_evidence(args.evidence, graph, variables)
        solution = solve(graph, variables, observed, args.task)
        if args.output is None:
            print(solution_text(args.task, solution), end="", flush=True)
        else:
            write_uai_solution(args.task, solution, args.output)
    except (ModelError, ContradictionError, OSError) as error:
        _tell(f"error: {error}")
        return 2 if isinstance(error, ModelError) else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m factorgraph", description="Factor graphs.", allow_abbrev=False)
    about = "solve a model of the UAI competitions; on the error stream it says where the solution is approximate"
    add_common(top)
    commands = top.add_subparsers(metavar="COMMAND", dest="command")
    command = commands.add_parser("solve", help=about, description=about, allow_abbrev=False)
    command.add_argument("model", metavar="MODEL.uai", help="a Markov or Bayesian network")
    command.add_argument("--evidence", metavar="FILE", help="what is observed")
    tasks = "log10 of the partition function, marginals, or a most probable state"
    command.add_argument("--task", choices=TASKS, default="MAR", help=f"{tasks}; default: %(default)s")
    command.add_argument("--output", metavar="FILE", help="of the solution; by default the output stream")
    return top


def solve(graph: Graph, variables: Sequence[Selection | None], observed: Mapping[str, Array], task: str) -> Any:
    """Return the solution of a task, as ``write_uai_solution`` takes it."""
    if task == "MPE":
        result = _passed(graph, observed, maximum=True)
        if math.isinf(result.log_weight):
            raise ContradictionError("evidence must be consistent, got a model in which messages find no state")
        laws = _laws(result, variables)
        return np.array([law.argmax() for law in laws])
    try:
        found: Exact | Result = exact(graph, observed=observed)
    except TooLargeError:
        found = _passed(graph, observed, maximum=False)
    return found.log_partition / math.log(10.0) if task == "PR" else _laws(found, variables)


def _passed(graph: Graph, observed: Mapping[str, Array], *, maximum: bool) -> Result:
    """Return what messages find, and say whether it is exact."""
    loopy = {"schedule": "sequential", "damping": _DAMPING, "max_sweeps": _SWEEPS}
    options = {} if unroll(graph.model).is_forest else loopy
    result = infer(graph, observed=observed, maximum=maximum, **options)
    if not result.exact:
        what = f"the state has the log-weight {result.log_weight:.6g}; " if maximum else ""
        _tell(f"approximate, by belief propagation on a graph with loops: {what}{result.message}")
    return result


def _laws(found: Exact | Result, variables: Sequence[Selection | None]) -> list[Array]:
    """Return the probabilities of the states of every variable."""
    laws = {s.name: found[s.name].probabilities for s in variables if s is not None}
    return [np.ones(1) if s is None else laws[s.name][s.indices.item()] for s in variables]


def _tell(text: str) -> None:
    print(f"factorgraph: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
