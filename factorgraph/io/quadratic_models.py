"""From and to binary quadratic models, as the packages around ``dimod`` have them."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from factorgraph.factors import Pairwise
from factorgraph.interface.arguments import check_choice, check_instance, check_number, shown
from factorgraph.interface.errors import ModelError
from factorgraph.model.description import Model
from factorgraph.model.graph import Graph, model_of
from factorgraph.model.layout import Layout

#: Spins ±1, and x = (1 + s)/2.
_VARTYPES = ("SPIN", "BINARY")


class QuadraticModel(NamedTuple):
    """An energy Σ linear x + Σ quadratic x y + offset, in the order that ``dimod.BinaryQuadraticModel`` takes.

    Attributes:
        linear: by variable.
        quadratic: by pairs of variables.
        offset: the constant.
        vartype: "SPIN" for values ±1, "BINARY" for 0 and 1.
    """

    linear: dict[Hashable, float]
    quadratic: dict[tuple[Hashable, Hashable], float]
    offset: float
    vartype: str


def from_dimod(model: Any, *, name: str = "s", beta: float = 1.0) -> tuple[Graph, list[Hashable], float]:
    """Return a model of spins with the weights e^{-beta (energy - constant)} of a binary quadratic model.

    Args:
        model: with ``linear``, ``quadratic``, ``offset`` and ``vartype``, such as a ``dimod.BinaryQuadraticModel``; the
            value 1 of a variable 0 or 1 is the spin +1.
        name: of the spins.
        beta: inverse temperature, > 0.

    Returns:
        the graph under construction, the variables in the order of the spins, and the constant of the energy.

    Raises:
        ModelError: no such model, or numbers that are not finite.
    """
    beta = check_number("beta", beta, above=0.0, error=ModelError)
    linear, quadratic, offset, vartype = _parts(model)
    labels = list(linear)
    index = {label: i for i, label in enumerate(labels)}
    h = np.array([check_number(f"linear` of `{shown(v)}", a, error=ModelError) for v, a in linear.items()])
    ends, couplings = [], []
    for pair, value in quadratic.items():
        if not isinstance(pair, tuple) or len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= index.keys():
            raise ModelError(f"`quadratic` must be by pairs of different variables of `linear`, got {shown(pair)}")
        ends.append([index[end] for end in pair])
        couplings.append(check_number(f"quadratic` of `{shown(pair)}", value, error=ModelError))
    table, J = np.array(ends, dtype=np.intp).reshape(-1, 2), np.array(couplings)
    if vartype == "BINARY":
        offset += math.fsum(h) / 2 + math.fsum(J) / 4
        J = J / 4
        h = h / 2 + np.bincount(table.ravel(), np.repeat(J, 2), h.size)
    graph = Graph()
    s = graph.spins(name, h.size, field=-beta * h)
    if J.size:
        graph.add(Pairwise(*s[table].columns, coupling=-beta * J))
    return graph, labels, offset


def _parts(model: Any) -> tuple[Mapping[Hashable, Any], Mapping[Any, Any], float, str]:
    """Return what makes up a binary quadratic model."""
    parts = [getattr(model, what, None) for what in ("linear", "quadratic", "offset", "vartype")]
    linear, quadratic, offset, vartype = parts
    if not isinstance(linear, Mapping) or not isinstance(quadratic, Mapping) or not linear:
        need = "have a variable, and mappings `linear` and `quadratic`"
        raise ModelError(f"`model` must {need}, as those of dimod, got {shown(model)}")
    kind = check_choice("vartype", getattr(vartype, "name", vartype), _VARTYPES, error=ModelError)
    return linear, quadratic, check_number("offset", offset, error=ModelError), kind


def to_dimod(model: Model | Graph, *, vartype: str = "SPIN", offset: float = 0.0) -> QuadraticModel:
    """Return the energy, minus the logarithm of the weight, of a model of spins with fields and ``Pairwise`` factors.

    ``dimod.BinaryQuadraticModel(*to_dimod(model))`` is that of dimod. Variables are named such as ``"s[3, 4]"``.

    Args:
        model: of spins.
        vartype: "SPIN", or "BINARY" with x = (1 + s)/2.
        offset: constant that is added to the energy.

    Raises:
        ModelError: variables or factors of other kinds.
    """
    model, offset = model_of(model), check_number("offset", offset, error=ModelError)
    check_choice("vartype", vartype, _VARTYPES, error=ModelError)
    layout = Layout.of(model, {})
    linear: dict[Hashable, float] = {}
    labels: dict[str, list[str]] = {}
    for name, variable in model.variables.items():
        if not variable.is_spin or variable.prior is not None:
            raise ModelError(f"`model` must be of spins without priors for a quadratic model, got `{name}`")
        shape = layout.shapes[name]
        labels[name] = [f"{name}[{', '.join(map(str, i))}]" if i else name for i in np.ndindex(*shape)]
        fields = np.broadcast_to(variable.field, shape).ravel()
        linear |= zip(labels[name], (-fields).tolist(), strict=True)
    quadratic: dict[tuple[Hashable, Hashable], float] = {}
    for factor in model.factors:
        need = "of `Pairwise` factors for a quadratic model"
        _add_pairs(quadratic, check_instance("model", factor, Pairwise, need, error=ModelError), labels)
    if vartype == "BINARY":
        offset += math.fsum(quadratic.values()) - math.fsum(linear.values())
        linear = {label: 2 * h for label, h in linear.items()}
        for pair, J in quadratic.items():
            for end in pair:
                linear[end] -= 2 * J
        quadratic = {pair: 4 * J for pair, J in quadratic.items()}
    return QuadraticModel(linear, quadratic, offset, vartype)


def _add_pairs(
    quadratic: dict[tuple[Hashable, Hashable], float], factor: Pairwise, labels: Mapping[str, Sequence[str]]
) -> None:
    """Add the couplings of a group; of several on one pair their sum."""
    ends = [[labels[s.name][i] for i in s.indices.ravel().tolist()] for s in factor.arguments]
    for a, b, J in zip(*ends, factor.coupling.tolist(), strict=True):
        pair = (b, a) if (b, a) in quadratic else (a, b)
        quadratic[pair] = quadratic.get(pair, 0.0) - J
