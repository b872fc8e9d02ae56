"""Small networks in the middle of training, for sweeps to be compared on."""

import numpy as np

from deepnet.lower import lower
from deepnet.network import perceptron
from deepnet.sweep import Update, initial_layers

#: Sums of a few hundred float32 terms, through two batches.
FLOAT32_SWEEP = 2e-3

KINDS = {
    "binary-sign": {"weights": "binary", "activation": "sign", "eps_init": 1.0},
    "binary-relu": {"weights": "binary", "activation": "relu", "eps_init": 0.6},
    "continuous-sign": {"weights": "continuous", "activation": "sign", "eps_init": 1.0},
    "continuous-relu": {"weights": "continuous", "activation": "relu", "eps_init": 0.5},
    "mixed-sign": {"weights": ["binary", "continuous", "binary"], "activation": "sign", "eps_init": 1.0},
}


def problem(
    kind, closure, *, output="sign", bias=False, density=1.0, seed=0, dtype=np.float64, widths=(6, 5, 4), samples=4
):
    """Layers, two batches of data, and updates with different numbers in every layer."""
    rng = np.random.default_rng(seed)
    outputs = 3 if output == "argmax" else 2
    options = dict(KINDS[kind])
    eps_init = options.pop("eps_init")
    model = perceptron([*widths, outputs], output=output, bias=bias, density=density, rng=rng, **options)
    layers = initial_layers(lower(model, closure), eps_init=eps_init, rng=rng, dtype=dtype)
    batches = []
    for _ in range(2):
        x = rng.standard_normal((widths[0], samples)).astype(dtype)
        signs = rng.choice([-1.0, 1.0], (2, samples)).astype(dtype)
        labels = rng.integers(0, 3, samples) if output == "argmax" else signs
        batches.append((x, labels))
    updates = [
        Update(rho=0.95, damping=0.3, beta=0.7, reinforcement=0.2),
        Update(rho=1.0, damping=0.1, beta=1.2, reinforcement=0.1),
        Update(rho=0.9, damping=0.5, beta=0.8, reinforcement=0.0),
    ]
    return layers, batches, updates
