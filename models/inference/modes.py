"""Posterior modes by the same iterations: priors and outputs whose moments are places of maxima and their slopes.

With a prior and an output raised to the power β → ∞, posterior means become modes and β times variances what these
answer to fields: x̂ = argmax [log q(x) + Hx - Gx²/2] and ∂x̂/∂H. A fixed point of AMP is then a stationary point of the
joint density, its maximum where that is log-concave: LASSO for a ``Laplace`` prior, ridge regression for a ``Gaussian``
one.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.channels import Channel, ChannelValues, ObservedValues
from factorgraph.priors import Prior, PriorValues

#: Variance of a pre-activation that is known, far below that of any noise.
_KNOWN = 1e-30


@dataclass(frozen=True)
class Modes(Prior):
    """A prior whose moments are modes and their slopes.

    Args:
        prior: with a ``maximum``.
        least: slope that is taken for smaller ones, in units of 1/G, the slope without a prior. At a fixed point of
            VAMP modes do not depend on the slopes, but where all rest at 0 their precision would be infinite.
    """

    prior: Prior
    least: float = 0.0

    def evaluate(self, *, H: ArrayLike, G: ArrayLike) -> PriorValues:
        """See ``Prior.maximum``."""
        values = self.prior.maximum(H=H, G=G)
        if not self.least:
            return values
        free = np.divide(1.0, G, out=np.zeros(np.shape(G)), where=np.asarray(G) > 0.0)
        return values._replace(variance=np.maximum(values.variance, self.least * free))

    @property
    def components(self) -> tuple[tuple[float, float], ...]:
        """See ``Prior``."""
        return self.prior.components

    def sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> Any:
        """See ``Prior``."""
        return self.prior.sample(size, rng)


@dataclass(frozen=True)
class OutputModes(Channel):
    """An output whose derivatives are those of the maximum over z.

    Args:
        channel: with an ``observe_maximum``.
    """

    channel: Channel

    def evaluate(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> ChannelValues:
        """Raise ValueError: an output only."""
        raise ValueError("`maximum` must be False for hidden layers")

    def observe(self, y: ArrayLike, *, omega: ArrayLike, V: ArrayLike) -> ObservedValues:
        """See ``Channel.observe_maximum``."""
        return self.channel.observe_maximum(y, omega=omega, V=V)

    def __call__(self, z: ArrayLike) -> Any:
        return self.channel(z)


def log_density(prior: Prior, channel: Channel, x: Any, z: Any, y: Any, *, B: Any, A: Any) -> float:
    """Return log of the joint density of modes x, which answer to the messages (B, A), and outputs y of z."""
    own = prior.maximum(H=B, G=A).psi - B * x + 0.5 * A * x * x
    return float(np.sum(own) + np.sum(channel.observe(y, omega=z, V=_KNOWN).phi))
