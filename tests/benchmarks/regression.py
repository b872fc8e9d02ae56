"""Regression with a mean and a deviation for every target, beside scikit-learn's linear, neural and Gaussian processes.

``python tests/benchmarks/regression.py`` compares them by cross-validation on the diabetes data and on three synthetic
sets, one of them with noise that depends on the input. Printed are root mean square error and log likelihood of
held-out targets, both for targets of unit variance.
"""

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import norm
from sklearn.datasets import load_diabetes, make_friedman1
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import BayesianRidge
from sklearn.model_selection import KFold, train_test_split
from sklearn.neural_network import MLPRegressor
from tqdm.auto import tqdm

from deepnet import MessagePassingRegressor

#: Means and deviations of the targets of new inputs, from inputs and targets, all of unit variance.
Method = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def message_passing(X: np.ndarray, y: np.ndarray, X_new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A network of two layers of 50 rectified units, with the regressor's other defaults: stopped early, too."""
    return MessagePassingRegressor(random_state=0).fit(X, y).predict(X_new, return_std=True)


def bayesian_ridge(X: np.ndarray, y: np.ndarray, X_new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A linear model."""
    model: Any = BayesianRidge().fit(X, y)
    return model.predict(X_new, return_std=True)


def gaussian_process(X: np.ndarray, y: np.ndarray, X_new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A kernel with a length for each feature and white noise, fitted by the marginal likelihood."""
    lengths: Any = np.ones(X.shape[1])
    model: Any = GaussianProcessRegressor(ConstantKernel() * RBF(lengths) + WhiteKernel(), random_state=0)
    return model.fit(X, y).predict(X_new, return_std=True)


def perceptron(X: np.ndarray, y: np.ndarray, X_new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same network by Adam, stopped early, with the deviation of a tenth of the samples that it has not seen."""
    parts: Any = train_test_split(X, y, test_size=0.1, random_state=0)
    X_fit, X_held, y_fit, y_held = parts
    options = {"hidden_layer_sizes": (50, 50), "learning_rate_init": 0.003, "n_iter_no_change": 30}
    network: Any = MLPRegressor(**options, early_stopping=True, max_iter=2000, random_state=0).fit(X_fit, y_fit)
    return network.predict(X_new), np.full(len(X_new), np.sqrt(np.mean((network.predict(X_held) - y_held) ** 2)))


METHODS: dict[str, Method] = {
    "message passing": message_passing,
    "Bayesian ridge": bayesian_ridge,
    "perceptron (Adam)": perceptron,
    "Gaussian process": gaussian_process,
}


def data_sets() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Inputs (samples, features) and targets (samples,)."""
    rng = np.random.default_rng(0)
    x, u = rng.uniform(-3, 3, (300, 1)), rng.uniform(-2, 2, (400, 1))
    deviation = 0.05 + 0.4 * np.maximum(u[:, 0], 0.0)
    diabetes: Any = load_diabetes(return_X_y=True)
    return {
        "diabetes": diabetes,
        "Friedman 1": make_friedman1(400, noise=1.0, random_state=0),
        "sine": (x, np.sin(2 * x[:, 0]) + 0.1 * rng.standard_normal(300)),
        "uneven noise": (u, u[:, 0] ** 2 + deviation * rng.standard_normal(400)),
    }


def standardised(fitting: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values in units of the deviation of those to fit, from their mean."""
    return (values - fitting.mean(axis=0)) / fitting.std(axis=0)


def scores(method: Method, X: np.ndarray, y: np.ndarray, folds: int) -> tuple[float, float]:
    """Root mean square error and mean log likelihood of the targets that are held out in turn."""
    squares, densities = [], []
    for fitting, held in KFold(folds, shuffle=True, random_state=0).split(X):
        X_fit, X_held = standardised(X[fitting], X[fitting]), standardised(X[fitting], X[held])
        y_fit, y_held = standardised(y[fitting], y[fitting]), standardised(y[fitting], y[held])
        mean, std = method(X_fit, y_fit, X_held)
        squares.append(np.mean((mean - y_held) ** 2))
        densities.append(norm.logpdf(y_held, mean, std).mean())
    return float(np.sqrt(np.mean(squares))), float(np.mean(densities))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Compare regressors by cross-validation.")
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # a bound of a kernel that is of no account
    sets = data_sets()
    with tqdm(total=len(METHODS) * len(sets), desc="fits", leave=False) as bar:
        rows = [f"{'':20}" + "".join(f"{name:>18}" for name in sets)]
        for label, method in METHODS.items():
            row = f"{label:20}"
            for X, y in sets.values():
                error, density = scores(method, X, y, arguments.folds)
                row += f"{error:10.3f}{density:+8.3f}"
                bar.update()
            rows.append(row)
    print("\n".join(rows))


if __name__ == "__main__":
    main()
