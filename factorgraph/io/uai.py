"""Models in the format of the UAI competitions: networks, evidence and solutions.

A network is a list of variables with their numbers of states, of the scopes of the factors, and of their tables, in
which the last variable of the scope changes fastest. See http://www.hlt.utdallas.edu/~vgogate/uai14-competition.
"""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.engine.inputs import values_of
from factorgraph.engine.unroll import Stack, Unrolled, unroll
from factorgraph.factors import Table
from factorgraph.interface.arguments import check_choice, check_instance, real_array, shown
from factorgraph.interface.errors import ModelError
from factorgraph.io.files import write_bytes_atomic
from factorgraph.io.paths import checked_target
from factorgraph.io.words import Words
from factorgraph.messages.natural import Array
from factorgraph.model.description import MAX_STATES, Model, Selection
from factorgraph.model.graph import Graph, model_of
from factorgraph.model.layout import Layout

#: Kinds of networks; tables of the second are laws of the last variable of the scope given the others.
NETWORKS = ("MARKOV", "BAYES")
#: Tasks: log10 of the partition function, marginals, and a most probable state.
TASKS = ("PR", "MAR", "MPE")
#: Numbers of all tables together, and states of all variables.
_MAX_NUMBERS = 2**26
#: How far the sums of a conditional law may be from 1: files have few digits.
_NORMALISED = 1e-5

#: Where the variables of a network are; None for one with a single state, which no model has.
Places = Sequence[Selection | None]


def read_uai(path: str | os.PathLike[str]) -> tuple[Graph, list[Selection | None]]:
    """Return a model from a UAI file, a Markov or a Bayesian network.

    The variables with q states are one variable ``x{q}`` of the model. Tables of one variable become its field, others
    are ``Table`` factors; those of equal numbers of states are one group.

    Returns:
        the graph under construction, and where the variables of the file are, in its order; None for those with one
        state, which are left out.

    Raises:
        ModelError: not such a file; with the line and the field.
        OSError: the file cannot be read.
    """
    words = Words(path, "a UAI network")
    if words.word("the kind of network") not in NETWORKS:
        words.refuse("the kind of network", f"one of {list(NETWORKS)}", 0)
    count = words.integer("the number of variables", 1)
    states = words.integers("number of states of variable", count, 1, MAX_STATES)
    if sum(states) > _MAX_NUMBERS or max(states) == 1:
        words.refuse("numbers of states", f"at most {_MAX_NUMBERS} together, and one of them more than 1", 2)
    scopes = _read_scopes(words, states)
    tables = [_read_table(words, f"factor {i}", tuple(states[v] for v in scope)) for i, scope in enumerate(scopes)]
    words.end()
    return tables_network(states, scopes, tables)


def _read_scopes(words: Words, states: list[int]) -> list[list[int]]:
    scopes = []
    for i in range(words.integer("the number of factors", 0)):
        size = words.integer(f"number of variables of factor {i}", 0, len(states))
        start, scope = words.place, words.integers(f"factor {i}, variable", size, 0, len(states) - 1)
        if len(set(scope)) < size:
            words.refuse(f"variables of factor {i}", "different ones", start)
        scopes.append(scope)
    return scopes


def _read_table(words: Words, field: str, shape: tuple[int, ...]) -> Array:
    """Return the logarithms of a table."""
    size = math.prod(shape)
    words.integer(f"size of the table of {field}", size, size)
    values = words.numbers(f"table of {field}", size, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(values).reshape(shape)


def tables_network(
    states: list[int], scopes: list[list[int]], tables: list[Array]
) -> tuple[Graph, list[Selection | None]]:
    """Return the model, and where its variables are."""
    own = {q: [i for i, other in enumerate(states) if other == q] for q in sorted(set(states) - {1})}
    rank = {i: number for group in own.values() for number, i in enumerate(group)}
    fields = {q: np.zeros((len(group), q)) for q, group in own.items()}
    groups: dict[tuple[int, ...], tuple[list[list[int]], list[Array]]] = {}
    for scope, table in zip(scopes, tables, strict=True):
        members = [i for i in scope if states[i] > 1]
        if len(members) > 1:
            ranks, logs = groups.setdefault(tuple(states[i] for i in members), ([], []))
            ranks.append([rank[i] for i in members])
            logs.append(table.reshape([states[i] for i in members]))
        elif members:
            fields[states[members[0]]][rank[members[0]]] += table.ravel()
        else:  # a constant, which the first variable takes
            next(iter(fields.values()))[0] += table.item()
    graph = Graph()
    whole = {q: graph.categories(f"x{q}", len(group), states=q, field=fields[q]) for q, group in own.items()}
    for sizes, (ranks, logs) in groups.items():
        columns = np.array(ranks).T
        graph.add(Table(*(whole[q][c] for q, c in zip(sizes, columns, strict=True)), log_table=np.array(logs)))
    return graph, [whole[q][rank[i]] if q > 1 else None for i, q in enumerate(states)]


# ---- writing a network -----------------------------------------------------------------------------------------------


def write_uai(
    model: Model | Graph, path: str | os.PathLike[str], *, variables: Places | None = None, network: str = "MARKOV"
) -> None:
    """Write a model of spins and categories as a UAI file, replaced in one step.

    Every factor is written as a table; the states 0 and 1 of a spin are +1 and -1.

    Args:
        model: without real variables.
        path: of the file.
        variables: all elements in the order of the file, as ``read_uai`` returns them; by default that of the model.
        network: "MARKOV", or "BAYES" if every variable has one table, the law of the last argument given the others.

    Raises:
        ModelError: real variables, tables that are too large or no laws, weights that are no floating-point numbers.
        OSError: as for ``save_model``.
    """
    model, target = model_of(model), checked_target(path)
    check_choice("network", network, NETWORKS, error=ModelError)
    layout = Layout.of(model, {})
    places, graph = _checked_places(layout, variables), unroll(model)
    first = _starts(layout)
    starts = [None if s is None else int(first[s.name][s.indices.item()]) for s in places]
    number = {start: i for i, start in enumerate(starts) if start is not None}
    states = [1 if s is None else _values(layout, s) for s in places]
    factors = [([i], np.zeros(1)) for i, q in enumerate(states) if q == 1 and network == "BAYES"]
    factors += [([i], logs) for start, i in number.items() if (logs := _own(graph, start, states[i])).any()]
    for stack in graph.stacks:
        factors += [([number[v] for v in scope], logs) for scope, logs in _tables(stack)]
    if network == "BAYES":
        _check_laws(factors, len(states))
    lines = [network, str(len(states)), " ".join(map(str, states)), str(len(factors))]
    lines += [" ".join(map(str, [len(scope), *scope])) for scope, _ in factors]
    lines += [f"\n{logs.size}\n{_weights(logs)}" for _, logs in factors]
    write_bytes_atomic(target, ("\n".join(lines) + "\n").encode())


def _checked_places(layout: Layout, variables: Any) -> list[Selection | None]:
    """Return single elements of a model of spins and categories, all of them and each once."""
    for name, variable in layout.model.variables.items():
        if not variable.is_spin and not variable.states:
            raise ModelError(f"`model` must be of spins and categories for UAI files, got `{name}`")
    every = [Selection(name, np.asarray(i)) for name, shape in layout.shapes.items() for i in range(math.prod(shape))]
    if variables is None:
        return list(every)
    need = "single elements of variables, or None for one with a single state"
    given = check_instance("variables", variables, (list, tuple), f"a list of {need}", error=ModelError)
    for s in given:
        if s is not None and not (isinstance(s, Selection) and s.indices.size == 1):
            raise ModelError(f"`variables` must be {need}, got {shown(s)}")
    named = sorted((s.name, s.indices.item()) for s in given if s is not None)
    if named != sorted((s.name, s.indices.item()) for s in every):
        raise ModelError(f"`variables` must be all {len(every)} elements of the model, each once, got {shown(named)}")
    return list(given)


def _values(layout: Layout, place: Selection) -> int:
    """Return the number of values of a variable, 2 for a spin."""
    return layout.model.variables[place.name].states or 2


def _starts(layout: Layout) -> dict[str, NDArray[np.intp]]:
    """Return, by name, the first places of the elements among all scalars."""
    index, variables = np.arange(layout.size), layout.model.variables
    return {
        name: layout.components(name, index).reshape(-1, variables[name].states or 1)[:, 0] for name in layout.shapes
    }


def _own(graph: Unrolled, start: int, values: int) -> Array:
    """Return the logarithms of the weight that a variable has without factors."""
    if graph.spin[start]:
        return graph.own.base[start] + graph.own.field[start] * np.array([1.0, -1.0])
    return graph.own.field[start : start + values]


def _tables(stack: Stack) -> list[tuple[NDArray[np.intp], Array]]:
    """Return first places of the arguments and the logarithms at all configurations, of every factor of a stack."""
    rows = len(stack.variables)
    states = stack.kind.states or (0,) * stack.variables.shape[1]
    values, starts = [q or 2 for q in states], np.cumsum([0, *(q or 1 for q in states)])[:-1]
    if rows * 2.0 ** min(sum(map(math.log2, values)), 900.0) > _MAX_NUMBERS:
        raise ModelError(
            f"tables must have at most {_MAX_NUMBERS} numbers in a UAI file, got {rows} of {stack.kind.name} with "
            f"{len(values)} arguments"
        )
    numbers = np.indices(values).reshape(len(values), -1)
    slots: list[Array] = []
    for q, own in zip(states, numbers, strict=True):
        slots += [1.0 * (own == c) for c in range(q)] or [1.0 - 2.0 * own]
    x = [np.broadcast_to(slot, (rows, slot.size)) for slot in slots]
    logs = np.broadcast_to(stack.kind.log_factor(stack.parameters, *x), (rows, numbers.shape[1]))
    return [(scope, row.reshape(values)) for scope, row in zip(stack.variables[:, starts], logs, strict=True)]


def _check_laws(factors: list[tuple[list[int], Array]], count: int) -> None:
    """Check that the tables are the laws of all variables, each given others."""
    if sorted(scope[-1] for scope, _ in factors) != list(range(count)):
        raise ModelError(f"`model` must have one table for each of {count} variables to be BAYES, got {len(factors)}")
    for scope, logs in factors:
        total = np.exp(logs).sum(axis=-1)
        if np.abs(total - 1.0).max() > _NORMALISED:
            raise ModelError(
                f"`model` must have tables that sum to 1 over the last argument to be BAYES, got "
                f"{total.flat[np.abs(total - 1.0).argmax()]:g} for variable {scope[-1]}"
            )


def _weights(logs: Array) -> str:
    """Return the exponentials as a file has them."""
    with np.errstate(over="ignore"):
        weights = np.exp(logs.ravel())
    lost = np.isinf(weights) | ((weights == 0.0) & (logs.ravel() > -np.inf))
    if lost.any():
        raise ModelError(f"weights must be floating-point numbers in a UAI file, got exp({logs.ravel()[lost][0]:g})")
    return " ".join(map(repr, weights.tolist()))


# ---- evidence --------------------------------------------------------------------------------------------------------


def read_uai_evidence(
    path: str | os.PathLike[str], model: Model | Graph, variables: Places | None = None
) -> dict[str, Array]:
    """Return what a UAI evidence file says, as ``observed`` of ``infer`` and ``exact``.

    Args:
        path: of a file with the number of observed variables, and for each its number and its state; a line with the
            number of samples, 1, may stand before it.
        model: the network.
        variables: as ``read_uai`` returns them; by default the elements of the model in their order.

    Raises:
        ModelError: not such a file; with the line and the field.
        OSError: the file cannot be read.
    """
    layout = Layout.of(model_of(model), {})
    places = _checked_places(layout, variables)
    words = Words(path, "a UAI evidence file")
    # A list of n pairs has an odd number of words, with a number of samples in front an even one.
    if words.left % 2 == 0:
        words.integer("the number of samples", 1, 1)
    found: dict[str, Array] = {}
    seen: set[int] = set()
    for _ in range(words.integer("the number of observed variables", 0, len(places))):
        i = words.integer("an observed variable", 0, len(places) - 1)
        if i in seen:
            words.refuse("an observed variable", "another one than those before", words.place - 1)
        seen.add(i)
        place = places[i]
        state = words.integer(f"the state of variable {i}", 0, 0 if place is None else _values(layout, place) - 1)
        if place is not None:
            own = found.setdefault(place.name, np.full(layout.shapes[place.name], np.nan))
            own.flat[place.indices.item()] = state if layout.model.variables[place.name].states else 1 - 2 * state
    words.end()
    return found


def write_uai_evidence(
    observed: Mapping[str, ArrayLike],
    path: str | os.PathLike[str],
    model: Model | Graph,
    variables: Places | None = None,
) -> None:
    """Write observations, as ``infer`` takes them, as a UAI evidence file, replaced in one step.

    Args:
        observed: values by name, NaN where an element stays free.
        path: of the file.
        model: of spins and categories.
        variables: as for ``write_uai``.

    Raises:
        ModelError: names, shapes or values that do not fit.
        OSError: as for ``save_model``.
    """
    layout, target = Layout.of(model_of(model), {}), checked_target(path)
    places, given = _checked_places(layout, variables), values_of("observed", observed, missing=True)
    for name, values in given.items():
        if name not in layout.shapes:
            raise ModelError(f"`observed` must be of {sorted(layout.shapes)}, got {name!r}")
        given[name] = real_array(
            f"observed` of `{name}", values, shape=layout.shapes[name], missing=True, error=ModelError
        )
    pairs = []
    for i, place in enumerate(places):
        value = np.nan if place is None or place.name not in given else given[place.name].flat[place.indices.item()]
        if place is not None and not np.isnan(value):
            spin = not layout.model.variables[place.name].states
            state = (1.0 - value) / 2.0 if spin else value
            if state not in range(_values(layout, place)):
                raise ModelError(f"`observed` of `{place.name}` must be one of its values, got {value:g}")
            pairs += [i, int(state)]
    write_bytes_atomic(target, (" ".join(map(str, [len(pairs) // 2, *pairs])) + "\n").encode())


# ---- solutions -------------------------------------------------------------------------------------------------------


def read_uai_solution(path: str | os.PathLike[str]) -> tuple[str, Any]:
    """Return the task of a UAI result file and its solution.

    Returns:
        "PR" and log10 of the partition function, "MAR" and a list of the probabilities of each variable, or "MPE" and
        the states of all variables.

    Raises:
        ModelError: not such a file; with the line and the field.
        OSError: the file cannot be read.
    """
    words = Words(path, "a UAI result file")
    task = words.word("the task")
    if task not in TASKS:
        words.refuse("the task", f"one of {list(TASKS)}", 0)
    solution: Any
    if task == "PR":
        solution = float(words.numbers("log10 of the partition function", 1)[0])
    else:
        count = words.integer("the number of variables", 1)
        if task == "MPE":
            solution = np.array(words.integers("state of variable", count, 0, MAX_STATES - 1))
        else:
            solution = [
                words.numbers(f"probabilities of variable {i}", words.integer(f"states of variable {i}", 1), 0.0)
                for i in range(count)
            ]
    words.end()
    return task, solution


def write_uai_solution(task: str, solution: Any, path: str | os.PathLike[str]) -> None:
    """Write a solution, as ``read_uai_solution`` returns it, as a UAI result file, replaced in one step.

    Raises:
        ModelError: another task, or a solution that is none of it.
        OSError: as for ``save_model``.
    """
    text = solution_text(task, solution)
    write_bytes_atomic(checked_target(path), text.encode())


def solution_text(task: str, solution: Any) -> str:
    """Return a solution as a UAI result file has it."""
    check_choice("task", task, TASKS, error=ModelError)
    if task == "PR":
        line = repr(float(real_array("solution", solution, shape=(), error=ModelError)))
    elif task == "MPE":
        states = real_array("solution", solution, error=ModelError)
        if states.ndim != 1 or not states.size or np.any((states < 0) | (states != np.floor(states))):
            raise ModelError(f"`solution` must be the states of all variables, got {shown(solution)}")
        line = " ".join(map(str, [states.size, *states.astype(int).tolist()]))
    else:
        laws = check_instance("solution", solution, (list, tuple), "a list of probabilities", error=ModelError)
        rows = [real_array("solution", law, error=ModelError) for law in laws]
        if not rows or any(not _is_law(row) for row in rows):
            raise ModelError(f"`solution` must be probabilities of every variable, got {shown(solution)}")
        line = " ".join([str(len(rows)), *(" ".join([str(row.size), *map(repr, row.tolist())]) for row in rows)])
    return f"{task}\n{line}\n"


def _is_law(row: Array) -> bool:
    return row.ndim == 1 and row.size > 0 and row.min() >= 0.0 and abs(row.sum() - 1.0) <= _NORMALISED
