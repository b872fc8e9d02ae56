"""The closed-form channels, each with its reference; crosses every test of accuracy, bounds and interface."""

from collections.abc import Callable
from dataclasses import dataclass

import reference as ref
import tolerances as tol
from mpmath import mpf

from factorgraph.channels import (
    Absolute,
    AsymmetricAbsolute,
    Channel,
    HardSigmoid,
    HardTanh,
    Heaviside,
    Identity,
    LeakyReLU,
    Probit,
    ReLU,
    Sign,
    SymmetricDoor,
)

Point = tuple[float, float, float, float]  # B, A, omega, V
SLOPE, THRESHOLD, NOISE = 300.0, -0.1, 0.3
LEAK, SHIFT, WIDTH = 0.03, 0.3, 1.3


@dataclass(frozen=True)
class Case:
    """A channel with its reference, the natural scales, its observed reference, outputs it can have, and the scales of
    these."""

    channel: Channel
    values: Callable[..., ref.Values]
    scales: Callable[..., ref.Values]
    observed: Callable[..., ref.Values]
    outputs: tuple[float, ...]
    observed_scales: Callable[..., ref.Values] | None = None


def _probit_scales(values: ref.Values, B: float, omega: float, V: float) -> ref.Values:
    return tol.sign_scales(values, B, omega - mpf(THRESHOLD), V + 1 / mpf(SLOPE) ** 2)


def piecewise(channel: Channel, pieces: Callable[[], list[ref.Piece]], outputs: tuple[float, ...]) -> Case:
    """That of a piecewise linear output; of spins A drops out."""

    def law(A: float) -> float:
        return 0.0 if channel.spin else A

    return Case(
        channel,
        lambda B, A, omega, V: ref.piecewise(pieces, B, law(A), omega, V),
        lambda values, B, A, omega, V: tol.piecewise_scales(pieces, values, B, law(A), omega, V),
        lambda y, omega, V: ref.piecewise_observed(pieces, y, omega, V),
        outputs,
        lambda values, y, omega, V: tol.piecewise_observed_scales(pieces, values, y, omega, V),
    )


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
    **{
        name: piecewise(channel, pieces, outputs)
        for name, channel, pieces, outputs in (
            ("absolute", Absolute(), lambda: ref.leaky_relu_pieces(-1.0), (0.0, 1e-3, 2.0, 7e4)),
            ("leaky", LeakyReLU(LEAK), lambda: ref.leaky_relu_pieces(LEAK), (-7e4, -0.1, 0.0, 1e-3, 2.0)),
            ("uneven", LeakyReLU(-LEAK), lambda: ref.leaky_relu_pieces(-LEAK), (1e-3, 2.0, 7e4)),
            ("shifted", AsymmetricAbsolute(SHIFT), lambda: ref.asymmetric_absolute_pieces(SHIFT), (-0.2, 0.1, 2.0)),
            ("hard tanh", HardTanh(), ref.hard_tanh_pieces, (-1.0, -0.3, 1e-3, 1.0)),
            ("hard sigmoid", HardSigmoid(), lambda: ref.hard_sigmoid_pieces(2.5), (0.0, 1e-3, 0.7, 1.0)),
            ("door", SymmetricDoor(WIDTH), lambda: ref.door_pieces(WIDTH), (-1.0, 1.0)),
        )
    },
    "heaviside": Case(Heaviside(), ref.heaviside, tol.heaviside_scales, ref.heaviside_observed, (0.0, 1.0)),
}
