"""Where inference begins, and begins again where the messages vanish.

A model that does not see the sign of the signal (|z|, an even function of a layer) has a fixed point at the prior's
mean, where all messages about the signal vanish: from there nothing starts. VAMP falls back to it too where it begins
nearby and must bound a precision that would be negative: then it begins again further off.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factorgraph.priors import Prior

Array = NDArray[np.float64]

#: Messages about the signal, in units of its deviation, that say nothing: at the first iteration, where they vanish but
#: for rounding, and at the end, where they have died out.
_NOTHING_AT_START, _NOTHING_AT_END = 1e-12, 1e-4
#: Random fluctuations of the start in units of the deviation, one after the other.
SIZES = (0.1, 0.3, 1.0)


@dataclass
class Start:
    """Means of the signal to begin with.

    Attributes:
        prior: of the signal.
        shape: (n_0, samples).
        rng: of random starts.
        sizes: of the random starts, in units of the deviation.
        means: the current ones; None for the prior's mean.
        chosen: they were given, and are kept.
    """

    prior: Prior
    shape: tuple[int, int]
    rng: np.random.Generator
    sizes: tuple[float, ...]
    means: Array | None = None
    chosen: bool = False

    def draw(self) -> bool:
        """Go on to random means, further off each time; False if that has been tried."""
        if not self.sizes:
            return False
        (size, *rest), (mean, variance) = self.sizes, self.prior.moments(H=0.0, G=0.0)
        self.sizes, self.means = tuple(rest), mean + size * variance**0.5 * self.rng.standard_normal(self.shape)
        return True

    def uninformative_start(self, B: Any) -> bool:
        """Return whether the first messages about the signal, which began at the prior's mean, say nothing of it."""
        return self.means is None and self._uninformative(B, _NOTHING_AT_START)

    def uninformative_end(self, B: Any) -> bool:
        """Return whether the last messages vanish, from a start that was not given."""
        return not self.chosen and self._uninformative(B, _NOTHING_AT_END)

    def _uninformative(self, B: Any, share: float) -> bool:
        deviation = float(self.prior.moments(H=0.0, G=0.0)[1]) ** 0.5
        return bool(np.max(np.abs(B)) * deviation <= share)
