"""How many operations training takes, and the least time in which a machine can do them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What the machine can do with the threads and the library in use.

    Attributes:
        flops: floating-point operations a second in a large float32 matrix product; a multiply-add is two.
        bytes: read and written a second when an array as large as all the weights is copied.
        evaluations: of g a second, in a loop over arrays that stay in the cache; None where it does not matter.
    """

    flops: float
    bytes: float
    evaluations: float | None = None


@dataclass(frozen=True)
class Cost:
    """What training one layer or network takes, with one inner iteration a batch.

    Attributes:
        flops: of the matrix products, for each sample: 2 for every weight and product.
        evaluations: of g, for each sample: one for every weight of a BP or BPI layer, as its equations have it. (A
            program may do with fewer, and thus be faster than this count allows.)
        bytes: the state of the weights, read and written once where a batch needs it, for each batch.
    """

    flops: float = 0.0
    evaluations: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.evaluations + other.evaluations, self.bytes + other.bytes)

    def min_seconds(self, limits: Limits, samples: int, batches: int) -> float:
        """Time of an epoch at the limits of the machine: arithmetic or traffic, whichever takes longer."""
        arithmetic = self.flops / limits.flops
        if self.evaluations:
            assert limits.evaluations is not None
            arithmetic += self.evaluations / limits.evaluations
        return max(samples * arithmetic, batches * self.bytes / limits.bytes)
