"""The reference implementations themselves: against the definition by quadrature, and derivatives by differences."""

from collections.abc import Callable

import pytest
import reference as ref
import tolerances as tol
from channel_cases import CASES, Point
from mpmath import mp, mpf

PHI: dict[str, Callable[..., mpf]] = {
    "identity": ref.identity_phi,
    "sign": lambda B, A, omega, V: ref.sign_phi(B, omega, V),
    "relu": ref.relu_phi,
}
MODERATE = [(0.7, 0.4, -1.1, 1.9), (-3.0, 1e-4, 2.0, 0.6), (12.0, 30.0, -4.0, 1.0), (1e-3, 1e-3, 0.2, 5.0)]


@pytest.mark.parametrize("name", PHI)
@pytest.mark.parametrize("point", MODERATE)
def test_moments_are_derivatives(name: str, point: Point) -> None:
    """x̂ = ∂_B phi, Δ = ∂²_B phi, g = ∂_omega phi, Γ = -∂²_omega phi, by central differences with 80 digits."""
    with mp.workdps(80):
        B, A, omega, V = (mpf(x) for x in point)
        h = mpf(10) ** -20

        def slopes(f: Callable[[mpf], mpf]) -> tuple[mpf, mpf]:
            return (f(h) - f(-h)) / (2 * h), (f(h) - 2 * f(mpf(0)) + f(-h)) / h**2

        mean, variance = slopes(lambda d: PHI[name](B + d, A, omega, V))
        g, minus_gamma = slopes(lambda d: PHI[name](B, A, omega + d, V))
        values = CASES[name].values(B, A, omega, V)
        for value, slope in zip(values[1:], (mean, variance, g, -minus_gamma), strict=True):
            assert abs(value - slope) < tol.DIFFERENCES
        assert min(abs(x) for x in values) > 1e-8  # nothing trivial is compared


@pytest.mark.parametrize("point", MODERATE)
def test_phi_is_the_integral_that_defines_it(point: Point) -> None:
    with mp.workdps(30):
        B, A, omega, V = (mpf(x) for x in point)

        def integral(weight: Callable[[mpf], mpf]) -> mpf:
            cuts = [omega + k * mp.sqrt(V) for k in (-14, -7, -3, 0, 3, 7, 14)]
            inner = sorted([x for x in cuts if x != 0] + [mpf(0), B / max(A, 1)])
            return mp.log(mp.quad(lambda z: weight(z) * mp.npdf(z, omega, mp.sqrt(V)), inner))

        phi = {
            "identity": integral(lambda z: mp.exp(B * z - A * z * z / 2)),
            "sign": integral(lambda z: mp.exp(B) if z > 0 else mp.exp(-B)),
            "relu": integral(lambda z: mp.exp(B * max(z, 0) - A * max(z, 0) ** 2 / 2)),
        }
        for name, value in phi.items():
            assert abs(PHI[name](B, A, omega, V) - value) < tol.QUADRATURE
