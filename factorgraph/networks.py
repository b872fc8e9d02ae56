"""From and to networkx, and pictures of small graphs."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from factorgraph.factors.pairwise import Pairwise
from factorgraph.graph import Graph
from factorgraph.model import Model, ModelError
from factorgraph.unroll import Unrolled, unroll

if TYPE_CHECKING:
    import networkx as nx
    from matplotlib.axes import Axes

_MOST_DRAWN = 200


def from_networkx(
    graph: "nx.Graph",
    *,
    name: str = "s",
    spins: bool = True,
    field: str = "field",
    precision: str = "precision",
    coupling: str = "coupling",
) -> tuple[Graph, Sequence[Hashable]]:
    """A model with one variable per node and one ``Pairwise`` factor per edge.

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
    if graph.is_directed():
        raise ModelError("`graph` must be undirected, got a directed one")
    nodes = list(graph)
    index = {node: i for i, node in enumerate(nodes)}
    result = Graph()
    fields = [attributes.get(field, 0.0) for _, attributes in graph.nodes(data=True)]
    if spins:
        variable = result.spins(name, len(nodes), field=fields)
    else:
        precisions = [attributes.get(precision, 0.0) for _, attributes in graph.nodes(data=True)]
        variable = result.reals(name, len(nodes), field=fields, precision=precisions)
    ends, couplings = [], []
    for a, b, value in graph.edges(data=coupling):
        if value is None:
            raise ModelError(f"edges must have the attribute {coupling!r}, got none on {(a, b)!r}")
        ends.append((index[a], index[b]))
        couplings.append(value)
    if ends:
        left, right = np.array(ends, dtype=np.intp).T
        result.add(Pairwise(variable[left], variable[right], coupling=couplings))
    return result, nodes


def to_networkx(model: Model | Graph, sizes: Mapping[str, int] | None = None) -> "nx.Graph":
    """The bipartite graph of variables and factors.

    Variables are nodes such as ``"s[3, 4]"`` with attributes kind ("spin" or "real"), field and precision; factors are
    nodes such as ``"Pairwise 7"`` with attributes kind ("factor"), factor (the name of its class) and parameters.

    Args:
        model: the description.
        sizes: of the plates that have none.
    """
    import networkx as nx

    unrolled = unroll(model.model if isinstance(model, Graph) else model, sizes)
    result = nx.Graph()
    labels = _labels(unrolled)
    for i, label in enumerate(labels):
        if not unrolled.firsts[i]:
            continue
        kind = "spin" if unrolled.spin[i] else "real"
        own = {"field": float(unrolled.field[i]), "precision": float(unrolled.precision[i])}
        if unrolled.vector_of[i] >= 0:
            places = next(p for p in unrolled.vectors[unrolled.vector_of[i]] if p[0, 0] == i)
            own = {"field": unrolled.field[places[:, 0]].tolist(), "precision": unrolled.precision[places].tolist()}
        result.add_node(label, bipartite=0, kind=kind, **own)
    number = 0
    for stack in unrolled.stacks:
        for row, variables in enumerate(stack.variables.tolist()):
            node = f"{stack.kind.name} {number}"
            parameters = tuple(p[row].tolist() for p in stack.parameters)
            result.add_node(node, bipartite=1, kind="factor", factor=stack.kind.name, parameters=parameters)
            result.add_edges_from((node, labels[i]) for i in variables)
            number += 1
    return result


def _labels(graph: Unrolled) -> list[str]:
    labels: list[str] = []
    for name, shape in graph.layout.shapes.items():
        positions = np.ndindex(*shape)
        places = max(1, graph.layout.model.variables[name].dimension ** 2)
        labels.extend(f"{name}[{', '.join(map(str, p))}]" if p else name for p in positions for _ in range(places))
    return labels


def draw(model: Model | Graph, axes: "Axes | None" = None, *, seed: int = 0, labels: bool = True) -> "Axes":
    """Draw the bipartite graph of a small model: circles for spins, diamonds for real variables, squares for factors.

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

    graph = to_networkx(model)
    if len(graph) > _MOST_DRAWN:
        raise ModelError(f"`model` must have at most {_MOST_DRAWN} variables and factors to be drawn, got {len(graph)}")
    axes = plt.gca() if axes is None else axes
    places: dict[Any, Any] = nx.kamada_kawai_layout(graph) if len(graph) <= 60 else nx.spring_layout(graph, seed=seed)
    nx.draw_networkx_edges(graph, places, ax=axes, edge_color="0.6")
    styles = {"spin": ("o", 260, "tab:blue"), "real": ("D", 220, "tab:green"), "factor": ("s", 90, "0.25")}
    for kind, (marker, size, colour) in styles.items():
        nodes = [node for node, value in graph.nodes(data="kind") if value == kind]
        nx.draw_networkx_nodes(graph, places, nodes, node_shape=marker, node_size=size, node_color=colour, ax=axes)
    if labels:
        names = {node: node for node, kind in graph.nodes(data="kind") if kind != "factor"}
        nx.draw_networkx_labels(graph, {n: (p[0], p[1] + 0.07) for n, p in places.items()}, names, font_size=8, ax=axes)
    axes.set_axis_off()
    axes.margins(0.12)
    return axes
