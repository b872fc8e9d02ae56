"""What coupled replicas do to errors and to the flatness of the training error.

``python tests/benchmarks/focusing.py DATASET DATA [EPOCHS]`` trains 784-101-101-10 with seeds 0 to 2 and each number of
replicas and coupling of ``COUPLED``, and prints means and deviations of the test errors in percent, pointwise and
Bayesian, of the log loss, and of the local energy δE(p), how much the error of the first 10 000 training samples rises
in percent if every weight is flipped with probability p; DATA is the folder with the files of the data sets.
"""

import sys

import numpy as np

from deepnet import Config
from deepnet.data import load_dataset
from deepnet.flatness import local_energy
from deepnet.metrics import measure
from deepnet.train import init, train_epoch

#: y and γ.
COUPLED = ((1, 1.0), (3, 0.5), (3, 1.0), (10, 1.0))

FLIPPED = (0.05, 0.1, 0.2)
SAMPLES = 10_000


def main(name: str, folder: str, epochs: int) -> None:
    """Print a row for each number of replicas and coupling."""
    data = load_dataset(name, data_dir=folder)
    heads = ["pointwise", "Bayesian", "log loss", *(f"δE({p})" for p in FLIPPED)]
    print(f"{'y':>3} {'γ':>4}  " + "".join(f"{head:>18}" for head in heads), flush=True)
    for replicas, coupling in COUPLED:
        rows = []
        for seed in range(3):
            config = Config(hidden=(101, 101), epochs=epochs, seed=seed, replicas=replicas, coupling=coupling)
            network = init(config, data.features, data.classes)
            for _ in range(epochs):
                train_epoch(network, data.x_train, data.y_train)
            found = measure(network, data.x_test, data.y_test)
            some = data.x_train[:SAMPLES], data.y_train[:SAMPLES]
            rises = local_energy(network, *some, FLIPPED, repeats=5, rng=np.random.default_rng(seed))
            rows.append([found["error"], found["bayes_error"], found["log_loss"], *(rise.mean for rise in rises)])
        each = zip(np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1), strict=True)
        print(f"{replicas:>3} {coupling:>4}  " + "".join(f"{mean:10.3f} ± {one:.3f}" for mean, one in each), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 3)
