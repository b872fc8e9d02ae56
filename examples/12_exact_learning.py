"""Networks small enough to be learned exactly: posteriors of ±1 weights by enumeration, and by messages.

A perceptron has 2^9 states, a committee machine of three units 2^15 with its output weights. Run it with
``python examples/12_exact_learning.py``; the figure goes to ``12_exact_learning.png`` in the current folder.
"""

import itertools

import matplotlib.pyplot as plt
import numpy as np

from deepnet.network import perceptron
from factorgraph import exact, infer

NETWORKS = {"perceptron": [9, 1], "committee": [4, 3, 1]}
COUNTS = [1, 2, 4, 8]
TEACHERS = 5


def means(widths: list[int], samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means of the first weights, exact and by messages, given the labels of a random teacher."""
    rng = np.random.default_rng(seed)
    model = perceptron(widths)
    shapes = {f"W{i}": (outputs, inputs) for i, (inputs, outputs) in enumerate(itertools.pairwise(widths))}
    # Random leanings tell the units of a committee apart, which could change places; its output weights lean to +1.
    fields = {name: (0.3 if name == "W0" else 1.0) * np.abs(rng.standard_normal(n)) for name, n in shapes.items()}
    x = signal = rng.standard_normal((widths[0], samples))
    for shape in shapes.values():
        signal = np.sign(rng.choice([-1.0, 1.0], shape) @ signal)
    observed = {"x0": x, "y": signal}
    truth = exact(model, observed=observed, fields=fields)
    found = infer(model, observed=observed, fields=fields, schedule="forward-backward", damping=0.5, max_sweeps=100)
    return truth["W0"].mean.ravel(), found["W0"].mean.ravel()


def main() -> None:
    """Compare weight by weight, and as the samples grow in number."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for place, (name, widths) in zip(axes, NETWORKS.items(), strict=False):
        errors = []
        for samples in COUNTS:
            pairs = np.concatenate([means(widths, samples, seed) for seed in range(TEACHERS)], axis=1)
            errors.append(np.abs(pairs[0] - pairs[1]).mean())
            place.plot(*pairs, ".", ms=4, label=f"{samples} samples")
        place.plot([-1, 1], [-1, 1], ":", color="gray")
        place.set(title=f"{name} {'-'.join(map(str, widths))}", xlabel="exact mean of a weight", ylabel="by messages")
        axes[2].plot(COUNTS, errors, "o-", label=name)
        print(f"{name}: mean error {errors[0]:.3f} of a weight after {COUNTS[0]}, {errors[-1]:.3f} after {COUNTS[-1]}")
    axes[2].set(title="Against enumeration", xlabel="samples", ylabel="mean absolute error")
    for place in axes:
        place.legend(fontsize=8)
        place.grid(alpha=0.3)
    figure.savefig("12_exact_learning.png", dpi=150)


if __name__ == "__main__":
    main()
