"""Sparse regression with a product matrix, y = W¹ W⁰ x + noise: phases, and single instances on top.

``python examples/20_sparse_regression.py`` sweeps the two ratios with state evolution and runs the algorithm along a
line; the figure goes to ``20_sparse_regression.png``, the points of the sweep to ``20_sparse_regression.jsonl``.
"""

from phases import Picture

from factorgraph.channels import Identity
from factorgraph.priors import GaussBernoulli
from models import Ensemble

DENSITY, NOISE = 0.3, 1e-8


def family(middle: float, measured: float) -> Ensemble:
    """Hidden units and measurements per signal component."""
    return Ensemble(GaussBernoulli(DENSITY), [Identity(), Identity(NOISE)], [middle, measured / middle])


def main() -> None:
    """Sweep, draw, and compare instances with state evolution."""
    Picture(
        "20_sparse_regression",
        f"y = W¹ W⁰ x + noise, density {DENSITY}, variance {NOISE:g}",
        family,
        hidden="hidden units",
        outputs="measurements",
        span=(0.2, 1.2),
        line=0.8,
        instances=(0.25, 1.15),
        scale="log",
    ).main()


if __name__ == "__main__":
    main()
