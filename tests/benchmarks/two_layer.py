"""Learning the first layer of a two-layer network with a known head: matrix VAMP, gradient methods, state evolution.

``python tests/benchmarks/two_layer.py`` runs all of them on the same data from the same initial weights, and draws
the test error over the noise's variance, 1 for a known network, into ``two_layer.png``. Finished runs
are kept in ``two_layer.jsonl`` and not repeated. Adam is left out where PyTorch is not installed.
"""

import argparse
import importlib.util
import itertools
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator
from scipy.optimize import minimize
from tqdm.auto import tqdm

from models import GaussianRows, Head, MatrixVAMP, matrix_state_evolution

UNITS, TEST_SAMPLES, NODES = 4, 10_000, 27
RESULTS = Path("two_layer.jsonl")
NAMES = {"vamp": "matrix VAMP", "evolution": "state evolution", "lbfgs": "MAP by L-BFGS", "adam": "Adam"}
PRIOR = GaussianRows(np.eye(UNITS))


class Problem(NamedTuple):
    """A network with standard normal weights, its data, and the weights to begin with."""

    head: Head
    X: np.ndarray
    Y: np.ndarray
    X_test: np.ndarray
    clean: np.ndarray
    start: np.ndarray

    def error(self, predicted: np.ndarray) -> float:
        """Squared test error over the variance of the noise."""
        return 1.0 + float(np.mean((predicted - self.clean) ** 2) / self.head.noise[0])


def problem(activation: str, decibel: float, samples: int, inputs: int, seed: int) -> Problem:
    """Inputs N(0, 1/inputs); noise so many decibel below the variance of the output."""
    rng = np.random.default_rng([seed, samples, round(decibel)])
    weights, output = rng.standard_normal((inputs, UNITS)), rng.standard_normal(UNITS)
    X, X_test = (rng.standard_normal((n, inputs)) / inputs**0.5 for n in (samples, TEST_SAMPLES))
    power = np.var(Head(output, activation, noise=1.0)(X_test @ weights))
    head = Head(output, activation, noise=power / 10 ** (decibel / 10))
    start = 0.1 * PRIOR.sample(inputs, rng)
    return Problem(head, X, head.sample(X @ weights, rng), X_test, head(X_test @ weights), start)


def lbfgs(p: Problem) -> np.ndarray:
    """The most probable weights by SciPy."""
    W, y = p.head.scaled_weights, p.head.scaled(p.Y)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(p.start.shape)
        Z = p.X @ w
        rest = p.head.activation(Z) @ W - y
        gradient = p.X.T @ ((rest @ W.T) * p.head.activation.derivative(Z)) + w
        return 0.5 * float(np.sum(rest**2) + np.sum(w**2)), gradient.ravel()

    found = minimize(objective, p.start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 2000, "maxfun": 4000})
    return found.x.reshape(p.start.shape)


def adam(p: Problem, steps: int = 600, rate: float = 0.05) -> np.ndarray:
    """The same objective by Adam on all samples at once."""
    import torch  # pyright: ignore[reportMissingImports]

    X, y, W = (torch.tensor(a) for a in (p.X, p.head.scaled(p.Y), p.head.scaled_weights))
    w = torch.tensor(p.start, requires_grad=True)
    activation = {"relu": torch.relu, "sigmoid": torch.sigmoid}[p.head.activation.name]
    optimiser = torch.optim.Adam([w], lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = 0.5 * (((activation(X @ w) @ W - y) ** 2).sum() + (w**2).sum())
        loss.backward()
        optimiser.step()
    return w.detach().numpy()


def run(activation: str, decibel: float, samples: int, inputs: int, seed: int) -> dict[str, Any]:
    """Test errors of all methods on one problem."""
    p = problem(activation, decibel, samples, inputs, seed)
    model = MatrixVAMP(PRIOR, p.X, p.head)
    begin = time.perf_counter()
    result = model.infer(p.Y, start=p.start, nodes=NODES, tolerance=1e-3)
    seconds = time.perf_counter() - begin
    spectrum = model.matrix.s**2
    evolution = matrix_state_evolution(PRIOR, p.head, spectrum, samples=samples, inputs=inputs, nodes=NODES)
    record = {
        "vamp": p.error(result.predict(p.X_test)),
        "evolution": float(evolution.test_error[-1]),
        "lbfgs": p.error(p.head(p.X_test @ lbfgs(p))),
        "status": result.status,
        "iterations": result.iterations,
        "seconds": round(seconds, 3),
    }
    if importlib.util.find_spec("torch") is not None:
        record["adam"] = p.error(p.head(p.X_test @ adam(p)))
    return record


def finished() -> dict[tuple[Any, ...], dict[str, Any]]:
    """Runs in the file of results; a line that a kill has cut off is not one."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    return {tuple(r["run"]): r for r in map(json.loads, (line for line in lines if line.endswith("}")))}


def main() -> None:
    """Run what is not finished, print medians and means, draw."""
    parser = argparse.ArgumentParser(description="Learning the first layer of a two-layer network.")
    parser.add_argument("--runs", type=int, default=20, help="networks a point")
    parser.add_argument("--inputs", type=int, default=100, help="input units")
    parser.add_argument("--samples", type=int, nargs="+", default=[200, 500, 1000, 2000, 4000], help="training samples")
    parser.add_argument("--decibel", type=float, nargs="+", default=[10.0, 15.0], help="signal to noise")
    arguments = parser.parse_args()
    panels = list(itertools.product(["sigmoid", "relu"], arguments.decibel))
    done = finished()
    keys: list[Any] = [
        (activation, decibel, samples, arguments.inputs, seed)
        for samples in arguments.samples
        for seed in range(arguments.runs)
        for activation, decibel in panels
    ]
    with RESULTS.open("a", encoding="utf-8") as file:
        for key in tqdm([key for key in keys if key not in done], desc="runs"):
            done[key] = {"run": key, **run(*key)}
            file.write(json.dumps(done[key]) + "\n")
            file.flush()
    arguments.samples.sort()
    figure, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels), 4.2), layout="constrained")
    print("activation dB samples converged | median (mean) of " + ", ".join(NAMES.values()))
    for place, (activation, decibel) in zip(np.atleast_1d(axes), panels, strict=True):
        records = [[done[k] for k in keys if k[:3] == (activation, decibel, n)] for n in arguments.samples]
        for (name, label), style in zip(NAMES.items(), ("o-", "k--", "s-", "^-"), strict=True):
            points = [[r[name] for r in column if name in r] for column in records]
            if all(points):
                median = [np.median(values) for values in points]
                (line,) = place.plot(arguments.samples, median, style, label=label, ms=5)
                mean = [np.mean(values) for values in points]
                place.plot(arguments.samples, mean, ":", color=line.get_color(), lw=1.0)
        place.axhline(1.0, color="gray", lw=0.8)
        place.set(xscale="log", yscale="log", xlabel="training samples", title=f"{activation}, {decibel:g} dB")
        place.set_xticks(arguments.samples, [str(n) for n in arguments.samples])
        place.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 7.0)))
        place.yaxis.set_major_formatter("{x:g}")
        place.minorticks_off()
        for n, column in zip(arguments.samples, records, strict=True):
            numbers = [
                f"{np.median([r[name] for r in column]):.3f} ({np.mean([r[name] for r in column]):.3f})"
                for name in NAMES
                if all(name in r for r in column)
            ]
            converged = sum(r["status"] == "converged" for r in column)
            print(f"{activation:8} {decibel:g} {n:5} {converged:3}/{len(column)} | " + "  ".join(numbers))
    first = np.atleast_1d(axes)[0]
    first.set_ylabel("test error / noise, median (dotted: mean)")
    first.legend(fontsize=8)
    figure.savefig("two_layer.png", dpi=95)


if __name__ == "__main__":
    main()
