"""From and to networkx, and pictures of small graphs."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from factorgraph import factors
from factorgraph.factors.base import Group
from factorgraph.factors.pairwise import Pairwise
from factorgraph.interface.arguments import (
    check_flag,
    check_instance,
    check_integer,
    check_name,
    check_number,
    number_array,
    real_array,
    shown,
)
from factorgraph.interface.errors import ModelError
from factorgraph.model.description import MAX_COMPONENTS, MAX_STATES, Factor, Model, Selection, Variable, index_array
from factorgraph.model.graph import Graph, model_of
from factorgraph.model.layout import Layout

if TYPE_CHECKING:
    import networkx as nx
    from matplotlib.axes import Axes

_MAX_DRAWN = 200


def from_networkx(
    graph: "nx.Graph",
    *,
    name: str = "s",
    spins: bool = True,
    field: str = "field",
    precision: str = "precision",
    coupling: str = "coupling",
) -> tuple[Graph, Sequence[Hashable]]:
    """Return a model with one variable per node and one ``Pairwise`` factor per edge.

    Args:
        graph: undirected, without self-loops; parallel edges of a multigraph become factors of their own.
        name: of the variable.
        spins: whether the nodes are spins; else real variables.
        field: node attribute with the field; 0 where it is missing.
        precision: node attribute with the precision of a real variable; 0 where it is missing.
        coupling: edge attribute with the coupling, which every edge must have.

    Returns:
        the graph under construction, and its nodes in the order of the variable.

    Raises:
        ModelError: a directed graph, a self-loop, or an edge without a coupling.
    """
    _check_undirected("graph", graph)
    check_flag("spins", spins, error=ModelError)
    for what, attribute in (("field", field), ("precision", precision), ("coupling", coupling)):
        check_name(what, attribute, error=ModelError)
    nodes = list(graph)
    if not nodes:
        raise ModelError("`graph` must have a node, got none")
    index = {node: i for i, node in enumerate(nodes)}
    result = Graph()
    fields = _attribute(graph, nodes, field)
    if spins:
        variable = result.spins(name, len(nodes), field=fields)
    else:
        variable = result.reals(name, len(nodes), field=fields, precision=_attribute(graph, nodes, precision))
    ends, couplings = [], []
    for a, b, value in graph.edges(data=coupling):
        if a == b:
            raise ModelError(
                f"`graph` must have no self-loops, got one on the node {shown(a)}: for spins it is a constant"
            )
        if value is None:
            raise ModelError(f"edges must have the attribute {coupling!r}, got none on {(a, b)!r}")
        ends.append((index[a], index[b]))
        couplings.append(check_number(f"{coupling}` of the edge `{shown((a, b))}", value, error=ModelError))
    if ends:
        left, right = np.array(ends, dtype=np.intp).T
        result.add(Pairwise(variable[left], variable[right], coupling=couplings))
    return result, nodes


def _check_undirected(name: str, graph: Any) -> None:
    import networkx as nx

    check_instance(name, graph, nx.Graph, "a networkx.Graph", error=ModelError)
    if graph.is_directed():
        raise ModelError(f"`{name}` must be undirected, got a directed one")


def _attribute(graph: "nx.Graph", nodes: Sequence[Hashable], name: str) -> list[float]:
    """Return a number on every node, 0 where it is missing."""
    values = ((node, graph.nodes[node].get(name, 0.0)) for node in nodes)
    return [check_number(f"{name}` of the node `{shown(node)}", value, error=ModelError) for node, value in values]


def to_networkx(model: Model | Graph, sizes: Mapping[str, int] | None = None) -> "nx.Graph":
    """Return the bipartite graph of variables and factors; ``from_bipartite`` reads it.

    Variables are nodes such as ``"s[3, 4]"`` with attributes kind ("spin", "real" or "category"), variable (its name),
    index, field and precision; dimension, states, prior and observed where there are any. Factors are nodes such as
    ``"Pairwise 7"`` with attributes kind ("factor"), factor (the name of its class) and the parameters by the names of
    that class. Edges have the attribute argument, the position in the factor.

    Args:
        model: the description.
        sizes: of the plates that have none.

    Raises:
        ModelError: not a model, a plate without a size, or factors that are not between elements.
    """
    import networkx as nx

    model = model_of(model)
    check_instance("sizes", sizes, (Mapping, type(None)), "sizes by the names of plates", error=ModelError)
    named = {
        plate: check_integer(f"sizes` of `{plate}", n, minimum=1, error=ModelError)
        for plate, n in (sizes or {}).items()
    }
    layout = Layout.of(model, named)
    result = nx.Graph()
    labels: dict[str, list[str]] = {}
    for name, variable in model.variables.items():
        labels[name] = _add_variable(result, variable, layout.shapes[name])
    number = 0
    for factor in model.factors:
        for group in _groups(factor, layout):
            table = zip(*(selection.indices.ravel().tolist() for selection in group.arguments), strict=True)
            names = [selection.name for selection in group.arguments]
            rows = {name: values.tolist() for name, values in group.rows.items()}
            shared = {name: _frozen(value) for name, value in group.shared.items()}
            for row, places in enumerate(table):
                node, kind = f"{type(group).__name__} {number}", type(group).__name__
                own = {name: values[row] for name, values in rows.items()}
                own |= {name: _frozen(value) for name, value in own.items() if name in group.shared_names}
                result.add_node(node, bipartite=1, kind="factor", factor=kind, **own, **shared)
                for position, (name, place) in enumerate(zip(names, places, strict=True)):
                    result.add_edge(node, labels[name][place], argument=position)
                number += 1
    return result


def _frozen(value: Any) -> Any:
    """Return arrays and lists as tuples, which factors can share."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _add_variable(graph: "nx.Graph", variable: Variable, shape: tuple[int, ...]) -> list[str]:
    """Add a node for each element of a variable; their names."""
    d, q, labels = variable.dimension, variable.states, []
    field = np.broadcast_to(variable.field, (*shape, d) if d else (*shape, q) if q else shape)
    precision = np.broadcast_to(variable.precision, (*shape, d, d) if d else shape)
    extra = {"dimension": d, "states": q, "prior": variable.prior, "observed": variable.observed}
    extra = {name: value for name, value in extra.items() if value}
    kind = "spin" if variable.is_spin else "category" if q else "real"
    for index in np.ndindex(*shape):
        label = f"{variable.name}[{', '.join(map(str, index))}]" if index else variable.name
        own = {"field": field[index].tolist(), "precision": precision[index].tolist(), **extra}
        graph.add_node(label, bipartite=0, kind=kind, variable=variable.name, index=index, **own)
        labels.append(label)
    return labels


def _groups(factor: Factor, layout: Layout) -> Sequence[Group]:
    if isinstance(factor, Group) and not isinstance(factor, factors.LinearMap):
        return [factor]
    if isinstance(factor, factors.Bilinear):
        return factor.neurons(layout)
    raise ModelError(f"factors must be groups on selections or bilinear to be exported, got {factor}")


def from_bipartite(network: "nx.Graph") -> tuple[Graph, dict[Hashable, Selection]]:
    """Return a model from a bipartite graph of variables and factors of any kind, such as ``to_networkx`` makes.

    Variable nodes with the same attribute ``variable`` become one variable: in the shape that their ``index`` tells, if
    all have one, and in the order of the graph else; without the attribute they are ``s`` (spins), ``x`` (reals),
    ``v3`` (vectors of dimension 3) or ``c4`` (categories of 4 states). A factor node needs ``factor``, the name of a
    class in ``factorgraph.factors``, and its parameters, which have the defaults of that class. Its arguments are in
    the order of the edges' attribute ``argument``, or of the edges.

    Returns:
        the graph under construction, and for every variable node where its value is.

    Raises:
        ModelError: attributes that are missing, unknown or do not fit together.
    """
    _check_undirected("network", network)
    result, places = Graph(), {}
    variables: dict[str, list[Hashable]] = {}
    for node, attributes in network.nodes(data=True):
        kind = attributes.get("kind")
        if not isinstance(kind, str) or kind not in ("spin", "real", "category", "factor"):
            raise ModelError(f"`kind` of {node!r} must be 'spin', 'real', 'category' or 'factor', got {shown(kind)}")
        if attributes["kind"] != "factor":
            d, q = (
                check_integer(
                    f"{what}` of `{shown(node)}", attributes.get(what, 0), minimum=0, maximum=maximum, error=ModelError
                )
                for what, maximum in (("dimension", MAX_COMPONENTS), ("states", MAX_STATES))
            )
            name = "s" if attributes["kind"] == "spin" else f"v{d}" if d else f"c{q}" if q else "x"
            name = check_name(f"variable` of `{shown(node)}", attributes.get("variable", name), error=ModelError)
            variables.setdefault(name, []).append(node)
    for name, nodes in variables.items():
        places.update(_read_variable(result, network, name, nodes))
    found: dict[Hashable, list[Hashable]] = {}
    for node, attributes in network.nodes(data=True):
        if attributes["kind"] == "factor":
            found.setdefault(_signature(network, node, places), []).append(node)
    for (cls, _, given, shared), nodes in found.items():  # pyright: ignore[reportGeneralTypeIssues]
        columns = zip(*(_arguments(network, node) for node in nodes), strict=True)
        arguments = [
            Selection(places[c[0]].name, np.array([places[n].indices for n in c]), places[c[0]].dimension)
            for c in columns
        ]
        rows = {name: number_array(name, [network.nodes[n][name] for n in nodes], error=ModelError) for name in given}
        try:
            result.add(cls.from_rows(arguments, rows, dict(shared)))
        except TypeError as cause:  # a parameter that has no default
            raise ModelError(f"parameters of {nodes[0]!r} must be those of {cls.__name__}: {cause}") from None
    return result, places


def _read_variable(graph: Graph, network: "nx.Graph", name: str, nodes: list[Hashable]) -> dict[Hashable, Selection]:
    """Add the variable that some nodes make up; where each of them is."""
    data = [network.nodes[node] for node in nodes]
    common = [{what: d.get(what) for what in ("kind", "dimension", "states", "prior", "observed")} for d in data]
    if any(other != common[0] for other in common):
        raise ModelError(
            f"nodes of `{name}` must agree in kind, dimension, states, prior and observed, got different ones"
        )
    index: list[Any] = [d.get("index") for d in data]
    shape, order = (len(nodes),), list(range(len(nodes)))
    if not any(value is None for value in index):
        table = index_array(f"index` of the nodes of `{name}", index).reshape(len(nodes), -1)
        shape = tuple((table.max(axis=0) + 1).tolist())
        fits = table.min(initial=0) >= 0 and math.prod(shape) == len(nodes)
        order = np.ravel_multi_index(tuple(table.T), shape).tolist() if fits and shape else order
        if not fits or sorted(order) != list(range(len(nodes))):
            raise ModelError(f"`index` of the nodes of `{name}` must fill an array once, got {len(nodes)} of {shape}")
    own = {}
    for what in ("field", "precision"):
        given, finite = [d.get(what, 0.0) for d in data], common[0]["kind"] != "category"
        values = real_array(f"{what}` of the nodes of `{name}", given, finite=finite, error=ModelError)
        own[what] = values[np.argsort(order)].reshape((*shape, *values.shape[1:]))
    kind, dimension, states, prior, observed = common[0].values()
    if kind == "category":
        whole = graph.categories(name, shape, states=states or 0, field=own["field"], observed=bool(observed))
    elif dimension:
        whole = graph.vectors(name, shape, dimension, prior=prior, **own)
    elif kind == "spin":
        whole = graph.spins(name, shape, prior=prior, field=own["field"])
    else:
        whole = graph.reals(name, shape, prior=prior, observed=bool(observed), **own)
    flat = whole.indices.ravel()
    return {node: Selection(name, np.asarray(flat[i]), whole.dimension) for node, i in zip(nodes, order, strict=True)}


def _arguments(network: "nx.Graph", node: Hashable) -> list[Hashable]:
    """Return the variables of a factor in their order."""
    edges = list(network.adj[node].items())
    place = [
        check_integer(f"argument` of the edge `{shown((node, n))}", d.get("argument", 0), error=ModelError)
        for n, d in edges
    ]
    return [edges[i][0] for i in sorted(range(len(edges)), key=place.__getitem__)]


def _signature(network: "nx.Graph", node: Hashable, places: Mapping[Hashable, Selection]) -> Hashable:
    """Return what factors that go into one group have in common: class, variables, parameters given, and what is
    shared."""
    attributes = network.nodes[node]
    named = attributes.get("factor")
    cls = getattr(factors, named, None) if isinstance(named, str) else None
    if not (isinstance(cls, type) and issubclass(cls, Group)):
        known = [name for name in factors.__all__ if issubclass(getattr(factors, name), Group)]
        raise ModelError(f"`factor` of {node!r} must be one of {known}, got {shown(named)}")
    arguments = _arguments(network, node)
    if not arguments or any(argument not in places for argument in arguments):
        raise ModelError(f"neighbours of the factor {node!r} must be variables, got {arguments}")
    given = tuple(name for name in cls.parameter_names if name in attributes)
    shared = tuple((name, attributes[name]) for name in cls.shared_names if name in attributes)
    for name, value in shared:
        if not isinstance(value, Hashable):
            raise ModelError(f"`{name}` of {node!r} must be something that factors can share, got {shown(value)}")
    return cls, tuple(places[argument].name for argument in arguments), given, shared


def draw(model: Model | Graph, axes: "Axes | None" = None, *, seed: int = 0, labels: bool = True) -> "Axes":
    """Draw the bipartite graph of a small model: circles for spins, hexagons for categories, diamonds for
    real variables, squares for factors.

    Args:
        model: the description; all its plates must have sizes.
        axes: where to draw; the current axes by default.
        seed: of the layout.
        labels: write the names of the variables.

    Raises:
        ModelError: more than 200 nodes.
    """
    import matplotlib.pyplot as plt
    import networkx as nx
    from matplotlib.axes import Axes

    check_integer("seed", seed, minimum=0, error=ModelError)
    check_flag("labels", labels, error=ModelError)
    check_instance("axes", axes, (Axes, type(None)), "axes of matplotlib or None", error=ModelError)
    graph = to_networkx(model)
    if len(graph) > _MAX_DRAWN:
        raise ModelError(f"`model` must have at most {_MAX_DRAWN} variables and factors to be drawn, got {len(graph)}")
    axes = plt.gca() if axes is None else axes
    places: dict[Any, Any] = nx.kamada_kawai_layout(graph) if len(graph) <= 60 else nx.spring_layout(graph, seed=seed)
    nx.draw_networkx_edges(graph, places, ax=axes, edge_color="0.6")
    styles = {
        "spin": ("o", 260, "tab:blue"),
        "category": ("h", 280, "tab:orange"),
        "real": ("D", 220, "tab:green"),
        "factor": ("s", 90, "0.25"),
    }
    for kind, (marker, size, colour) in styles.items():
        nodes = [node for node, value in graph.nodes(data="kind") if value == kind]
        nx.draw_networkx_nodes(graph, places, nodes, node_shape=marker, node_size=size, node_color=colour, ax=axes)
    if labels:
        names = {node: node for node, kind in graph.nodes(data="kind") if kind != "factor"}
        nx.draw_networkx_labels(graph, {n: (p[0], p[1] + 0.07) for n, p in places.items()}, names, font_size=8, ax=axes)
    axes.set_axis_off()
    axes.margins(0.12)
    return axes
