"""A dense layer that keeps the message of every mini-batch: expectation propagation over batches, no double counting.

The posterior is H = H_0 + Σ_b h_b, with one site h_b a batch, and G likewise for continuous weights. Before batch b is
visited again its site is divided out, so that the cavity H - h_b is the prior of the sweep, means and variances
included; what the sweep adds is the new site, h_b ← α h_b + (1-α) β H_in. The first visit has nothing to divide out or
to damp: one pass is that of the fields with ρ = 1 and α = 0. A fixed point does not depend on the number of passes.

Without hidden layers the fixed point is that of expectation propagation. With them there may be none: units mean
something else once the weights below have changed, and sites of earlier visits speak of what they meant then. A small
β and a large α help in small networks; larger ones diverge.

A continuous weight whose cavity would have no positive precision, that of its prior included, keeps its site and is
left as it is at this visit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from deepnet.layers.base import Layer, Plan, Update
from deepnet.layers.dense import DenseLayer, DensePlan
from factorgraph.dense.numpy_operations import PRECISION_FLOOR
from factorgraph.dense.operations import Backward, Operations
from factorgraph.dense.state import Array, Message


@dataclass(frozen=True)
class SitesPlan(DensePlan):
    """A dense layer with one message for each mini-batch."""

    def __str__(self) -> str:
        return f"{super().__str__()}, a site for each batch"

    def state_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """As ``Plan.state_shapes``, and the sites of H, G of however many batches."""
        own = super().state_shapes()
        return {**own, "sites": (None, 1 if self.spin_weights else 2, self.outputs, self.inputs)}

    def initial_layer(
        self, size: float, rng: np.random.Generator, dtype: np.dtype[Any] | type, below: Layer | None
    ) -> "SitesLayer":
        """As ``Plan.initial_layer``."""
        layer = super().initial_layer(size, rng, dtype, below)
        state = (layer.H, layer.G, layer.mean, layer.sigma)
        return SitesLayer(self, *state, below=below, noise=layer.noise, mass=layer.mass)


@dataclass
class SitesLayer(DenseLayer):
    """Such a layer in training.

    Attributes:
        sites: of every batch visited, by its number, (parameters, outputs, inputs): H, and G of continuous weights.
        cavity: natural parameters at the start of the batch, its site divided out, and where they are such.
    """

    sites: dict[int, Array] = field(default_factory=dict)
    cavity: Array = field(init=False)
    free: Array | None = field(init=False)
    batch: int = field(init=False)
    site_damping: float = field(init=False)

    def state(self) -> dict[str, Array]:
        """Return what a dense layer has, and the sites."""
        sites = np.zeros((len(self.sites), len(self._parameters()), *self.H.shape), self.H.dtype)
        for number, site in self.sites.items():
            sites[number] = site
        return super().state() | {"sites": sites}

    def restore(self, state: Mapping[str, Array]) -> None:
        """As ``Layer.restore``."""
        self.sites = dict(enumerate(np.array(state["sites"])))
        super().restore(state)

    def copied(self, convert: Callable[[Array], Array], operations: Operations, below: Layer | None) -> Self:
        """As ``Layer.copied``."""
        layer = super().copied(convert, operations, below)
        layer.sites = {number: convert(site) for number, site in self.sites.items()}
        return layer

    def settle(self) -> None:
        """As ``Layer.settle``: the messages stay in the posterior, and are no longer told apart."""
        self.sites = {}

    def start(self, update: Update | None) -> None:
        """As ``Layer.start``; the batch's own message is divided out."""
        super().start(update)
        if update is None:
            return
        self.batch, self.site_damping, self.damping, self.free = update.batch, self.damping, 0.0, None
        if self.batch in self.sites:
            before, site = self._parameters(), self.sites[self.batch]
            if self.G is not None and self.plan.prior is not None and self.plan.prior.support is None:
                self.free = self.G - site[1] > PRECISION_FLOOR - self.plan.slab_precision
                site = site * self.free
            for parameter, message in zip(before, site, strict=True):
                parameter -= message
            self._take_moments()
        self.cavity = np.array(self._parameters())

    def backward(self, operations: Operations, above: Message, base: Any, update: Update, *, last: bool) -> Backward:
        """As ``Layer.backward``; what the batch has added becomes its site."""
        sent = super().backward(operations, above, base, update, last=last)
        return sent.then(self._keep_site) if last else sent

    def _keep_site(self) -> None:
        new = np.array(self._parameters()) - self.cavity
        if self.batch not in self.sites:
            self.sites[self.batch] = new
            return
        old = self.sites[self.batch]
        new = self.site_damping * old + (1 - self.site_damping) * new
        if self.free is not None:  # the others had no cavity, and their site in the prior
            self.cavity = self.cavity - old * ~self.free
            new = np.where(self.free, new, old)
        for parameter, value in zip(self._parameters(), self.cavity + new, strict=True):
            parameter[...] = value
        self.sites[self.batch] = new
        self._take_moments()

    def _parameters(self) -> tuple[Array, ...]:
        return (self.H,) if self.G is None else (self.H, self.G)

    def _take_moments(self) -> None:
        """Make m and σ those of the natural parameters."""
        plan = self.plan
        assert plan.prior is not None
        mean, variance = plan.prior.moments(H=self.H, G=0.0 if self.G is None else self.G)
        mask = 1 if plan.mask is None else plan.mask
        self.mean[...] = mean * mask
        if self.sigma is not None:
            self.sigma[...] = variance * mask


def with_sites(plans: Sequence[Plan]) -> tuple[Plan, ...]:
    """Return dense layers with a site for each batch; raise ``ValueError`` for others."""
    for plan in plans:
        if not isinstance(plan, DensePlan):
            raise ValueError(f"`memory` must be 'fields' for a layer that is not dense, got 'sites' for {plan}")
    return tuple(SitesPlan(**vars(plan)) for plan in plans)
