"""An iteration of AMP beside its products, and state evolution, with tramp in the same run.

``python tests/benchmarks/inference.py [--tramp PYTHON CHECKOUT]``, on one thread (OPENBLAS_NUM_THREADS=1). PYTHON is
that of an environment where tramp runs (networkx 1.11 and SciPy), CHECKOUT its sources.
"""

import argparse
import subprocess
import time

import numpy as np

from factorgraph.channels import Identity, ReLU, Sign
from factorgraph.priors import Binary, GaussBernoulli
from models import Ensemble, MultiLayerGLM, state_evolution

N, ROUNDS = 2000, 15
SPARSE = Ensemble(GaussBernoulli(0.2), [Identity(1e-4)], [0.6])
DECODER = Ensemble(GaussBernoulli(0.3), [ReLU(), Identity(1e-2)], [1.0, 1.0])
PERCEPTRON = Ensemble(Binary(), [Sign()], [1.2])
SIGNS = Ensemble(Binary(), [Sign(), Sign()], [1.0, 1.0])

TRAMP = """
import sys, time
import numpy as np
sys.path.insert(0, sys.argv[1])
from tramp.algos import ExpectationPropagation, StateEvolution
from tramp.channels import GaussianChannel, LinearChannel, MarchenkoPasturChannel, ReluChannel, SgnChannel
from tramp.priors import BinaryPrior, GaussBernoulliPrior
from tramp.variables import SILeafVariable as O, SISOVariable as V
rng, n = np.random.default_rng(0), 2000
never = lambda *arguments: False
def clock(name, build, y, iterations=20):
    start = time.perf_counter()
    ep = ExpectationPropagation(build().to_model().to_observed({"y": y}))
    setup = time.perf_counter() - start
    ep.iterate(max_iter=2, callback=never)
    start = time.perf_counter()
    ep.iterate(max_iter=iterations, callback=never)
    each = 1e3 * (time.perf_counter() - start) / iterations
    print(f"tramp {name}: set-up {setup:.2f} s, iteration {each:.2f} ms", flush=True)
x = rng.standard_normal(n) * (rng.random(n) < 0.2)
W = rng.standard_normal((1200, n)) / n**0.5
clock("sparse regression", lambda: GaussBernoulliPrior(size=n, rho=0.2) @ V("x") @ LinearChannel(W) @ V("z")
      @ GaussianChannel(var=1e-4) @ O("y"), W @ x + 0.01 * rng.standard_normal(1200))
layer = MarchenkoPasturChannel
model = BinaryPrior(size=None) @ V("x") @ layer(alpha=1.0) @ V("z") @ SgnChannel() @ V("h") @ layer(alpha=1.0) @ V("u")
se = StateEvolution((model @ SgnChannel() @ O("y")).to_model().to_observed({"y": None}))
start = time.perf_counter()
se.iterate(max_iter=2, callback=never)
print(f"tramp state evolution of two sign layers: {(time.perf_counter() - start) / 2:.2f} s an iteration", flush=True)
"""


def iteration(model: Ensemble, mean_square: float | None) -> tuple[float, float, float]:
    """Seconds of an iteration and of one product W x and one Wᵀ g a layer, and their ratio: medians of rounds in turn.

    With exact squared entries an iteration has twice as many products, with W² too; only the former are counted.
    """
    sample = model.sample(N, 0)
    glm = MultiLayerGLM(model.prior, sample.weights, model.channels, mean_square=mean_square)
    vectors = [(np.ones((W.shape[1], 1)), np.ones((W.shape[0], 1))) for W in sample.weights]
    glm.infer(sample.y, damping=0.0, iterations=3, tolerance=0.0)
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        glm.infer(sample.y, damping=0.0, iterations=5, tolerance=0.0)
        middle = time.perf_counter()
        glm.infer(sample.y, damping=0.0, iterations=25, tolerance=0.0)
        end = time.perf_counter()
        for W, (x, g) in list(zip(sample.weights, vectors, strict=True)) * 20:
            W @ x
            W.T @ g
        own, products = (end - middle - (middle - start)) / 20, (time.perf_counter() - end) / 20
        times.append((own, products, own / products))
    own, products, ratio = np.median(times, axis=0)
    return float(own), float(products), float(ratio)


def main() -> None:
    """Print one line per case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tramp", nargs=2, metavar=("PYTHON", "CHECKOUT"))
    arguments = parser.parse_args()
    for name, model in (("sparse regression", SPARSE), ("ReLU decoder", DECODER), ("sign perceptron", PERCEPTRON)):
        for squares, mean_square in (("exact squares", None), ("mean square", 1 / N)):
            own, products, ratio = iteration(model, mean_square)
            text = f"iteration {1e3 * own:.2f} ms, products {1e3 * products:.2f} ms, ratio {ratio:.2f}"
            print(f"{name}, {squares}: {text}", flush=True)
    state_evolution(SIGNS, iterations=2)
    start = time.perf_counter()
    result = state_evolution(SIGNS)
    seconds = time.perf_counter() - start
    print(
        f"state evolution of two sign layers: {seconds:.2f} s, {len(result.mse)} iterations, {result.message}",
        flush=True,
    )
    if arguments.tramp:
        python, checkout = arguments.tramp
        subprocess.run([python, "-c", TRAMP, checkout], check=True)


if __name__ == "__main__":
    main()
