"""The linear node X W = Z between messages about the rows of W and of Z, by one singular value decomposition."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.checks import matrix
from models.two_layer.row_messages import RowMessage, inverse

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Linked:
    """Posterior of W and Z = X W given a message about the rows of each.

    Attributes:
        weights: means of W, (inputs, d).
        outputs: means of Z, (N, d).
        weight_covariance: of the rows of W, averaged, (d, d).
        output_covariance: of the rows of Z, averaged, (d, d).
        modes: covariances of the rows of Vᵀ W, (rank, d, d).
        unseen: that of the directions which X does not see, (d, d).
    """

    weights: Array
    outputs: Array
    weight_covariance: Array
    output_covariance: Array
    modes: Array
    unseen: Array


class LinearNode:
    """X with its decomposition U S Vᵀ.

    Args:
        X: (N, inputs), finite, of rank at least 1.

    Raises:
        ValueError: X is not such a matrix.
    """

    def __init__(self, X: Any) -> None:
        self.X = self.checked(X)
        U, s, Vt = np.linalg.svd(self.X, full_matrices=False)
        seen = s > max(self.X.shape) * np.finfo(float).eps * s[0]
        if not seen.any():
            raise ValueError("`X` must have an entry other than 0, got zeros: there is nothing to learn from")
        self.U, self.s, self.Vt = np.ascontiguousarray(U[:, seen]), s[seen], np.ascontiguousarray(Vt[seen])

    @staticmethod
    def checked(X: Any) -> Array:
        """X as an array of its own; raises ValueError if it is not a matrix of finite real numbers."""
        return matrix("X", X, "(N, inputs)").copy()

    def estimate(self, about_weights: RowMessage, about_outputs: RowMessage) -> Linked:
        """Joint posterior: in the basis of V each row has precision Γ_w + s² Γ_z.

        Raises:
            ValueError: the precision about W is singular where X leaves directions unseen.
        """
        samples, inputs = self.X.shape
        weights, modes, unseen = self._solve(about_weights, about_outputs)
        return Linked(
            weights,
            self.X @ weights,
            (modes.sum(axis=0) + (inputs - self.s.size) * unseen) / inputs,
            np.tensordot(self.s**2, modes, axes=1) / samples,
            modes,
            unseen,
        )

    def _solve(self, about_weights: RowMessage, about_outputs: RowMessage) -> tuple[Array, Array, Array]:
        B, precision = about_weights
        modes = inverse(precision + self.s[:, None, None] ** 2 * about_outputs.precision)
        projected = self.Vt @ B
        means = np.einsum("ki,kij->kj", projected + self.s[:, None] * (self.U.T @ about_outputs.information), modes)
        if self.s.size == self.X.shape[1]:
            return self.Vt.T @ means, modes, np.zeros_like(precision)
        if np.linalg.eigvalsh(precision)[0] <= 0.0:
            raise ValueError(
                f"`about_weights` must have a positive definite precision where X has rank {self.s.size} < "
                f"{self.X.shape[1]}, got eigenvalues {np.linalg.eigvalsh(precision)}: give the rows of W a proper prior"
            )
        unseen = inverse(precision)
        rest = (B - self.Vt.T @ projected) @ unseen
        return rest + self.Vt.T @ means, modes, unseen

    def at(self, X: Array, linked: Linked) -> tuple[Array, Array]:
        """Posterior means (n, d) and covariances (n, d, d) of the rows of X W at other inputs X (n, inputs)."""
        squares = (X @ self.Vt.T) ** 2
        covariance = np.tensordot(squares, linked.modes, axes=1)
        rest = np.maximum((X**2).sum(axis=1) - squares.sum(axis=1), 0.0)
        return X @ linked.weights, covariance + rest[:, None, None] * linked.unseen
