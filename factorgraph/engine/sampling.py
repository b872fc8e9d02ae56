"""Samples of the joint law: from the roots outwards on a forest, by decimation where there are loops.

On a forest, spins and categories are drawn first, each given those before it, with the real variables integrated out by
their messages; given all of them the rest is Gaussian, and drawn likewise. With loops one variable after the other is
drawn from its belief, fixed, and the messages are sent again: the law of that is as good as the beliefs are.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from factorgraph.engine.cavity import totals
from factorgraph.engine.copies import settled, side_by_side
from factorgraph.engine.decoding import category_rows
from factorgraph.engine.outwards import Pick, from_the_roots
from factorgraph.engine.unroll import Potentials, Unrolled
from factorgraph.messages.categories import indicators, state_of
from factorgraph.messages.natural import Array
from factorgraph.messages.vectors import conditioned, moments

#: Scalars of the copies that are drawn together.
_MAX_SCALARS = 2**22


def samples(
    graph: Unrolled, potentials: Potentials, messages: tuple[Array, Array], n: int, rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """Return n samples by name, (n, *shape): ±1, numbers of states, reals, and vectors with one more axis.

    Args:
        graph: without a batch, and without laws of another form than messages.
        potentials: of the variables.
        messages: B and A (E,) of a run that has converged.
        n: number of samples.
        rng: generator.
    """
    maximum = max(1, _MAX_SCALARS // max(1, graph.variables + graph.edges))
    drawn = [
        _drawn(*side_by_side(graph, potentials, messages, count), rng)
        for count in [maximum] * (n // maximum) + [n % maximum] * (n % maximum > 0)
    ]
    values, layout = np.concatenate([own.reshape(-1, graph.variables) for own in drawn]), graph.layout
    found = {name: layout.components(name, values) for name in layout.shapes}
    return {name: state_of(v) if layout.model.variables[name].states else v for name, v in found.items()}


def _drawn(graph: Unrolled, potentials: Potentials, messages: tuple[Array, Array], rng: np.random.Generator) -> Array:
    """Return values (N,) of all variables of all copies."""
    potentials = replace(potentials, value=potentials.value.copy())
    if not graph.is_forest:
        return _by_decimation(graph, potentials, messages, rng)
    discrete = ~graph.real
    if (discrete & np.isnan(potentials.value)).any():
        potentials.value = from_the_roots(graph, potentials, *messages, _draws(rng, reals=False), maximum=False)
        if any(stack.kind.projects for stack in graph.stacks):
            messages = settled(graph, potentials, messages, "two-pass")
    if np.isnan(potentials.value).any():
        potentials.value = from_the_roots(graph, potentials, *messages, _draws(rng, reals=True), maximum=False)
    return potentials.value


def _by_decimation(
    graph: Unrolled, potentials: Potentials, messages: tuple[Array, Array], rng: np.random.Generator
) -> Array:
    """Return one variable of each copy after the other, discrete ones first."""
    size, pick = graph.layout.size, _draws(rng, reals=True)
    first_of = np.arange(size) if graph.first_of is None else graph.first_of[:size]
    first = np.unique(first_of)
    for i in first[np.argsort(graph.real[first], kind="stable")]:
        own = np.flatnonzero(first_of == i)
        places = (np.arange(graph.copies)[:, None] * size + own).ravel()
        if not np.isnan(potentials.value[places]).any():
            continue
        H, G = (values[places] for values in totals(graph, potentials, *messages))
        drawn = pick(graph, places, H, G)
        potentials.value[places] = np.where(np.isnan(potentials.value[places]), drawn, potentials.value[places])
        messages = settled(graph, potentials, messages, "sequential")
    return potentials.value


def _draws(rng: np.random.Generator, *, reals: bool) -> Pick:
    """Return draws from the laws of variables; real ones only if asked."""

    def pick(graph: Unrolled, places: NDArray[Any], H: Array, G: Array) -> Array:
        spin = graph.spin[places]
        with np.errstate(invalid="ignore"):
            up = rng.random(H.size) < expit(2.0 * np.where(spin, H, 0.0))
        values = np.where(spin, np.where(up, 1.0, -1.0), np.nan)
        for rows, q in category_rows(graph, places):
            # The maximum of log-weights with Gumbel noise is a draw, whatever their common term.
            values[rows] = indicators(state_of(H[rows] + rng.gumbel(size=rows.shape)), q)
        if reals:
            own = np.flatnonzero(graph.real[places] & graph.single[places])
            values[own] = H[own] / G[own] + rng.standard_normal(own.size) / np.sqrt(G[own])
            for k, vectors in enumerate(graph.vectors):
                d = vectors.shape[1]
                rows = np.flatnonzero(graph.vector_of[places] == k).reshape(-1, d, d)
                values[rows] = _drawn_vectors(H[rows][..., 0], G[rows], rng)
        return values

    return pick


def _drawn_vectors(H: Array, G: Array, rng: np.random.Generator) -> Array:
    """Vectors in their places (n, d, d), of information H and precision G."""
    mean, covariance = moments(conditioned(H, 0.5 * (G + np.swapaxes(G, 1, 2)), np.full(H.shape, np.nan)))
    drawn = np.zeros_like(G)
    noise = rng.standard_normal(H.shape)
    drawn[..., 0] = mean + np.einsum("nij,nj->ni", np.linalg.cholesky(covariance), noise)
    return drawn
