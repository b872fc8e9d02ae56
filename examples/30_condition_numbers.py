"""Sparse regression with ill-conditioned matrices: VAMP, its state evolution, and AMP with damping.

``python examples/30_condition_numbers.py`` draws matrices with singular values in geometric progression, of condition
numbers from 1 to 10⁴; the figure goes to ``30_condition_numbers.png``. An error of AMP counts where it converged.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from tqdm.auto import tqdm

from factorgraph.channels import Identity
from factorgraph.priors import GaussBernoulli
from models import Ensemble, Geometric, MultiLayerGLM, vamp_state_evolution

DENSITY, NOISE, RATIO = 0.2, 1e-4, 0.6
ITERATIONS = {"vamp": 2000, "amp": 500}


def main() -> None:
    """Draw instances at every condition number and compare."""
    parser = argparse.ArgumentParser(description="Sparse regression at condition numbers from 1 to 10⁴.")
    parser.add_argument("--points", type=int, default=9, help="condition numbers")
    parser.add_argument("--size", type=int, default=4000, help="components of the instances' signals")
    parser.add_argument("--instances", type=int, default=4, help="how many at each condition number")
    arguments = parser.parse_args()
    conditions, shape = np.logspace(0.0, 4.0, arguments.points), (arguments.points, arguments.instances)
    theory, found = [], {closure: np.ma.masked_all(shape) for closure in ITERATIONS}
    for point, condition in enumerate(tqdm(conditions, leave=False)):
        family = Ensemble(GaussBernoulli(DENSITY), [Identity(NOISE)], [RATIO], [Geometric(condition, fast=True)])
        theory.append(vamp_state_evolution(family).mse[-1, 0])
        for seed in range(arguments.instances):
            sample = family.sample(arguments.size, seed)
            glm = MultiLayerGLM(family.prior, sample.weights, family.channels)
            for closure, errors in found.items():
                result = glm.infer(sample.y, closure=closure, truth=sample.signals, iterations=ITERATIONS[closure])
                if result.converged and result.mse is not None:
                    errors[point, seed] = result.mse[0]
        told = [f"{name} {np.ma.mean(e[point]) or np.nan:.3g} ({e[point].count()})" for name, e in found.items()]
        tqdm.write(f"condition {condition:8.1f}: state evolution {theory[-1]:.3g}, " + ", ".join(told))
    figure, axes = plt.subplots(figsize=(6.5, 4.5), layout="constrained")
    axes.plot(conditions, theory, label="state evolution of VAMP")
    for (closure, errors), marker, colour in zip(found.items(), "ox", ("tab:red", "tab:green"), strict=True):
        x, label = np.repeat(conditions, arguments.instances), f"{closure.upper()}, N = {arguments.size}"
        axes.plot(x, errors.ravel(), marker, color=colour, ms=4, label=label)
    lost = conditions[found["amp"].count(axis=1) < arguments.instances]
    label = "AMP does not converge (some or all instances)"
    axes.plot(lost, np.full(len(lost), DENSITY), "v", color="tab:green", mfc="none", label=label)
    axes.set(xscale="log", yscale="log", xlabel="condition number", ylabel="mean squared error of the signal")
    axes.set_title(f"density {DENSITY}, {RATIO} measurements a component, noise variance {NOISE:g}")
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    figure.savefig("30_condition_numbers.png", dpi=120)


if __name__ == "__main__":
    main()
