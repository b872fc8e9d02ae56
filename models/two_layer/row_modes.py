"""Most probable rows of Z given their outputs: Newton's method, and for ReLU also into and across its kinks."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factorgraph.activations import Activation
from factorgraph.messages.linear_node import inverses
from models.two_layer.head import Head

Array = NDArray[np.float64]

_ROUNDS = 100
_HALVINGS = 10
_ROUNDING = 1e-15  # of a cost: the last, small steps are right although they do not show
#: Most that a row's covariance may be, in units of the cavity's. Of 18 problems (sigmoids, 15 dB, 200 to 1000 samples)
#: 12, 16, 15 and 10 settled within 200 iterations with 1, 1.25, 1.5 and 2.
_MAX = 1.25


def row_modes(head: Head, R: Array, precision: Array, Y: Array) -> tuple[Array, Array]:
    """Return modes (N, d) of the rows of Z, and covariances (N, d, d) about them.

    Of the minima found from the cavity's mean and from the estimate by the best linear function, the lower. Covariances
    are derivatives of the modes by Γ r, inverse Hessians, but bounded: just before a minimum becomes a saddle, because
    the outputs curve the other way, one row would outweigh all others. A unit that rests in the kink of a ReLU does not
    move, and its row and column are 0.

    Args:
        head: with a ReLU or sigmoid activation.
        R: cavity means (N, d).
        precision: Γ, their common precision (d, d), positive definite.
        Y: outputs (N, outputs).
    """
    W, y = head.scaled_weights, head.scaled(Y)
    covariance = inverses(precision)
    near = head.linearised(R, covariance)
    slopes = near.slope[:, :, None] * W
    noise = np.eye(head.outputs) + np.swapaxes(slopes, 1, 2) @ (covariance @ slopes)
    excess = np.linalg.solve(noise, (y - near.mean @ W)[..., None])[..., 0]
    linear = R + np.einsum("nio,no->ni", slopes, excess) @ covariance
    rows = _Rows(head.activation, R + head.hidden_bias, precision, y, W)
    ends = [rows.descend(start + head.hidden_bias) for start in (R, linear)]
    costs = np.stack([rows.cost(z) for z in ends])
    z = np.take_along_axis(np.stack(ends), costs.argmin(axis=0)[None, :, None], axis=0)[0]
    return z - head.hidden_bias, rows.covariances(z)


@dataclass(frozen=True)
class _Rows:
    """The costs (z - r)·Γ(z - r)/2 + |y - f(z) W|²/2 of many rows."""

    f: Activation
    r: Array
    precision: Array
    y: Array
    W: Array

    def cost(self, z: Array) -> Array:
        """Return (N,)"""
        shift = z - self.r
        rest = self.y - self.f(z) @ self.W
        return 0.5 * (np.einsum("ni,ni->n", shift @ self.precision, shift) + np.einsum("no,no->n", rest, rest))

    def descend(self, z: Array) -> Array:
        """Take Newton steps, halved until the cost falls, for ReLU after a sweep over the units; until nothing
        falls."""
        z = z.copy()
        cost = self.cost(z)
        active = np.arange(len(z))
        for _ in range(_ROUNDS):
            rows = replace(self, r=self.r[active], y=self.y[active])
            before, x = cost[active], z[active]
            if self.f.name == "relu":
                x = rows.swept(x)
            x, cost[active] = rows.stepped(x)
            z[active] = x
            active = active[before - cost[active] > 1e-14 * before]
            if not active.size:
                break
        return z

    def stepped(self, z: Array) -> tuple[Array, Array]:
        """Return rows and their costs after a Newton step."""
        gradient = (z - self.r) @ self.precision - self.f.derivative(z) * self._pull(z)
        step = np.einsum("nij,nj->ni", self.inverse_hessian(z), gradient)
        cost = self.cost(z)
        waiting = np.ones(len(z), dtype=bool)
        for halving in range(_HALVINGS):
            trial = z - 0.5**halving * step
            new = self.cost(trial)
            taken = waiting & (new <= cost * (1.0 + _ROUNDING))
            z, cost = np.where(taken[:, None], trial, z), np.where(taken, new, cost)
            waiting &= ~taken
            if not waiting.any():
                break
        return z, cost

    def inverse_hessian(self, z: Array) -> Array:
        """Of the units outside the kinks, 0 for the others; where it is indefinite, that of Gauss and Newton."""
        slope = self.f.derivative(z)
        H = self.precision + slope[:, :, None] * (self.W @ self.W.T) * slope[:, None, :]
        d = z.shape[1]
        if self.f.name == "relu":
            free = z != 0.0
            both = free[:, :, None] & free[:, None, :]
            return np.where(both, inverses(np.where(both, H, np.eye(d))), 0.0)
        bend = slope * (1.0 - 2.0 * self.f(z)) * self._pull(z)  # f'' of the sigmoid
        full = H - bend[:, :, None] * np.eye(d)
        minimum = 1e-3 * np.linalg.eigvalsh(self.precision)[0]
        return inverses(np.where(np.linalg.eigvalsh(full)[:, 0, None, None] > minimum, full, H))

    def covariances(self, z: Array) -> Array:
        """Return inverse Hessians, in no direction above ``_MAX`` times Γ⁻¹."""
        L: Any = np.linalg.cholesky(self.precision)
        gain, axes = np.linalg.eigh(L.T @ self.inverse_hessian(z) @ L)  # in units of the cavity's covariance
        root = inverses(L.T) @ axes
        return (root * np.minimum(gain, _MAX)[:, None, :]) @ np.swapaxes(root, 1, 2)

    def swept(self, z: Array) -> Array:
        """Return every unit of a ReLU layer in turn at its best place on either side of its kink, or in it."""
        z = z.copy()
        rest = self.y - self.f(z) @ self.W
        for j in range(z.shape[1]):
            rest = rest + np.outer(self.f(z[:, j]), self.W[j])  # without this unit
            own = self.precision[j, j]
            pull = own * z[:, j] - (z - self.r) @ self.precision[j]
            below, above = pull / own, (pull + rest @ self.W[j]) / (own + self.W[j] @ self.W[j])
            drop = np.where(below < 0.0, own * below**2, 0.0)
            rise = np.where(above > 0.0, (own + self.W[j] @ self.W[j]) * above**2, 0.0)
            z[:, j] = np.where(rise > drop, above, np.where(drop > 0.0, below, 0.0))
            rest = rest - np.outer(self.f(z[:, j]), self.W[j])
        return z

    def _pull(self, z: Array) -> Any:
        return (self.y - self.f(z) @ self.W) @ self.W.T
