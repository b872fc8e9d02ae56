"""From a model to stacked arrays: scalars in one row, edges grouped by factor kind, and the way back to names.

Variable i of the unrolled graph is one scalar; the arrays of all variables lie one after the other. A *stack* holds all
factors of one kind and arity: the edges of its factor f are ``offset + f k .. offset + f k + k - 1``.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.forest import eliminate_pairs, group_by, peel
from factorgraph.factors.base import Kind, Part, Unrollable, chosen, stacked
from factorgraph.factors.projection import has_natural_prior, sites, whole
from factorgraph.interface.errors import ModelError
from factorgraph.messages.natural import Incoming
from factorgraph.model.description import Model
from factorgraph.model.layout import Layout
from factorgraph.priors import Gaussian, Prior

Array = NDArray[np.float64]
Index = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Stack:
    """All factors of one kind and arity.

    Attributes:
        kind: what they compute.
        variables: (F, k) positions of their arguments.
        parameters: arrays (F, ...).
        offset: number of the first edge.
        origins: for each contributing part, the index of its factor in the model and the rows it takes here.
    """

    kind: Kind
    variables: Index
    parameters: tuple[Array, ...]
    offset: int
    origins: tuple[tuple[int, slice], ...]

    @property
    def edges(self) -> slice:
        """Its edges among all."""
        return slice(self.offset, self.offset + self.variables.size)

    @property
    def constant(self) -> bool:
        """Whether its factors have one argument, no vector, and tell it the same whatever else is known of it."""
        kind = self.kind
        depends = (
            kind.projects or kind.full_variance or kind.approximate or kind.numerical or kind.whole or kind.dimensions
        )
        return len(kind.widths) == 1 and kind.law_slot is None and not depends

    def incoming(self, laws: tuple[Array, Array], known: "Beliefs") -> Incoming:
        """Return all cavity laws (E,) and beliefs as the factors of this stack see them."""
        given = incoming(self.kind, self.variables, (laws[0][self.edges], laws[1][self.edges]), known)
        return given._replace(centre=known.mean[self.variables]) if self.kind.centred else given


@dataclass(frozen=True, eq=False)
class NonConjugate:
    """Variables whose own distribution has not the form of a message: a prior, or a channel above a factor.

    Attributes:
        source: a prior; or a channel, whose omega and V are the message on the edge in ``parameter``.
        variables: (n,) their positions.
        parameter: (n,) the edges with omega and V; None for a prior.
    """

    source: Any
    variables: NDArray[np.intp]
    parameter: NDArray[np.intp] | None = None

    @cached_property
    def sorter(self) -> NDArray[np.intp]:
        """Order of ``variables`` by position."""
        return np.argsort(self.variables)

    def evaluate(
        self, H: Array, G: Array, B: Array, A: Array, members: Any = slice(None)
    ) -> tuple[Array, Array, Array]:
        """Return log-integral, mean and variance of some members under e^{Hx - Gx²/2}, given all messages B and A."""
        if isinstance(self.source, Prior):
            return self.source.evaluate(H=H, G=G)
        assert self.parameter is not None
        edges = self.parameter[members]
        return self.source.evaluate(B=H, A=G, omega=B[edges], V=A[edges])[:3]

    def log_mean_about(self, x: Array, H: Array, G: Array, B: Array, A: Array, members: NDArray[np.intp]) -> Array:
        """Return the log-integral relative to e^{Hx - Gx²/2} at values x."""
        return self.evaluate(H, G, B, A, members)[0] - (H - 0.5 * G * x) * x


@dataclass(frozen=True, eq=False)
class Unrolled:
    """A factor graph as stacked arrays.

    Attributes:
        layout: names and positions of the variables.
        stacks: factors, by kind and arity.
        field: (N,) first natural parameter of each variable's own weight.
        precision: (N,) second one.
        own: the same weights by what they are made of.
        nonconjugate: variables with more than that.
        vectors: for each dimension d the places (n, d, d) of all vectors, as ``layout`` has them.
        categories: for each number q of states the places (n, q) of all categories.
        copies: how many copies of the model lie side by side (a batch).
    """

    layout: Layout
    stacks: tuple[Stack, ...]
    field: Array
    precision: Array
    own: "Own"
    nonconjugate: tuple[NonConjugate, ...]
    vectors: tuple[NDArray[np.intp], ...] = ()
    categories: tuple[NDArray[np.intp], ...] = ()
    copies: int = 1

    @property
    def variables(self) -> int:
        """Number of scalars."""
        return self.field.size

    @property
    def factors(self) -> int:
        """Number of factors."""
        return sum(len(stack.variables) for stack in self.stacks)

    @property
    def edges(self) -> int:
        """Number of edges."""
        return sum(stack.variables.size for stack in self.stacks)

    @cached_property
    def spin(self) -> NDArray[np.bool_]:
        """(N,) whether a scalar is ±1."""
        return np.tile(self.layout.spin, self.copies)

    @cached_property
    def ends(self) -> Index:
        """(E,) the variable of each edge."""
        if len(self.stacks) == 1:
            return self.stacks[0].variables.ravel()  # not copied
        return np.concatenate([np.empty(0, np.int32), *(stack.variables.ravel() for stack in self.stacks)])

    @cached_property
    def incidence(self) -> tuple[NDArray[np.int64], Index]:
        """Edges by variable: those of i are ``order[starts[i]:starts[i + 1]]``."""
        return group_by(self.ends, self.variables)

    @cached_property
    def factor_starts(self) -> NDArray[np.int64]:
        """Edges by factor: those of f, counted through the stacks, are ``starts[f] .. starts[f + 1] - 1``."""
        arities = [np.full(len(stack.variables), stack.variables.shape[1]) for stack in self.stacks]
        return np.concatenate([[0], *arities]).cumsum().astype(np.int64)

    @cached_property
    def owners(self) -> NDArray[np.intp]:
        """(E,) the factor of each edge, counted through the stacks."""
        return np.repeat(np.arange(self.factors), np.diff(self.factor_starts))

    @cached_property
    def acting(self) -> NDArray[np.intp]:
        """The factors, counted through the stacks, whose messages are not constant."""
        return np.flatnonzero(np.repeat([not s.constant for s in self.stacks], [len(s.variables) for s in self.stacks]))

    @cached_property
    def peeled(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]] | None:
        """For a forest, the round in which each edge (E,) is taken off, and whether with its factor as the leaf."""
        if self.first_of is None:
            if self.edges >= self.variables + self.factors:
                return None
            when, inwards, removed = peel(self.factor_starts, self.ends, *self.incidence, self.owners)
            return (when, inwards) if removed == self.edges else None
        first = (self.first_of == np.arange(self.variables))[self.ends]  # one edge for all places of a vector
        edges = np.flatnonzero(first)
        starts, ends = np.searchsorted(edges, self.factor_starts), self.ends[edges]
        by_variable, order = group_by(ends, self.variables)
        when, inwards, removed = peel(starts, ends, by_variable, order, self.owners[edges])
        of = np.cumsum(first) - 1
        return (when[of], inwards[of]) if removed == edges.size else None

    @cached_property
    def elimination(self) -> NDArray[np.int32] | None:
        """For a forest of pairs alone, the order in which its leaves go: see ``eliminate_pairs``."""
        if len(self.stacks) != 1 or self.stacks[0].variables.shape[1] != 2 or self.factors >= self.variables:
            return None
        if self.first_of is not None:
            return None
        order = eliminate_pairs(self.stacks[0].variables, self.variables)
        return order if len(order) == self.factors else None

    @property
    def is_forest(self) -> bool:
        """Whether there are no loops."""
        return self.elimination is not None or self.peeled is not None

    @cached_property
    def without_constants(self) -> "Unrolled":
        """The graph with the stacks alone whose messages are not constant."""
        if not any(stack.constant for stack in self.stacks):
            return self
        stacks, offset = [], 0
        for stack in self.stacks:
            if not stack.constant:
                stacks.append(replace(stack, offset=offset))
                offset += stack.variables.size
        return replace(self, stacks=tuple(stacks))

    def on(self, rows: list[NDArray[np.intp]]) -> "Unrolled":
        """Return the graph with some rows of each stack alone, and without their origins."""
        stacks, offset = [], 0
        for stack, own in zip(self.stacks, rows, strict=True):
            if own.size:
                parameters = chosen(stack.parameters, own)
                stacks.append(Stack(stack.kind, stack.variables[own], parameters, offset, ()))
                offset += stacks[-1].variables.size
        laws = (*(law for law in self.nonconjugate if law.parameter is None), *_nonconjugate_outputs(tuple(stacks)))
        return replace(self, stacks=tuple(stacks), nonconjugate=laws)

    @cached_property
    def nonconjugate_of(self) -> NDArray[np.int8]:
        """(N,) index of the variable's law, -1 without one."""
        index = np.full(self.variables, -1, dtype=np.int8)
        for number, law in enumerate(self.nonconjugate):
            index[law.variables] = number
        return index

    @cached_property
    def vector_of(self) -> NDArray[np.int16]:
        """(N,) index of the vectors that a place belongs to, -1 for a scalar."""
        return _numbered(self.vectors, self.variables)

    @cached_property
    def category_of(self) -> NDArray[np.int16]:
        """(N,) index of the categories that a place belongs to, -1 for any other."""
        return _numbered(self.categories, self.variables)

    @cached_property
    def real(self) -> NDArray[np.bool_]:
        """(N,) real variables and places of vectors: neither spins nor categories."""
        return ~self.spin & (self.category_of < 0)

    @cached_property
    def single(self) -> NDArray[np.bool_]:
        """(N,) scalars: no places of vectors or categories."""
        return (self.vector_of < 0) & (self.category_of < 0)

    @cached_property
    def is_first(self) -> NDArray[np.bool_]:
        """(N,) scalars, and the first place of each vector and category."""
        first = self.single.copy()
        for places in (*self.vectors, *self.categories):
            first[places.reshape(len(places), -1)[:, 0]] = True
        return first

    @cached_property
    def joined(self) -> bool:
        """Whether there are vectors or elements with a shared precision, whose messages are measured together."""
        return bool(self.vectors) or any(variable.shared for variable in self.layout.model.variables.values())

    @cached_property
    def first_of(self) -> Index | None:
        """(N,) first place of the vector, category, or elements with a shared precision, of each; None without any."""
        if not self.joined and not self.categories:
            return None
        shift = self.layout.size * np.arange(self.copies, dtype=np.int32)
        return (shift[:, None] + self.layout.first_of).ravel()

    @cached_property
    def conjugate(self) -> NDArray[np.bool_]:
        """(N,) scalars without a law of their own."""
        return (self.nonconjugate_of < 0) & self.single

    @cached_property
    def parametric(self) -> NDArray[np.bool_]:
        """(E,) edges whose message is the parameter of a law and takes no part in sums."""
        parametric = np.zeros(self.edges, dtype=bool)
        for law in self.nonconjugate:
            if law.parameter is not None:
                parametric[law.parameter] = True
        return parametric

    @cached_property
    def full_variance(self) -> NDArray[np.bool_]:
        """(N,) variables of which the factors see the cavity mean at the full precision: see ``Kind.full_variance``."""
        full_variance = np.zeros(self.variables, dtype=bool)
        for stack in self.stacks:
            if stack.kind.full_variance:
                full_variance[stack.variables] = True
        return full_variance

    def label(self, i: int) -> str:
        """Return the name of a scalar; in a batch with its copy."""
        copy, i = divmod(int(i), self.layout.size)
        return self.layout.label(i) + (f" of copy {copy}" if self.copies > 1 else "")

    def factor_label(self, stack: Stack, row: int) -> str:
        """Return a factor by its arguments."""
        return f"{stack.kind.name}({', '.join(dict.fromkeys(self.label(i) for i in stack.variables[row]))})"


class Own(NamedTuple):
    """Own weights e^{base + field x - precision x²/2 - stiffness (x - centre)²/2}, arrays (N,).

    A Gaussian prior is kept as centre and stiffness: far from zero its value is a small difference of the natural ones.

    Attributes:
        base: logarithm of the constant.
        field: what is given besides the prior.
        precision: likewise, 0 for spins; in the places of vectors their matrices.
        centre: mean of the prior; 0 without a Gaussian one.
        stiffness: its precision.
    """

    base: Array
    field: Array
    precision: Array
    centre: Array
    stiffness: Array

    def log_weight(self, x: Array) -> Array:
        """Return the logarithm at values (N,) of scalars; ±1 for spins, 0 or 1 for states, which have no precision."""
        field = np.where(x == 0.0, 0.0, self.field)  # -∞ of a state that is not the one
        return self.base + (field - 0.5 * self.precision * x) * x - 0.5 * self.stiffness * (x - self.centre) ** 2


@dataclass
class Potentials:
    """What every variable brings along besides its messages.

    Attributes:
        field: (N,) first natural parameter of its own weight.
        precision: (N,) second one.
        value: (N,) what it is observed to be, for a category indicators of its states; NaN if it is free.
        own: the same weight by what it is made of.
    """

    field: Array
    precision: Array
    value: Array
    own: Own


@dataclass
class Beliefs:
    """What is known of every variable.

    Attributes:
        H: (N,) total first natural parameter, its own weight included.
        G: (N,) second one.
        mean: (N,); for categories probabilities of their states.
        variance: (N,).
    """

    H: Array
    G: Array
    mean: Array
    variance: Array


def incoming(kind: Kind, variables: NDArray[Any], laws: tuple[Array, Array], known: Beliefs | None) -> Incoming:
    """Return cavity laws on the edges of some factors of one kind, and beliefs, as the kind sees them.

    Args:
        kind: of the factors.
        variables: (R, k) their arguments.
        laws: on their edges, (R k) each.
        known: the beliefs; may be None unless the kind has ``full_variance``.
    """
    first, second = (values.reshape(variables.shape) for values in laws)
    if known is None or not kind.full_variance:
        return Incoming(first, second)
    return Incoming(first, second, known.mean[variables], known.variance[variables])


def unroll(model: Model, sizes: Mapping[str, int] | None = None) -> Unrolled:
    """Stack the factors of a model.

    Args:
        model: any model whose factors have rules for the engine.
        sizes: of the plates that have none.

    Raises:
        ModelError: a factor without rules, a plate without a size, a variable that is the output of two factors.
    """
    layout = Layout.of(model, sizes or {})
    shared = any(variable.shared for variable in model.variables.values())
    parts: list[tuple[int, Part]] = [(-1, part) for part in sites(layout)]
    for number, factor in enumerate(model.factors):
        if not isinstance(factor, Unrollable):
            raise ModelError(f"factors must have rules for the engine, got {type(factor).__name__}")
        parts.extend((number, part) for part in factor.parts(layout))
    if shared:
        parts = [(number, whole(part, layout)) for number, part in parts]
    stacks = tuple(_stacks(parts))
    base, priors = _base(layout)
    laws = (*priors, *_nonconjugate_outputs(stacks))
    return Unrolled(layout, stacks, *base, nonconjugate=laws, vectors=_vectors(layout), categories=_categories(layout))


def _stacks(parts: list[tuple[int, Part]]) -> Iterator[Stack]:
    groups: dict[Hashable, list[tuple[int, Part]]] = {}
    for number, part in parts:
        groups.setdefault((part.kind, part.variables.shape[1]), []).append((number, part))
    offset = 0
    for members in groups.values():
        first, origins, row = members[0][1], [], 0
        for number, part in members:
            origins.append((number, slice(row, row + len(part.variables))))
            row += len(part.variables)
        tables = [np.ascontiguousarray(part.variables, dtype=np.int32) for _, part in members]
        variables = tables[0] if len(tables) == 1 else np.concatenate(tables)
        columns = zip(*(part.parameters for _, part in members), strict=True)
        yield Stack(first.kind, variables, tuple(stacked(c) for c in columns), offset, tuple(origins))
        offset += variables.size


def _base(layout: Layout) -> tuple[tuple[Array, Array, Own], list[NonConjugate]]:
    """Return natural parameters of every variable's own weight, what it is made of, and the priors of another form."""
    field, precision, base, centre, stiffness = np.zeros((5, layout.size))
    laws: dict[Prior, list[NDArray[np.intp]]] = {}
    for name, variable in layout.model.variables.items():
        block = layout.slice(name)
        layout.components(name, field)[...] = variable.field
        layout.matrices(name, precision)[...] = 0.0 if variable.is_spin else variable.precision
        if not isinstance(variable.prior, Prior) or variable.dimension:  # of vectors a factor: see ``sites``
            continue
        if not has_natural_prior(variable):
            if variable.shared:
                continue  # a factor: see ``sites``
            laws.setdefault(variable.prior, []).append(np.arange(block.start, block.stop))
            continue
        if isinstance(variable.prior, Gaussian):
            centre[block], stiffness[block] = variable.prior.mean, variable.prior.precision
            base[block] += variable.prior.log_height
            continue
        h, g, c = variable.prior.natural or (0.0, 0.0, 0.0)
        field[block] += h
        precision[block] += g
        base[block] += c
    own, natural = Own(base, field, precision, centre, stiffness), (field, precision)
    if any(isinstance(variable.prior, Gaussian) for variable in layout.model.variables.values()):
        natural = field + stiffness * centre, precision + stiffness
    return (*natural, own), [NonConjugate(prior, np.concatenate(where)) for prior, where in laws.items()]


def _vectors(layout: Layout) -> tuple[NDArray[np.intp], ...]:
    """Return the places of the vectors by dimension."""
    found: dict[int, list[NDArray[np.intp]]] = {}
    for name, variable in layout.model.variables.items():
        if d := variable.dimension:
            found.setdefault(d, []).append(layout.matrices(name, np.arange(layout.size)).reshape(-1, d, d))
    return tuple(np.concatenate(places) for places in found.values())


def _categories(layout: Layout) -> tuple[NDArray[np.intp], ...]:
    """Return the places of the categories by their number of states."""
    found: dict[int, list[NDArray[np.intp]]] = {}
    for name, variable in layout.model.variables.items():
        if q := variable.states:
            block = layout.slice(name)
            found.setdefault(q, []).append(np.arange(block.start, block.stop).reshape(-1, q))
    return tuple(np.concatenate(places) for places in found.values())


def _numbered(places: tuple[NDArray[np.intp], ...], size: int) -> NDArray[np.int16]:
    """Return (size,) in which of some arrays of places each one is; -1 if in none."""
    index = np.full(size, -1, dtype=np.int16)
    for number, own in enumerate(places):
        index[own] = number
    return index


def _nonconjugate_outputs(stacks: tuple[Stack, ...]) -> list[NonConjugate]:
    """Return the channels whose real outputs have no other law."""
    laws: dict[Any, list[tuple[NDArray[Any], NDArray[np.intp]]]] = {}
    for stack in stacks:
        slot = stack.kind.law_slot
        if slot is not None:
            edges = stack.offset + np.arange(len(stack.variables)) * stack.variables.shape[1] + slot
            laws.setdefault(stack.kind.channel, []).append((stack.variables[:, slot], edges))
    result = []
    for channel, found in laws.items():
        variables, edges = (np.concatenate(column).astype(np.intp) for column in zip(*found, strict=True))
        result.append(NonConjugate(channel, variables, edges))
    everything = np.concatenate([np.empty(0, np.intp), *(law.variables for law in result)])
    if np.unique(everything).size < everything.size:
        raise ModelError("a variable must be the output of at most one channel, got one that is of several")
    return result


def tile(graph: Unrolled, copies: int) -> Unrolled:
    """Return the copies of a graph side by side, so that one run serves a batch of fields or observations."""
    n, stacks, offset, moved = graph.variables, [], 0, {}
    shift = n * np.arange(copies, dtype=np.int32)
    for stack in graph.stacks:
        variables = (stack.variables[None] + shift[:, None, None]).reshape(-1, stack.variables.shape[1])
        parameters = tuple(stacked([p] * copies) for p in stack.parameters)
        count = len(stack.variables)
        origins = tuple(
            (number, slice(c * count + rows.start, c * count + rows.stop))
            for c in range(copies)
            for number, rows in stack.origins
        )
        stacks.append(Stack(stack.kind, variables, parameters, offset, origins))
        moved[stack.offset] = offset
        offset += variables.size
    own = Own(*(np.tile(values, copies) for values in graph.own))
    base = np.tile(graph.field, copies), np.tile(graph.precision, copies), own
    priors = [
        NonConjugate(law.source, (law.variables + shift[:, None]).ravel().astype(np.intp))
        for law in graph.nonconjugate
        if law.parameter is None
    ]
    vectors = tuple((shift[:, None, None, None] + places).reshape(-1, *places.shape[1:]) for places in graph.vectors)
    categories = tuple((shift[:, None, None] + places).reshape(-1, places.shape[1]) for places in graph.categories)
    laws = (*priors, *_nonconjugate_outputs(tuple(stacks)))
    return Unrolled(
        graph.layout, tuple(stacks), *base, nonconjugate=laws, vectors=vectors, categories=categories, copies=copies
    )
