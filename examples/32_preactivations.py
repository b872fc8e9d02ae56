"""Pre-activations of networks of finite width: how far from Gaussian they are, against theory; running couplings.

``python examples/32_preactivations.py`` samples networks of several widths; the figure goes to
``32_preactivations.png``. All deviations are of order depth/width, so that the points of all widths fall on one line.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from models.preactivation import RELU, TANH, Activation, critical, propagate

DEPTH, WIDTHS, NETWORKS, WIDE, INPUT = 12, (16, 32, 64, 128), 20_000, 4000, np.ones((1, 10))


def kurtosis(activation: Activation, width: int) -> np.ndarray:
    """Excess kurtosis of the units of each layer of many networks, which are Gaussian given the layers below."""
    C_W, rng = critical(activation).weight_variance, np.random.default_rng(width)
    metric = np.full(NETWORKS, C_W * np.mean(INPUT**2))  # the variance of the units of the present layer
    found = [0.0]
    for _ in range(DEPTH):
        z = np.sqrt(metric)[:, None] * rng.standard_normal((NETWORKS, width))
        metric = C_W * np.mean(activation(z) ** 2, axis=1)
        found.append(3.0 * np.var(metric) / np.mean(metric) ** 2)
    return np.array(found)


def flow(axes: Axes) -> None:
    """Couplings of m neurons against depth: 1/g runs with m, the covariance made of g and v does not."""
    theory, place = propagate(INPUT, [WIDE] * DEPTH, RELU, weight_variance=2.0), np.arange(DEPTH + 1) / WIDE
    limit = theory[0].limit_covariance[0, 0]
    for neurons, colour in zip((1, 2, 4, 8), plt.colormaps["plasma"](np.linspace(0.0, 0.8, 4)), strict=True):
        couplings = [layer.couplings(neurons=neurons) for layer in theory]
        axes.plot(place, [1.0 / c.g[0, 0] / limit for c in couplings], color=colour, label=f"1/g, m = {neurons}")
        axes.plot(place, [c.covariance()[0, 0] / limit for c in couplings], ":", color=colour)
    axes.set(xlabel="depth/width", ylabel="1/g, dotted: covariance, over its limit", title="ReLU, m of 4000 kept")
    axes.legend()


def main() -> None:
    """Sample, compare and draw."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    layers, colours = np.arange(DEPTH + 1), plt.colormaps["viridis"](np.linspace(0.0, 0.8, len(WIDTHS)))
    for activation, marker, style in ((RELU, "o", "k-"), (TANH, "s", "k--")):
        options = {"weight_variance": critical(activation).weight_variance}
        for width, colour in zip(WIDTHS, colours, strict=True):
            found = kurtosis(activation, width)
            theory = [each.excess_kurtosis[0] for each in propagate(INPUT, [width] * DEPTH, activation, **options)]
            left.plot(layers / width, found, marker, color=colour, ms=4, label=f"{activation}, n = {width}")
            print(f"{activation!s:5} n {width:4}: kurtosis of the last layer {found[-1]:.3f}, theory {theory[-1]:.3f}")
            left.plot(layers / width, theory, style)
    left.plot(r := np.linspace(0, 0.2, 50), 3.0 * np.expm1(5.0 * r), "k:", label="relu, all orders in depth/width")
    left.set(xlabel="depth/width", ylabel="excess kurtosis of a unit; lines: theory", xlim=(0, 0.2), ylim=(0, 4))
    left.legend(fontsize=7)
    flow(right)
    figure.savefig("32_preactivations.png", dpi=100)


if __name__ == "__main__":
    main()
