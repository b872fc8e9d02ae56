"""Regression with a mean and a deviation for every target: a network trained by messages beside a Gaussian process.

``python examples/03_regression.py`` learns two curves from samples of them, one with noise that grows with the input,
which the Gaussian process takes for even. The bands are two deviations; the figure goes to ``03_regression.png``.
"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from tqdm.auto import tqdm

from deepnet import MessagePassingRegressor

EPOCHS, SAMPLES = 300, 300


def curves() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Inputs (samples, 1) and targets (samples,) of unit variance."""
    rng = np.random.default_rng(0)
    x, u = rng.uniform(-3, 3, (SAMPLES, 1)), rng.uniform(-2, 2, (SAMPLES, 1))
    noise = 0.05 + 0.4 * np.maximum(u[:, 0], 0.0)
    sine, square = np.sin(2 * x[:, 0]) + 0.1 * rng.normal(size=SAMPLES), u[:, 0] ** 2 + noise * rng.normal(size=SAMPLES)
    scaled = [(y - y.mean()) / y.std() for y in (sine, square)]
    return {"sine": (x, scaled[0]), "uneven noise": (u, scaled[1])}


def main() -> None:
    """Fit both to four fifths of each curve, print how well they predict the rest, and draw them."""
    models: dict[str, Any] = {
        "message passing": MessagePassingRegressor(epochs=EPOCHS, random_state=0),
        "Gaussian process": GaussianProcessRegressor(RBF() + WhiteKernel(), random_state=0),
    }
    figure, places = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    with tqdm(total=4, desc="fits", leave=False) as bar:
        for axes, (name, (x, y)) in zip(places, curves().items(), strict=True):
            rest = np.arange(SAMPLES) % 5 == 0
            grid = np.linspace(1.3 * x.min(), 1.3 * x.max(), 300)[:, None]
            axes.plot(x, y, ".", color="gray", markersize=3)
            for (label, model), colour in zip(models.items(), ("tab:red", "tab:blue"), strict=True):
                model.fit(x[~rest], y[~rest])
                mean, deviation = model.predict(x[rest], return_std=True)
                error, density = np.sqrt(np.mean((mean - y[rest]) ** 2)), norm.logpdf(y[rest], mean, deviation).mean()
                bar.write(f"{name}, {label}: root mean square error {error:.3f}, log likelihood {density:+.3f}")
                mean, deviation = model.predict(grid, return_std=True)
                axes.plot(grid, mean, color=colour, label=label)
                axes.fill_between(grid[:, 0], mean - 2 * deviation, mean + 2 * deviation, color=colour, alpha=0.15)
                bar.update()
            axes.set(title=name, xlabel="input", ylabel="target", ylim=(-4, 4))
    places[1].legend()
    figure.savefig("03_regression.png", dpi=100)


if __name__ == "__main__":
    main()
