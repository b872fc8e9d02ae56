"""How much the errors jump from batch to batch in the last epoch, class by class, and what averaging a layer changes.

``python tests/benchmarks/jumps.py DATASET DATA [EPOCHS]`` trains 784-501-501-10 with the default settings on the first
50 000 samples and measures on the next 5000; DATA is the folder with the files of the data sets.
"""

import sys

import numpy as np

from deepnet import Config
from deepnet.data import load_dataset
from deepnet.predict import error_percent, log_loss, predict_bayes
from deepnet.train import init, train_epoch

EVERY = 40  # batches between two measurements
SHARE = 0.01  # of the newest means in the running ones


def main(name: str, folder: str, epochs: int) -> None:
    """Print a row for each measurement of the last epoch, then one for each average."""
    data = load_dataset(name, data_dir=folder)
    x, y = data.x_train[:50_000], data.y_train[:50_000]
    held, labels = data.x_train[50_000:55_000], data.y_train[50_000:55_000]
    network = init(Config(hidden=(501, 501), epochs=epochs), x.shape[1], data.classes)
    averages: list[np.ndarray] = []
    batches = 0

    def report(what: str) -> None:
        found = predict_bayes(network.layers, held, network.operations)
        each = " ".join(f"{100 * np.mean(found[labels == c] != c):5.1f}" for c in range(data.classes))
        loss = log_loss(network.layers, held, labels, network.operations)
        print(f"{what:>20}  {error_percent(found, labels):6.2f}  {loss:.4f}  {each}", flush=True)

    def after_batch(_: int) -> None:
        nonlocal batches
        batches += 1
        means = [layer.state()["mean"] for layer in network.layers]
        if not averages:
            averages.extend(mean.copy() for mean in means)
        for average, mean in zip(averages, means, strict=True):
            average += SHARE * (mean - average)
        if batches % EVERY == 0:
            report(f"batch {batches}")

    for _ in range(epochs - 1):
        train_epoch(network, x, y)
    print(f"{'':>20}   error    loss  of each class")
    train_epoch(network, x, y, after_batch)
    for number in reversed(range(len(averages))):
        layer = network.layers[number]
        layer.restore({**layer.state(), "mean": averages[number]})
        report(f"average of {len(averages) - number}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 3)
