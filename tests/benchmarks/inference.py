"""An iteration of AMP and of VAMP beside their products, and state evolution, with tramp in the same run.

``python tests/benchmarks/inference.py [--tramp PYTHON CHECKOUT]``, on one thread (OPENBLAS_NUM_THREADS=1). PYTHON is
that of an environment where tramp runs (networkx 1.11 and SciPy), CHECKOUT its sources.
"""

import argparse
import subprocess
import time

import numpy as np

from factorgraph import Spectral
from factorgraph.channels import Identity, ReLU, Sign
from factorgraph.priors import Binary, GaussBernoulli
from models import Ensemble, MultiLayerGLM, state_evolution

N = 2000
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


def iteration(model: Ensemble, mean_square: float | None, closure: str = "amp") -> tuple[float, float]:
    """Seconds of an iteration and of its products, W x and Wᵀ g or four with U and V: medians of nine runs in turn."""
    sample = model.sample(N, 0)
    weights = [Spectral.of(W) for W in sample.weights] if closure == "vamp" else sample.weights
    glm = MultiLayerGLM(model.prior, weights, model.channels, mean_square=mean_square)
    vectors = [(np.ones((W.shape[1], 1)), np.ones((W.shape[0], 1))) for W in sample.weights]
    options = {"damping": 0.0, "tolerance": 0.0, "closure": closure}
    glm.infer(sample.y, iterations=3, **options)
    times, products = [], []
    for _ in range(9):
        start = time.perf_counter()
        glm.infer(sample.y, iterations=5, **options)
        middle = time.perf_counter()
        glm.infer(sample.y, iterations=25, **options)
        end = time.perf_counter()
        for W, (x, g) in list(zip(weights, vectors, strict=True)) * 20:
            if isinstance(W, Spectral):
                W.right_transposed(W.right(x))
                W.left(W.left_transposed(g))
            else:
                W @ x
                W.T @ g
        times.append((end - middle - (middle - start)) / 20)
        products.append((time.perf_counter() - end) / 20)
    return float(np.median(times)), float(np.median(products))


def main() -> None:
    """Print one line per case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tramp", nargs=2, metavar=("PYTHON", "CHECKOUT"))
    arguments = parser.parse_args()
    for name, model in (("sparse regression", SPARSE), ("ReLU decoder", DECODER), ("sign perceptron", PERCEPTRON)):
        for squares, mean_square in (("exact squares", None), ("mean square", 1 / N)):
            own, products = iteration(model, mean_square)
            ratio = f"{1e3 * own:.2f} ms, products {1e3 * products:.2f} ms, ratio {own / products:.2f}"
            print(f"{name}, {squares}: iteration {ratio}", flush=True)
    for name, model in (("sparse regression", SPARSE), ("ReLU decoder", DECODER)):
        own, products = iteration(model, None, "vamp")
        ratio = f"{1e3 * own:.2f} ms, products {1e3 * products:.2f} ms, ratio {own / products:.2f}"
        print(f"{name}, VAMP: iteration {ratio}", flush=True)
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
