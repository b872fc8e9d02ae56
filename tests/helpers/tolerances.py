"""Named tolerances of the accuracy tests, each with its reason.

Errors are relative to a *natural scale*: the value itself wherever it has a fixed sign, and the sum of the magnitudes
of its terms where the true value passes through zero because terms of opposite sign really cancel. There a relative
error ε of B or omega already changes the value by ε times that scale, so no algorithm that is given rounded arguments
can do better. The scales are minimal: they count only terms that remain after all removable cancellation is removed,
and they reduce to the value itself away from the zeros. Outputs not mentioned below are compared to their own value.
"""

import itertools
import math
from collections.abc import Callable

import reference as ref
from mpmath import mp, mpf

#: Channels in float64. Exponents of e^{-700}, the smallest that matters, carry 700 · 2^-53 = 8e-14; products of a dozen
#: roundings a few 1e-15. Measured: below 1e-13.
CHANNEL = 1e-12

#: Special functions in float64: e^{-a²/2} with a²/2 ≤ 708 rounded once, 6e-14, and the variance of a truncated normal
#: just below the switch to the continued fraction, where 1 - K(K - a) loses a factor of 150.
SPECIAL = 1.5e-13

#: float32 results are float64 results rounded once: half a unit of 2^-23, plus rounding of the comparison.
FLOAT32 = 6.1e-8

#: Below these, values underflow (float32: subnormal). In units of V, since a standardised quantity underflows first.
TINY64, TINY32 = 1e-300, 1.2e-38

#: Derivatives of 80-digit functions by second-order differences of step 1e-20: 1e-40 times higher derivatives.
DIFFERENCES = 1e-25

#: mpmath quadrature of the definition, at 30 digits.
QUADRATURE = 1e-20


def identity_scales(values: ref.Values, B: float, A: float, omega: float, V: float) -> ref.Values:
    """phi = E - ½ log(1 + AV): |E| and the logarithm. Mean and g come from correctly rounded sums and need no scale."""
    return abs(values[0]) + mp.log1p(mpf(A) * V) / 2, *values[1:]


def sign_scales(values: ref.Values, B: float, omega: mpf, V: mpf) -> ref.Values:
    """Scales that differ from the values only if B and omega have opposite signs.

    phi: log cosh B and log(1 + tanh B erf(t/√2)). Mean tanh(B + a), a = atanh erf(t/√2): tanh(|B| + |a|).
    Γ V = -P K (t (1 - P) - P (K - t)) for t > 0 > B: the terms t (1 - P) and P (K - t) of the bracket.
    """
    phi, mean, variance, g, gamma = values
    t = abs(omega) / mp.sqrt(V)
    if B * omega >= 0:
        return phi, mean, variance, g, gamma
    b = abs(mpf(B))
    log_cosh = mp.log(mp.cosh(b))
    field = b + abs(mp.log(ref.upper(t) / ref.upper(-t))) / 2
    n = ref.upper(t) * mp.expm1(2 * b)
    bracket = (t + n * (ref.mills(t) - t)) / (1 + n)
    return log_cosh + abs(phi - log_cosh), mp.tanh(field), variance, g, abs(g) / mp.sqrt(V) * bracket


def relu_scales(values: ref.Values, B: float, A: float, omega: float, V: float) -> ref.Values:
    """x1, v1: mean and variance of the slab (x > 0), p1 its weight, mu + s K(a) = x1 with a = -mu/s.

    phi: its first-order change p1 (|B| x1 + A E x²/2), at most p1. g = p1 (B - A x1): the terms B and A x1 if the slab
    is mostly cut off (a > 0), else B - A mu = (B - A omega)/(1 + AV) and A s K(a) = A (x1 - mu).
    Γ = (p1/V) [A v1 - p0 (B - A x1) (x1 - E[z | z < 0])]: its two terms, with the scale of g in the second.
    """
    phi, mean, variance, _, _ = values
    m = ref.relu_mixture(mpf(B), mpf(A), mpf(omega), mpf(V))
    mu = (mpf(B) * V + omega) / (1 + mpf(A) * V)
    pull = abs(B) + A * m.m1 if mu < 0 else abs(B - A * mu) + A * (m.m1 - mu)
    change = abs(mpf(B)) * m.m1 + A * (m.v1 + m.m1**2) / 2
    gamma = m.p1 * (A * m.v1 + m.p0 * pull * (m.m1 - m.m0)) / V
    return max(abs(phi), m.p1 * min(change, 1)), mean, variance, m.p1 * pull, gamma


def heaviside_scales(values: ref.Values, B: float, A: float, omega: float, V: float) -> ref.Values:
    """phi, mean and variance have no zeros but those of c = B - A/2, rounded once; g and Γ are a spin's."""
    _, _, _, g, gamma = sign_scales(ref.sign((mpf(B) - mpf(A) / 2) / 2, omega, V), (B - A / 2) / 2, mpf(omega), mpf(V))
    return *values[:3], g, gamma


def piecewise_scales(
    pieces: Callable[[], list[ref.Piece]], values: ref.Values, B: float, A: float, omega: float, V: float
) -> ref.Values:
    """Sums of the magnitudes of the terms of the pieces, of weights p, means m and variances v of z, slopes d of t.

    phi as for |z|. x of a piece and d are counted from its nearest bound where the mode is outside, else from the mode.
    g = Σ p d + Σ J, J the jumps of e^t times the density there over Z; Γ = [Σ a p v - Σ p p' (d - d')(m - m') +
    Σ J E(z - place)]/V with a = A slope².
    """
    B, A, omega, V = mpf(B), mpf(A), mpf(omega), mpf(V)
    known = [(piece, ref.part(piece, B, A, omega, V)) for piece in pieces()]
    total = sum(each.weight for _, each in known)
    change = size = g = gamma = logarithm = mpf(0)
    terms = []
    for piece, each in known:
        p, a = each.weight / total, A * piece.slope**2
        ends = [end for end in (piece.low, piece.high) if math.isfinite(end)]
        start = each.mu if piece.low <= each.mu <= piece.high else min(ends, key=lambda end: abs(end - each.mu))
        at = piece.level + piece.slope * start
        pull = abs(piece.slope) * (abs(B - A * at) + A * abs(piece.slope * (each.mean - start)))
        square = each.x**2 + piece.slope**2 * each.variance
        change += p * (abs(B) * mp.sqrt(square) + A * square / 2)
        size += p * (abs(at) + abs(piece.slope * (each.mean - start)))
        g, gamma, logarithm = g + p * pull, gamma + a * p * each.variance, logarithm + p * mp.log1p(a * V) / 2
        gamma += sum(p * q * (pull + other) * abs(each.mean - m) for q, other, m in terms)
        terms.append((p, pull, each.mean))
    for (left, _), (right, _) in itertools.pairwise(known):
        below, above = (each.level + each.slope * left.high for each in (left, right))
        step = abs(mp.exp(B * below - A * below**2 / 2) - mp.exp(B * above - A * above**2 / 2))
        jump = step * ref.density((left.high - omega) / mp.sqrt(V)) / mp.sqrt(V) / total
        g, gamma = g + jump, gamma + jump * sum(p * abs(m - left.high) for p, _, m in terms)
    return max(abs(values[0]), min(change, 1), logarithm), size, values[2], g, gamma / V


def piecewise_observed_scales(
    pieces: Callable[[], list[ref.Piece]], values: ref.Values, y: float, omega: float, V: float
) -> ref.Values:
    """Of the places z with that output: their common logarithm and squares; the sums over them of |z - omega|/V and of
    their own Γ, and what their distance adds."""
    omega, V = mpf(omega), mpf(V)
    places = ref.places(pieces, y, omega, V)
    total = sum(each.weight for each in places)
    p = [each.weight / total for each in places]
    phi = abs(values[0])
    if not places[0].variance:
        phi += abs(mp.log(2 * mp.pi * V)) + min((each.mean - omega) ** 2 for each in places) / V
    g = sum(q * abs(each.mean - omega) for q, each in zip(p, places, strict=True)) / V
    gamma = sum(q * abs(1 - each.variance / V) for q, each in zip(p, places, strict=True)) / V
    spread = sum(
        q * (each.mean - sum(q * e.mean for q, e in zip(p, places, strict=True))) ** 2
        for q, each in zip(p, places, strict=True)
    )
    return phi, g, gamma + spread / V**2


#: Priors in float64: as for channels, with weights e^{-700} of an atom or of the slab. Measured: below 3e-14.
PRIOR = 1e-12

#: float32 results of the priors: as FLOAT32; this is the project's promise, which leaves room for float32 arithmetic.
PRIOR32 = 1e-5

#: Derivatives by a five-point difference of step h = 2e-3 in float64: h⁴/30 = 5e-13 times fifth derivatives up to 1e5.
STENCIL = 1e-7

#: Composite and adaptive Gauss-Legendre in float64: sums of some 1000 rounded terms, and exponents of size 100.
PANELS = 1e-12

#: Numeric channel, in the units of its docstring: adaptive quadrature to 1e-12, and the rounding of f far from omega.
NUMERIC = 1e-10

#: Argmax by quadrature, relative. Measured: 6e-12 in the gammas of rivals 30 deviations apart, 1e-14 elsewhere.
ARGMAX = 1e-10

#: Argmax by rivals: sums of few terms, each right to SPECIAL.
ARGMAX_RIVALS = 1e-12

#: Two passes on trees of some ten variables, float64: sums of a few dozen rounded terms, relative to the deviation of
#: the variable and to max(1, |log Z|). This is the project's promise; measured: below 1e-12.
TREE = 1e-10

#: Fixed points reached to 1e-13 by different routes: the distance is the tolerance over one minus the rate.
LOOPY = 1e-9

#: Central differences of step 1e-4 of log Z: third derivatives of order 1 times 1e-8/6, and 1e-12/1e-4 of rounding.
SLOPE = 1e-6

#: Message rules against composite Gauss-Legendre over 24 deviations with thousands of nodes. Measured: below 2e-12.
RULE = 1e-10

#: The same where the rule itself is a quadrature (40 nodes, of a quartic), or the reference has 80 nodes on each of
#: three axes. Measured: 2e-8 at a stronger quartic, 8e-10.
QUADRATURE_RULE = 1e-6

#: Averages of state evolution: 4 nodes a panel, 1e-7 measured at kinks; where nothing is known E[Γ] is a difference.
AVERAGES = 1e-5

#: Instances of N = 4000 against state evolution, mean of two runs, in units of E x²: fluctuations are O(1/√N) = 0.016
#: a run, and grow where the error falls fast from one iteration to the next.
INSTANCE = 0.04

#: The same sweeps with the roles of weights and inputs exchanged: rounding, through some iterations.
READINGS = 1e-10

#: Bethe free entropy of a dozen spins with two dozen dense constraints, relative: an expansion in 1/12.
SMALL_MODEL = 0.03

#: Where an iteration that stops at a relative change of 1e-6 ends: 1e-6/(1 - rate), for rates up to 0.99.
STOPPED = 1e-4

#: Runs to the fixed point as far as float64 goes: messages of order 1 change by some ulps from sweep to sweep.
TIGHT = {"tolerance": 1e-13, "max_sweeps": 5000}

#: A run that starts at a fixed point reached to 1e-12 or better must see it at once.
WARM = 1e-10

#: What belief propagation gets wrong on loops (variances, log Z) must differ from the truth by more: four orders above
#: the error of the fixed point, so that "approximate" is seen to be true.
WRONG_ON_LOOPS = 1e-5

#: The same for the log Z of weakly coupled pairs, wrong in fourth order of couplings of some 0.1 only.
WRONG_BY_DOUBLE_PAIRS = 1e-12

#: Results that are compared must be larger somewhere: comparing zeros proves nothing.
SOMETHING = 1e-3

#: One sweep computed in two ways: sums of a dozen float64 terms through some 30 sweeps.
COMPILED = 1e-12

#: Functions of two fields or closed forms of a scalar, relative: a few roundings.
SCALAR = 1e-14

#: Closed forms with a handful of sums, relative.
CLOSED_FORM = 1e-12

#: Fixed points of damped, relaxed messages stopped at 1e-12, against the normal equations: 1e-12 over one minus the
#: rate, and relaxed sums that are exact at the fixed point alone.
REGRESSION = 1e-8

#: Quadrature of a Probit or sign channel through its own log-erfc, against a closed form; two projections.
SIGN_OF_NORMAL = 1e-8

#: Closed forms of averages over two Gaussian variables against nested panels: nodes of weight 1e-17 left out, and
#: 1/(1 - ρ²) = 50 at the largest correlation tested. Measured: below 5e-11.
PAIR_AVERAGE = 1e-9

#: Four variables: 7 nodes on panels of two deviations or less. Measured: 2e-8 of the scale for a polynomial.
FOUR_AVERAGE = 1e-6

#: Means of samples, in their standard errors: one of a hundred such comparisons fails at 2.6, one of 10⁶ at 4.9.
ERRORS = 4.5

#: Averages over the units of one random network of width 301, three layers deep: O(1/√301) a layer.
FINITE_WIDTH = 0.08

#: Vectors with shared precisions where their messages are exact, to 1e-12: as TREE, through condition numbers of 100.
SHARED = 1e-9

#: Linear-Gaussian trees with several maps, in units of |log Z|: one precision for each vector leaves an error of O(1)
#: in a sum over some hundred elements. Measured: 2e-3.
SHARED_EVIDENCE = 0.01

#: Means of four instances against theory, in their own standard errors (of four values: Student's law with three
#: degrees of freedom, one in two hundred beyond 6), and a finite-size part in units of E x²: O(1/√N) of the second
#: moment of the drawn signal itself, 0.016 each at N = 4000, which all iterations of an instance share.
BARS, FINITE_SIZE = 5.0, 0.01

#: Fixed points of two recursions, each stopped at changes of 1e-10 with rates up to 0.9; averages by AVERAGES.
FIXED_POINT = 1e-4

#: Moments of spectra by quadrature with smooth densities.
SPECTRUM = 1e-10

#: Means of a dozen spins where one variance stands for all of them: columns of 24 entries differ in their squares by a
#: third. Measured: 0.11.
SMALL_SHARED = 0.15

#: One row of matrix VAMP with one hidden unit, in units of the cavity's deviation: lines that end 5 deviations away
#: leave out second moments of 1e-5, some times that about the origin where the mean is far; the step's error is 1e-8.
LINES_ALONG = 1e-4

#: The same with 2 or 3 units and 40 lines an axis. ReLUs have kinks across the lines too, on which Gauss-Hermite rules
#: converge slowly: 0.08, 0.02, 0.014, 0.006 measured with 10, 20, 40 and 80 lines for one row; a sigmoid has none.
LINES = {"relu": 0.03, "sigmoid": 1e-3}

#: Gauss-Hermite with 32 nodes of a sigmoid of deviation 0.8 (1e-12 measured), sums of 200001 points (kink: 1e-9).
LINEARISED = 1e-8

#: A minimum known to 1e-5 of its width has a cost right to 1e-10.
MODE = 1e-9

#: Systems of up to 18 unknowns of condition 1e6.
LINEAR_NODE = 1e-8

#: One fixed point reached by two loops, which stop at changes of 1e-9: the distance from it is some times more.
SAME_FIXED_POINT = 1e-6

#: Linear units: all precisions are exact. For "map" the gain and the noise of the message are fitted to 1024 points.
LINEAR_EVOLUTION = {"mmse": 1e-4, "map": 0.02}

#: Means over 1024 points of Sobol of smooth squares in eight dimensions. Measured: 0.4 %.
POINTS = 0.02

#: What rounding leaves of a mean, relative to the largest: a few dozen units of 2^-53.
ROUNDINGS = 1e-14

#: Means in deviations, and variances, where messages are precision matrices and one direction is known far better than
#: another: `vectors.MAX_BLUR` at one variable, and what a few others do to it.
BLURRED = 1e-3

#: Claims of results with extreme numbers: means in deviations, variances relative; this is the project's promise.
CLAIM = 1e-8

#: How many times the change that rounding of the numbers given makes, tried twice in random directions.
CONDITION = 100

#: Functions of one's own, integrated adaptively: what ``exact`` claims, of log Z, means in deviations, and variances.
FUNCTION = 1e-8

#: Masses below quantiles by the trapezoidal rule with 20000 steps: 1e-8 measured.
QUANTILES = 1e-6
