"""Bayesian networks and Markov networks of pgmpy, by what its objects can do: the package is not imported."""

from collections.abc import Hashable
from typing import Any

import numpy as np

from factorgraph.interface.arguments import check_instance, real_array, shown
from factorgraph.interface.errors import ModelError
from factorgraph.io.uai import tables_network
from factorgraph.messages.natural import Array
from factorgraph.model.description import Selection
from factorgraph.model.graph import Graph


def from_pgmpy(model: Any) -> tuple[Graph, dict[Hashable, Selection | None]]:
    """Return a model of a discrete network of pgmpy.

    The variables with q states are one variable ``x{q}`` of the model, with the states in pgmpy's order. Tables of one
    variable become its field, others are ``Table`` factors.

    Args:
        model: a network of conditional laws (``get_cpds``, each with ``to_factor``), or one of factors
            (``get_factors``), with ``variables`` and ``values`` of each.

    Returns:
        the graph under construction, and where each node of the network is; None for nodes with one state, which are
        left out.

    Raises:
        ModelError: not such a network, tables of negative or infinite numbers, or two numbers of states of one node.
    """
    if isinstance(model, type) or not callable(getattr(model, "nodes", None)):
        raise ModelError(f"`model` must be a network of pgmpy, got {shown(model)}")
    factors = _factors(model)
    nodes = list(model.nodes())
    number = {node: i for i, node in enumerate(nodes)}
    states, scopes, tables = [0] * len(nodes), [], []
    for factor in factors:
        scope, table = _table(factor, number)
        for i, q in zip(scope, table.shape, strict=True):
            if states[i] not in (0, q):
                raise ModelError(f"`model` must have one number of states of {nodes[i]!r}, got {states[i]} and {q}")
            states[i] = q
        scopes.append(scope)
        tables.append(table)
    if 0 in states:
        raise ModelError(f"`model` must have a table of every node, got none of {nodes[states.index(0)]!r}")
    if max(states, default=1) == 1:
        raise ModelError("`model` must have a node with more than one state, got none")
    graph, places = tables_network(states, scopes, tables)
    return graph, dict(zip(nodes, places, strict=True))


def _factors(model: Any) -> list[Any]:
    """Return its tables as factors."""
    if callable(getattr(model, "get_cpds", None)):
        laws = check_instance("model", model.get_cpds(), list, "a network with a list of laws", error=ModelError)
        return [law.to_factor() for law in laws]
    if callable(getattr(model, "get_factors", None)):
        return check_instance("model", model.get_factors(), list, "a network with a list of factors", error=ModelError)
    raise ModelError(f"`model` must have `get_cpds` or `get_factors`, as networks of pgmpy do, got {shown(model)}")


def _table(factor: Any, number: dict[Hashable, int]) -> tuple[list[int], Array]:
    """Return the nodes of a factor by number, and the logarithms of its table."""
    unknown = [node for node in factor.variables if node not in number]
    if unknown:
        raise ModelError(f"`model` must have the nodes of all its factors, got {unknown[0]!r}")
    values = real_array("model", np.asarray(factor.values), error=ModelError)
    if values.ndim != len(factor.variables) or (values.size and values.min() < 0.0):
        raise ModelError(f"`model` must have tables >= 0 with an axis for each variable, got {shown(values)}")
    with np.errstate(divide="ignore"):
        return [number[node] for node in factor.variables], np.log(values)
