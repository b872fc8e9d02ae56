"""An iteration of AMP and of VAMP beside their products, and state evolution, with tramp and vampyre in the same run.

``python tests/benchmarks/inference.py CASE [--python PYTHON] [--tramp CHECKOUT] [--vampyre CHECKOUT]``, on one thread
(OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1). CASE is sparse, decoder, perceptron, evolution or phases (which takes two
processes), by default all. PYTHON is that of an environment where the peers run (networkx 1.11, SciPy, PyWavelets),
CHECKOUT their sources.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from factorgraph import Spectral
from factorgraph.channels import Identity, ReLU, Sign
from factorgraph.priors import Binary, GaussBernoulli
from models import Ensemble, MultiLayerGLM, phase_diagram, state_evolution

N, ROUNDS = 2000, 15
MODELS = {
    "sparse": Ensemble(GaussBernoulli(0.2), [Identity(1e-4)], [0.6]),
    "decoder": Ensemble(GaussBernoulli(0.3), [ReLU(), Identity(1e-2)], [1.0, 1.0]),
    "perceptron": Ensemble(Binary(), [Sign()], [1.2]),
}
SIGNS = Ensemble(Binary(), [Sign(), Sign()], [1.0, 1.0])
CASES = [*MODELS, "evolution", "phases"]
SCRIPT = Path(__file__).with_name("inference_peers.py")
PEERS = [("tramp", case) for case in ("sparse", "decoder", "evolution")]
PEERS += [("vampyre", case) for case in ("sparse", "decoder")]


def iteration(model: Ensemble, mean_square: float | None, closure: str = "amp") -> tuple[float, float, float]:
    """Seconds of an iteration and of its products, and their ratio: medians of rounds in turn.

    Products are one W x and one Wᵀ g a layer, for VAMP four with the singular vectors. With exact squared entries an
    iteration of AMP has twice as many, with W² too; only the former are counted.
    """
    sample = model.sample(N, 0)
    weights = [Spectral.of(W) for W in sample.weights] if closure == "vamp" else sample.weights
    glm = MultiLayerGLM(model.prior, weights, model.channels, mean_square=mean_square)
    vectors = [(np.ones((W.shape[1], 1)), np.ones((W.shape[0], 1))) for W in sample.weights]
    options = {"damping": 0.0, "tolerance": 0.0, "closure": closure}
    glm.infer(sample.y, iterations=3, **options)
    times = []
    for _ in range(ROUNDS):
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
        own, products = (end - middle - (middle - start)) / 20, (time.perf_counter() - end) / 20
        times.append((own, products, own / products))
    own, products, ratio = np.median(times, axis=0)
    return float(own), float(products), float(ratio)


def evolution() -> None:
    """Print the seconds of state evolution, warm."""
    state_evolution(SIGNS, iterations=2)
    start = time.perf_counter()
    result = state_evolution(SIGNS)
    seconds, count = time.perf_counter() - start, len(result.mse)
    each = f"{1e3 * seconds / count:.1f} ms an iteration"
    print(f"two sign layers: {seconds:.2f} s, {count} iterations, {result.message}; {each}", flush=True)


def biased(ratio: float, field: float) -> Ensemble:
    """A binary perceptron whose weights prefer one sign."""
    return Ensemble(Binary(field), [Sign()], [ratio])


def phases() -> None:
    """Print the seconds of a phase diagram."""
    start = time.perf_counter()
    ratios, fields = np.linspace(0.5, 2.0, 50), np.linspace(0.0, 1.0, 50)
    diagram = phase_diagram(biased, ratios, fields, workers=2, progress=False)
    shares = np.bincount(diagram.phase.ravel(), minlength=3) / diagram.phase.size
    seconds = time.perf_counter() - start
    print(f"50 x 50 points: {seconds:.0f} s; easy, hard, impossible {shares}", flush=True)


def main() -> None:
    """Print one line per case and contender."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", metavar="CASE", help="one of " + ", ".join(CASES))
    parser.add_argument("--python", default=sys.executable, help="of the peers")
    parser.add_argument("--tramp", metavar="CHECKOUT")
    parser.add_argument("--vampyre", metavar="CHECKOUT")
    arguments = parser.parse_args()
    for case in arguments.cases or CASES:
        print(f"-- {case}", flush=True)
        if case == "evolution":
            evolution()
        elif case == "phases":
            phases()
        else:
            kinds = [("AMP, exact squares", "amp", None), ("AMP, mean square", "amp", 1 / N), ("VAMP", "vamp", None)]
            for kind, closure, mean_square in kinds:
                own, products, ratio = iteration(MODELS[case], mean_square, closure)
                text = f"iteration {1e3 * own:.2f} ms, products {1e3 * products:.2f} ms, ratio {ratio:.2f}"
                print(f"{kind}: {text}", flush=True)
        for peer, checkout in (("tramp", arguments.tramp), ("vampyre", arguments.vampyre)):
            if checkout and (peer, case) in PEERS:
                subprocess.run([arguments.python, SCRIPT, peer, checkout, case], check=True)


if __name__ == "__main__":
    main()
