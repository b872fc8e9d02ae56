"""Random numbers of some samples of a batch: those that they would have if all of its samples were here."""

from typing import Any

import numpy as np


class OwnNumbers(np.random.Generator):
    """A generator whose arrays of normal numbers are parts of those of a whole batch.

    Args:
        bit_generator: of the generator for the whole batch, which goes on as there.
        part: samples that are here.
        samples: number in the batch.
    """

    def __init__(self, bit_generator: np.random.BitGenerator, part: slice, samples: int) -> None:
        super().__init__(bit_generator)
        self._part, self._samples = part, samples

    def standard_normal(self, size: Any = None, *args: Any, **options: Any) -> Any:
        """Return numbers of the samples that are here, (..., samples)."""
        *axes, own = size
        if own != len(range(*self._part.indices(self._samples))):
            raise ValueError(f"`size` must end with the number of samples, got {size}")
        return super().standard_normal((*axes, self._samples), *args, **options)[..., self._part]


def own_numbers(rng: np.random.Generator, part: slice, samples: int) -> np.random.Generator:
    """Return a generator of the numbers of some of so many samples; the same one if they are all."""
    return rng if part == slice(0, samples) else OwnNumbers(rng.bit_generator, part, samples)
