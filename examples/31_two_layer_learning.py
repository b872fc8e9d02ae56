"""Learning the first layer of a two-layer network with a known head: matrix VAMP, its state evolution, and L-BFGS.

``python examples/31_two_layer_learning.py`` learns from more and more samples; the test error over the variance of the
noise, 1 for a known network, goes to ``31_two_layer_learning.png``. MAP is the most probable weights, by SciPy.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize
from tqdm.auto import tqdm

from models import GaussianRows, Head, MatrixVAMP, marchenko_pastur, matrix_state_evolution

UNITS, INPUTS, SAMPLES, TEST_SAMPLES, SEEDS = 4, 100, (200, 500, 1000, 2000), 10_000, 5
PRIOR = GaussianRows(np.eye(UNITS))


def most_probable(head: Head, X: np.ndarray, Y: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The weights of least energy that L-BFGS finds."""
    V, y = head.scaled_weights, head.scaled(Y)

    def energy(flat: np.ndarray) -> tuple[float, np.ndarray]:
        W = flat.reshape(start.shape)
        Z = X @ W
        rest = head.activation(Z) @ V - y
        gradient = X.T @ ((rest @ V.T) * head.activation.derivative(Z)) + W
        return 0.5 * float(np.sum(rest**2) + np.sum(W**2)), gradient.ravel()

    return minimize(energy, start.ravel(), jac=True, method="L-BFGS-B").x.reshape(start.shape)


def errors(samples: int, seed: int) -> tuple[float, float, float]:
    """Test errors over the noise of a random network: matrix VAMP, its state evolution, MAP."""
    rng = np.random.default_rng([seed, samples])
    W, V = rng.standard_normal((INPUTS, UNITS)), rng.standard_normal(UNITS)
    X, X_test = (rng.standard_normal((n, INPUTS)) / INPUTS**0.5 for n in (samples, TEST_SAMPLES))
    head = Head(V, "relu", noise=np.var(Head(V, "relu", noise=1.0)(X_test @ W)) / 10)
    Y, start = head.sample(X @ W, rng), 0.1 * PRIOR.sample(INPUTS, rng)
    spectrum = marchenko_pastur(samples, INPUTS)
    theory = matrix_state_evolution(PRIOR, head, spectrum, samples=samples, inputs=INPUTS).test_error[-1]
    learned, mode = MatrixVAMP(PRIOR, X, head).infer(Y, start=start), most_probable(head, X, Y, start)
    off = [np.mean((each - head(X_test @ W)) ** 2) for each in (learned.predict(X_test), head(X_test @ mode))]
    return 1.0 + off[0] / head.noise[0], float(theory), 1.0 + off[1] / head.noise[0]


def main() -> None:
    """Print and draw medians over random networks."""
    rows = [np.median([errors(n, seed) for seed in range(SEEDS)], axis=0) for n in tqdm(SAMPLES, leave=False)]
    figure, axes = plt.subplots(figsize=(6, 4.2), layout="constrained")
    curves = dict(zip(("matrix VAMP", "state evolution", "MAP by L-BFGS"), np.transpose(rows), strict=True))
    for (label, curve), style in zip(curves.items(), ("o-", "k--", "s-"), strict=True):
        axes.plot(SAMPLES, curve, style, label=label)
        print(f"{label:16}" + "".join(f"{value:8.3f} ({n} samples)" for n, value in zip(SAMPLES, curve, strict=True)))
    axes.set(xticks=SAMPLES, xlabel="training samples", ylabel="test error / noise, median", title="ReLU, 10 dB")
    axes.legend()
    figure.savefig("31_two_layer_learning.png", dpi=110)


if __name__ == "__main__":
    main()
