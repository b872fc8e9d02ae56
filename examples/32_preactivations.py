"""Pre-activations of networks of finite width: how far from Gaussian they are, against theory; running couplings.

``python examples/32_preactivations.py`` samples networks of several widths; the figure goes to
``32_preactivations.png``. All deviations are of order depth/width, so that the points of all widths fall on one line.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from models.preactivation import RELU, TANH, Activation, critical, propagate

DEPTH = 12
WIDTHS = (16, 32, 64, 128)
BLOCKS = 20
INPUT = np.ones((1, 10))


def sampled(activation: Activation, C_W: float, width: int, networks: int, seed: int) -> np.ndarray:
    """Variance of the units of each layer given the layers below it, of many networks: (networks, layers)."""
    rng = np.random.default_rng([seed, width])
    metric = np.full(networks, C_W * np.mean(INPUT**2))
    columns = [metric]
    for _ in range(DEPTH):
        z = np.sqrt(metric)[:, None] * rng.standard_normal((networks, width))
        metric = C_W * np.mean(activation(z) ** 2, axis=1)
        columns.append(metric)
    return np.stack(columns, axis=1)


def with_errors(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over blocks (blocks, ...) and its standard error."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / len(values) ** 0.5


def main() -> None:
    """Sample, compare and draw."""
    parser = argparse.ArgumentParser(description="Finite-width statistics of pre-activations.")
    parser.add_argument("--networks", type=int, default=20_000, help="sampled networks of each width")
    networks = parser.parse_args().networks // BLOCKS * BLOCKS
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13.5, 4.2), layout="constrained")
    layers = np.arange(DEPTH + 1)
    for activation, marker, filled in ((RELU, "o", True), (TANH, "s", False)):
        C_W = critical(activation).weight_variance
        for width, colour in zip(WIDTHS, plt.colormaps["viridis"](np.linspace(0.0, 0.8, len(WIDTHS))), strict=True):
            theory = propagate(INPUT, [width] * DEPTH, activation, weight_variance=C_W)
            parts = np.split(sampled(activation, C_W, width, networks, 0), BLOCKS)
            limit = np.array([layer.limit_covariance[0, 0] for layer in theory])
            # A unit is Gaussian given the layers below: its fourth moment is 3 <metric²>.
            kurtosis, error = with_errors(np.array([3.0 * np.var(part, axis=0) / limit**2 for part in parts]))
            shift, shift_error = with_errors(np.array([part.mean(axis=0) / limit - 1.0 for part in parts]))
            style = {"color": colour, "fmt": marker, "ms": 4, "mfc": colour if filled else "white"}
            left.errorbar(layers / width, kurtosis, error, label=f"{activation}, n = {width}", **style)
            if activation is TANH:
                middle.errorbar(layers / width, shift, shift_error, label=f"n = {width}", **style)
                exact = [layer.shift[0, 0] / layer.limit_covariance[0, 0] for layer in theory]
                middle.plot(layers / width, exact, "--", color=colour, lw=1)
            print(
                f"{activation!s:5} n {width:4}, layer {DEPTH + 1}: kurtosis {kurtosis[-1]:.3f} ± {error[-1]:.3f},"
                f" theory {theory[-1].excess_kurtosis[0]:.3f}; change of the variance {shift[-1]:+.4f} ± "
                f"{shift_error[-1]:.4f}, theory {theory[-1].shift[0, 0] / limit[-1]:+.4f}"
            )
        ratio = layers / WIDTHS[0]
        theory = propagate(INPUT, [WIDTHS[0]] * DEPTH, activation, weight_variance=C_W)
        style = "k-" if filled else "k--"
        left.plot(ratio, [layer.excess_kurtosis[0] for layer in theory], style, lw=1, label=f"{activation}, theory")
    fine = np.linspace(0.0, 0.2, 50)
    left.plot(fine, 3.0 * np.expm1(5.0 * fine), "k:", lw=1, label="relu, all orders in depth/width")
    flow(right)
    left.set(xlabel="depth/width", ylabel="excess kurtosis of a unit", xlim=(0, 0.2), ylim=(0, 4))
    middle.set(xlabel="depth/width", ylabel="relative change of the variance", title="tanh, theory dashed")
    middle.legend(fontsize=8)
    right.locator_params(axis="x", nbins=5)
    left.legend(fontsize=6, loc="upper left")
    figure.savefig("32_preactivations.png", dpi=90)


def flow(axes: Axes) -> None:
    """Couplings of m neurons against depth: 1/g runs with m, the covariance made of g and v does not."""
    width = 4000
    theory = propagate(INPUT, [width] * DEPTH, RELU, weight_variance=2.0)
    place = np.arange(len(theory)) / width
    for neurons, colour in zip((1, 2, 4, 8), plt.colormaps["plasma"](np.linspace(0.0, 0.8, 4)), strict=True):
        couplings = [layer.couplings(neurons=neurons) for layer in theory]
        limit = theory[0].limit_covariance[0, 0]
        axes.plot(place, [1.0 / c.g[0, 0] / limit for c in couplings], color=colour, label=f"1/g, m = {neurons}")
        axes.plot(place, [c.covariance()[0, 0] / limit for c in couplings], ":", color=colour)
    axes.plot([], [], "k:", label="covariance from g and v")
    axes.set(xlabel="depth/width", ylabel="in units of the covariance", title="ReLU, m neurons of a wide layer kept")
    axes.legend(fontsize=8)


if __name__ == "__main__":
    main()
