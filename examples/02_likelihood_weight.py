"""How much a mini-batch should count: schedules of the likelihood weight β compared on validation data.

``python examples/02_likelihood_weight.py mnist --data-dir DATA`` trains 784-501-501-10 with each schedule on 5/6
of the training set and measures the pointwise error on the rest; the figure goes to ``02_likelihood_weight.png``. This
is how the default (β from 8 to 1 and α from 0.95 to 0.99 over the run) was chosen; the paper has β = 1, α = 0.8.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

from deepnet import Config, load_dataset
from deepnet.predict import error_percent, predict_pointwise
from deepnet.train import init, train

#: β of the hidden layers and α of all layers.
CANDIDATES = [
    ("1", 0.8),
    ("8:1:0.8", 0.9),
    ("8:1:0.9", 0.95),
    ("8:1:0.1/run", 0.95),
    ("8:1:0.1/run", "0.95:0.995:0.1/run"),
]


def main() -> None:
    """Train with every candidate and draw the validation errors."""
    parser = argparse.ArgumentParser(description="Compare schedules of the likelihood weight on validation data.")
    parser.add_argument("dataset", help="digits, mnist, fashion-mnist or cifar10")
    parser.add_argument("--data-dir", help="folder of the data set")
    parser.add_argument("--epochs", type=int, default=12)
    arguments = parser.parse_args()
    data = load_dataset(arguments.dataset, data_dir=arguments.data_dir)
    order = np.random.default_rng(99).permutation(len(data.x_train))
    fitting, validation = np.split(order, [5 * len(order) // 6])
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for beta, damping in CANDIDATES:
        config = Config(epochs=arguments.epochs, rho=(1.0, 1.0, 0.9), damping=damping, beta=(beta, beta, 1.0))
        network = init(config, data.x_train.shape[1], data.classes)
        errors = []
        for _ in train(network, data.x_train[fitting], data.y_train[fitting]):
            predicted = predict_pointwise(network.layers, data.x_train[validation])
            errors.append(error_percent(predicted, data.y_train[validation]))
        print(f"beta {beta}, damping {damping}:", *(f"{error:.2f}" for error in errors), flush=True)
        axes.plot(range(1, len(errors) + 1), errors, label=f"β {beta}, α {damping}")
    axes.set(xlabel="epoch", ylabel="validation error (%)", yscale="log", title=f"{data.name}, 501-501, mean field")
    axes.legend()
    figure.savefig("02_likelihood_weight.png", dpi=150)


if __name__ == "__main__":
    main()
