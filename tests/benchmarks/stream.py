"""A long stream of permuted-MNIST tasks, one epoch each, learnt by 784-501-501-10 without being told where one ends.

``python tests/benchmarks/stream.py DATA OUT [TASKS [SEED]]`` appends a row to OUT/stream.csv after every task: accuracy
on every fifth test sample of the newest task and of the four before it, in percent, Bayesian; and polarisation and
share of the prior variance that is left, layer by layer. It goes on where it was stopped; DATA is the folder with
MNIST.
"""

import csv
import sys
from pathlib import Path

import numpy as np

from deepnet import Config
from deepnet.data.tasks import TaskSequence, load_data
from deepnet.metrics import measure
from deepnet.train import init, train_epoch

RECENT = 5
EVERY = 5


def main(folder: str, out: str, *numbers: str) -> None:
    """Learn what is left of the tasks."""
    tasks, seed = (*map(int, numbers), *(100, 0)[len(numbers) :])
    place = Path(out)
    place.mkdir(parents=True, exist_ok=True)
    sequence = load_data("mnist", task="multiclass", tasks=f"permuted:{tasks}", data_dir=folder, dtype="float32")
    assert isinstance(sequence, TaskSequence)
    config = Config(hidden=(501, 501), epochs=1, memory="covariance", preset="stream", seed=seed)
    network, kept = init(config, sequence[0].features, sequence.classes), place / "network.npz"
    if kept.exists():
        with np.load(kept) as saved:
            network.restore(saved, int(saved["epoch"]))
    for number in range(network.epoch, tasks):
        data = sequence[number]
        train_epoch(network, data.x_train, data.y_train, since=network.epoch)
        recent = [sequence[each] for each in range(number, max(-1, number - RECENT), -1)]
        errors = [measure(network, each.x_test[::EVERY], each.y_test[::EVERY])["bayes_error"] for each in recent]
        accuracies = [100.0 - error for error in errors]
        state = network.arrays()
        left = [1.0 - float(np.mean(np.diag(state[f"{layer.plan.name}.measured"]))) for layer in network.layers]
        row = [number, *accuracies, *[""] * (RECENT - len(recent)), np.mean(accuracies)]
        row += [layer.polarization() for layer in network.layers] + left
        with (place / "stream.csv").open("a", newline="") as file:
            csv.writer(file).writerow([f"{each:.4g}" if isinstance(each, float) else each for each in row])
        np.savez(kept, epoch=network.epoch, **state)  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    main(*sys.argv[1:])
