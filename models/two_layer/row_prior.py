"""The prior node: rows of W⁰."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.messages.linear_node import inverses, symmetric
from models.checks import check_size, generator, number_or_vector
from models.two_layer.row_messages import positive_definite

Array = NDArray[np.float64]


class GaussianRows:
    """Rows w ~ N(mean, covariance) in R^d, independent.

    Args:
        covariance: (d, d), positive definite.
        mean: (d,), or one number for all.

    Raises:
        ValueError: arguments of other shapes, or a covariance that is not positive definite.
    """

    def __init__(self, covariance: ArrayLike, mean: ArrayLike = 0.0) -> None:
        self.covariance = positive_definite("covariance", covariance)
        self.d = len(self.covariance)
        self.mean = number_or_vector("mean", mean, self.d)
        self.precision = symmetric(inverses(self.covariance))

    def __repr__(self) -> str:
        return f"GaussianRows(d={self.d})"

    def sample(self, rows: int, rng: np.random.Generator | int | None = None) -> Array:
        """Return independent rows (rows, d)."""
        rows, rng = check_size("rows", rows, minimum=0), generator(rng)
        return self.mean + rng.standard_normal((rows, self.d)) @ np.linalg.cholesky(self.covariance).T
