"""A two-layer decoder, y = W¹ sign(W⁰ x) + noise, x = ±1: phases, and single instances on top.

``python examples/22_decoder.py`` sweeps the two ratios with state evolution and runs the algorithm along a
line; the figure goes to ``22_decoder.png``, the points of the sweep to ``22_decoder.jsonl``.
"""

from phases import Picture

from factorgraph.channels import Identity, Sign
from factorgraph.priors import Binary
from models import Ensemble

NOISE = 1e-2


def family(middle: float, measured: float) -> Ensemble:
    """Hidden units and measurements per signal component."""
    return Ensemble(Binary(), [Sign(), Identity(NOISE)], [middle, measured / middle])


def main() -> None:
    """Sweep, draw, and compare instances with state evolution."""
    Picture(
        "22_decoder",
        f"y = W¹ sign(W⁰ x) + noise of variance {NOISE:g}, x = ±1",
        family,
        hidden="hidden units",
        outputs="measurements",
        span=(0.5, 3.0),
        line=1.5,
        instances=(0.5, 2.9),
    ).main()


if __name__ == "__main__":
    main()
