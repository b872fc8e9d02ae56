"""Mass, mean and variance of a standard normal between two ends, to relative accuracy wherever these are."""

import math

from factorgraph.numerics.elementwise import formula
from factorgraph.numerics.quadrature import gauss_legendre
from factorgraph.numerics.special import INV_SQRT_2PI, half_square, normal_tail, upper_tail

_SHORT, _STEEP = 3.0, 8.0  # up to this length and fall of the exponent along it, 16 nodes are exact
_NODES, _WEIGHTS = (tuple((0.5 * values).tolist()) for values in (gauss_legendre(16)[0] + 1.0, gauss_legendre(16)[1]))


@formula
def nearest_interval(a: float, d: float, centre: float) -> tuple[float, float, float, float]:
    """(F, excess, shift, variance) of a standard normal x on [a, a + d], centre = a + d/2 >= 0: the mass lies by the
    lower end.

    The mass is F for a <= 0, where the mode lies inside, and e^{-a²/2} F else; the mean is a + excess, and for a <= 0
    shift = (N(a) - N(a + d))/F, which keeps its accuracy where the interval lies evenly about 0. A short interval, on
    which the density is nearly constant or falls exponentially, is integrated by Gauss-Legendre. Of a longer one both
    tails are known, and that beyond the upper end, of share r in what is above the lower one, is small.
    """
    if d <= _SHORT and a * d <= _STEEP:
        mass, first = 0.0, 0.0
        for i in range(16):
            s = d * _NODES[i]
            weight = _WEIGHTS[i] * math.exp(-s * (a + 0.5 * s))
            mass += weight
            first += weight * s
        excess, second = first / mass, 0.0
        for i in range(16):
            s = d * _NODES[i]
            second += _WEIGHTS[i] * math.exp(-s * (a + 0.5 * s)) * (s - excess) * (s - excess)
        height = INV_SQRT_2PI * math.exp(-0.5 * a * a) if a <= 0.0 else INV_SQRT_2PI
        return height * d * mass, excess, -math.expm1(-d * centre) / (d * mass), second / mass
    b = a + d
    _, f, k, excess, variance = normal_tail(a, half_square(a))
    f_b, _, excess_b, variance_b = upper_tail(b)
    beyond = f_b * math.exp(-d * (a + 0.5 * d) if a > 0.0 else -half_square(b))
    if beyond == 0.0:
        return f, excess, k, variance
    r = beyond / f
    rest = 1.0 - r
    mean = (excess - r * (d + excess_b)) / rest
    gap = d + excess_b - mean
    shift = -k * math.expm1(-d * centre) / rest
    return f - beyond, mean, shift, (variance - r * variance_b - r * rest * gap * gap) / rest
