"""A two-layer decoder, y = W¹ sign(W⁰ x) + noise, x = ±1: phases, and single instances on top.

``python examples/22_decoder.py`` sweeps the two ratios with state evolution and runs the algorithm along a
line; the figure goes to ``22_decoder.png``, the points of the sweep to ``22_decoder.jsonl``.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

from factorgraph.channels import Identity, Sign
from factorgraph.priors import Binary
from models import Ensemble, MultiLayerGLM, phase_diagram, state_evolution

NOISE = 1e-2
LINE = 1.5  # rows of the last matrix per signal component, along which instances are drawn


def family(middle: float, measured: float) -> Ensemble:
    """Hidden units and measurements per signal component."""
    return Ensemble(Binary(), [Sign(), Identity(NOISE)], [middle, measured / middle])


def main() -> None:
    """Sweep, draw, and compare instances with state evolution."""
    parser = argparse.ArgumentParser(description="Phases of a two-layer decoder.")
    parser.add_argument("--points", type=int, default=20, help="grid points an axis")
    parser.add_argument("--size", type=int, default=1000, help="components of the instances' signals")
    parser.add_argument("--instances", type=int, default=10, help="how many")
    arguments = parser.parse_args()
    values = np.linspace(0.5, 3.0, arguments.points)
    diagram = phase_diagram(family, values, values, path="22_decoder.jsonl")
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    diagram.draw(left, labels=("hidden units / N", "measurements / N"))
    left.axhline(LINE, color="k", lw=0.8, ls=":")
    ratios = np.linspace(0.5, 2.9, arguments.instances)
    right.plot(ratios, [state_evolution(family(ratio, LINE)).mse[-1, 0] for ratio in ratios], label="state evolution")
    errors = []
    for seed, ratio in enumerate(ratios):
        model = family(ratio, LINE)
        sample = model.sample(arguments.size, seed)
        result = MultiLayerGLM(model.prior, sample.weights, model.channels).infer(sample.y, truth=sample.signals)
        assert result.mse is not None
        errors.append(result.mse[0])
        print(f"hidden/N {ratio:.2f}: error {errors[-1]:.2e}, {result.status} in {result.iterations} iterations")
    right.plot(ratios, errors, "o", color="tab:red", label=f"instances, N = {arguments.size}")
    right.set(xlabel="hidden units / N", ylabel="mean squared error", title=f"measurements / N = {LINE}")
    right.legend()
    left.set_title(f"y = W¹ sign(W⁰ x) + noise of variance {NOISE:g}")
    figure.savefig("22_decoder.png", dpi=150)


if __name__ == "__main__":
    main()
