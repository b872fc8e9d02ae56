"""The closed-form channels, each with its reference; crosses every test of accuracy, bounds and interface."""

from collections.abc import Callable
from dataclasses import dataclass

import reference as ref
import tolerances as tol
from mpmath import mpf

from factorgraph.channels import Absolute, Channel, Heaviside, Identity, Probit, ReLU, Sign

Point = tuple[float, float, float, float]  # B, A, omega, V
SLOPE, THRESHOLD, NOISE = 300.0, -0.1, 0.3


@dataclass(frozen=True)
class Case:
    """A channel with its reference, the natural scales, its observed reference, and outputs it can have."""

    channel: Channel
    values: Callable[..., ref.Values]
    scales: Callable[..., ref.Values]
    observed: Callable[..., ref.Values]
    outputs: tuple[float, ...]


def _probit_scales(values: ref.Values, B: float, omega: float, V: float) -> ref.Values:
    return tol.sign_scales(values, B, omega - mpf(THRESHOLD), V + 1 / mpf(SLOPE) ** 2)


CASES = {
    "identity": Case(Identity(), ref.identity, tol.identity_scales, ref.identity_observed, (-3.0, 0.0, 1e-3, 7e4)),
    "noisy": Case(
        Identity(NOISE),
        lambda *p: ref.identity(*p, NOISE),
        lambda values, B, A, omega, V: tol.identity_scales(values, B, A, omega, V + mpf(NOISE)),
        lambda *p: ref.identity_observed(*p, NOISE),
        (-3.0, 0.0, 1e-3, 7e4),
    ),
    "sign": Case(
        Sign(),
        lambda B, A, omega, V: ref.sign(B, omega, V),
        lambda values, B, A, omega, V: tol.sign_scales(values, B, omega, V),
        ref.sign_observed,
        (-1.0, 1.0),
    ),
    "probit": Case(
        Probit(SLOPE, THRESHOLD),
        lambda B, A, omega, V: ref.probit(B, omega, V, SLOPE, THRESHOLD),
        lambda values, B, A, omega, V: _probit_scales(values, B, omega, V),
        lambda *p: ref.probit_observed(*p, SLOPE, THRESHOLD),
        (-1.0, 1.0),
    ),
    "relu": Case(ReLU(), ref.relu, tol.relu_scales, ref.relu_observed, (0.0, 1e-3, 2.0, 7e4)),
    "absolute": Case(Absolute(), ref.absolute, tol.absolute_scales, ref.absolute_observed, (0.0, 1e-3, 2.0, 7e4)),
    "heaviside": Case(Heaviside(), ref.heaviside, tol.heaviside_scales, ref.heaviside_observed, (0.0, 1.0)),
}
