"""Sparse regression with ill-conditioned matrices: VAMP, its state evolution, and AMP with damping.

``python examples/30_condition_numbers.py`` draws matrices with singular values in geometric progression, of condition
numbers from 1 to 10⁴; the figure goes to ``30_condition_numbers.png``. An error of AMP counts where it converged.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

from factorgraph.channels import Identity
from factorgraph.priors import GaussBernoulli
from models import Ensemble, Geometric, MultiLayerGLM, vamp_state_evolution

DENSITY, NOISE, RATIO = 0.2, 1e-4, 0.6
ITERATIONS = {"vamp": 2000, "amp": 500}


def family(condition: float) -> Ensemble:
    """y = W x + noise with matrices of one condition number."""
    return Ensemble(GaussBernoulli(DENSITY), [Identity(NOISE)], [RATIO], [Geometric(condition, fast=True)])


def main() -> None:
    """Draw instances at every condition number and compare."""
    parser = argparse.ArgumentParser(description="Sparse regression at condition numbers from 1 to 10⁴.")
    parser.add_argument("--points", type=int, default=9, help="condition numbers")
    parser.add_argument("--size", type=int, default=4000, help="components of the instances' signals")
    parser.add_argument("--instances", type=int, default=4, help="how many at each condition number")
    arguments = parser.parse_args()
    conditions = np.logspace(0.0, 4.0, arguments.points)
    theory, found = [], {"vamp": np.full((arguments.points, arguments.instances), np.nan)}
    found["amp"] = found["vamp"].copy()
    failed = np.zeros(arguments.points, dtype=int)
    for point, condition in enumerate(conditions):
        model = family(condition)
        theory.append(vamp_state_evolution(model).mse[-1, 0])
        for seed in range(arguments.instances):
            sample = model.sample(arguments.size, seed)
            glm = MultiLayerGLM(model.prior, sample.weights, model.channels)
            for closure, errors in found.items():
                result = glm.infer(sample.y, closure=closure, truth=sample.signals, iterations=ITERATIONS[closure])
                if result.converged and result.mse is not None:
                    errors[point, seed] = result.mse[0]
                elif closure == "amp":
                    failed[point] += 1
                else:
                    print(f"VAMP at condition number {condition:.3g}: {result.message}")
        means = {closure: np.nanmean(errors[point]) if np.isfinite(errors[point]).any() else np.nan
                 for closure, errors in found.items()}  # fmt: skip
        print(
            f"condition {condition:8.1f}: state evolution {theory[-1]:.3e}, VAMP {means['vamp']:.3e}, "
            f"AMP {means['amp']:.3e}, not converged in {failed[point]} of {arguments.instances}"
        )
    figure, axes = plt.subplots(figsize=(6.5, 4.5), layout="constrained")
    axes.plot(conditions, theory, label="state evolution of VAMP")
    for closure, marker, colour in (("vamp", "o", "tab:red"), ("amp", "x", "tab:green")):
        values = found[closure]
        axes.plot(np.repeat(conditions, arguments.instances), values.ravel(), marker, color=colour, ms=4,
                  label=f"{closure.upper()}, N = {arguments.size}")  # fmt: skip
    lost = failed > 0
    axes.plot(conditions[lost], np.full(lost.sum(), DENSITY), "v", color="tab:green", mfc="none",
              label="AMP does not converge (some or all instances)")  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="condition number", ylabel="mean squared error of the signal")
    axes.set_title(f"density {DENSITY}, {RATIO} measurements a component, noise variance {NOISE:g}")
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    figure.savefig("30_condition_numbers.png", dpi=120)


if __name__ == "__main__":
    main()
