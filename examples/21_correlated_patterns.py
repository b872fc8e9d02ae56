"""A binary perceptron on correlated patterns, y = sign(W¹ W⁰ x), x = ±1: phases, and single instances on top.

``python examples/21_correlated_patterns.py`` sweeps the two ratios with state evolution and runs the algorithm along a
line; the figure goes to ``21_correlated_patterns.png``, the points of the sweep to ``21_correlated_patterns.jsonl``.
Lines mark where random patterns are enough, to begin with and for the algorithm.
"""

from phases import Picture

from factorgraph.channels import Identity, Sign
from factorgraph.priors import Binary
from models import Ensemble, algorithmic_threshold, information_threshold


def family(middle: float, measured: float) -> Ensemble:
    """Directions and patterns per weight."""
    return Ensemble(Binary(), [Identity(), Sign()], [middle, measured / middle])


def random_patterns(measured: float) -> Ensemble:
    """Independent patterns per weight."""
    return Ensemble(Binary(), [Sign()], [measured])


def main() -> None:
    """Sweep, draw, and compare instances with state evolution."""
    Picture(
        "21_correlated_patterns",
        "y = sign(W¹ W⁰ x), x = ±1",
        family,
        hidden="directions",
        outputs="patterns",
        span=(0.5, 4.0),
        line=2.5,
        instances=(0.5, 3.8),
        levels={
            "random patterns: enough": information_threshold(random_patterns, 1.1, 1.4, xtol=1e-3),
            "random patterns: found": algorithmic_threshold(random_patterns, 1.3, 1.7, xtol=1e-3),
        },
    ).main()


if __name__ == "__main__":
    main()
