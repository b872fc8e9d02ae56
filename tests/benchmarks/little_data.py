"""How good probabilities are after 100, 640 and 5000 images of MNIST: ways to train 784-501-501-10 beside each other.

``python tests/benchmarks/little_data.py DATA [OUT.csv]`` adds what is missing to the file, seed by seed, and prints the
table; DATA is the folder with the files of the data sets. Every method sees the same samples, drawn by the seed. A
fifth of them is held out: it chooses the epoch that is kept, by the log loss, and the temperature T of the columns
"calibrated", p^(1/T) normalised. TAGI, with rectified units and continuous weights, is measured where pytagi can be
imported.
"""

import csv
import importlib.util
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from deepnet import Config
from deepnet.data import load_dataset
from deepnet.metrics import class_probabilities
from deepnet.scores import class_scores
from deepnet.train import DivergenceError, init, train_epoch

EPOCHS = {100: 60, 640: 30, 5000: 10}  # at most
SEEDS = range(3)
HIDDEN = (501, 501)
CLASSES = 10
MEMBERS = 5

#: Settings that are not those of every network here.
SETTINGS: dict[str, dict[str, Any]] = {
    "fields, default": {},
    "fields, last layer ρ = .995": {"rho": (1.0, 1.0, 0.995)},
    "sites": {"memory": "sites", "preset": "adf", "damping": 0.9, "batch_size": 16},
    "covariance, β = 4, 4, 1": {"memory": "covariance", "preset": "adf", "beta": (4.0, 4.0, 1.0)},
    "BinaryNet": {"algorithm": "binarynet-cosine"},
}
TAGI = "TAGI"

#: Passes at most of methods of which one costs much, or is enough.
FEW = {"sites": 6, "covariance, β = 4, 4, 1": 8, TAGI: 6}

#: What the average is of: probabilities of networks of other seeds.
ENSEMBLES = {"5 BinaryNets": "BinaryNet", "5 of fields, default": "fields, default"}

COLUMNS: tuple[str, ...] = (
    "samples",
    "method",
    "seed",
    "error",
    "log_loss",
    "ece",
    "calibrated_loss",
    "calibrated_ece",
    "seconds",
)

#: Probabilities of held-out and of test samples.
Found = tuple[np.ndarray, np.ndarray]

#: A learner trains for an epoch at each step of the iterator that it returns, which yields what predicts as it is then.
Predict = Callable[[np.ndarray], np.ndarray]


def network(settings: dict[str, Any], seed: int, epochs: int, x: np.ndarray, y: np.ndarray) -> Iterator[Predict]:
    """Train one of ours, or a baseline."""
    config = Config(**({"hidden": HIDDEN, "batch_size": 32, "epochs": epochs, "seed": seed} | settings))
    learner = init(config, x.shape[1], CLASSES)
    for _ in range(epochs):
        try:
            train_epoch(learner, x, y)
        except DivergenceError:
            return
        kept = learner.on(learner.operations, "cpu")
        yield partial(class_probabilities, kept)


def tagi(seed: int, epochs: int, x: np.ndarray, y: np.ndarray, noise: float = 0.1, size: int = 16) -> Iterator[Predict]:
    """Train pytagi's network of rectified units and a Remax output, whose labels have so much noise."""
    pytagi, nn = importlib.import_module("pytagi"), importlib.import_module("pytagi.nn")
    pytagi.manual_seed(seed)
    rng, targets = np.random.default_rng(seed), np.eye(CLASSES, dtype=np.float32)[y]
    widths = (x.shape[1], *HIDDEN)

    def made() -> Any:
        hidden = [layer for a, b in zip(widths, HIDDEN, strict=False) for layer in (nn.Linear(a, b), nn.MixtureReLU())]
        learner = nn.Sequential(*hidden, nn.Linear(HIDDEN[-1], CLASSES), nn.Remax())
        learner.set_threads(1)
        return learner

    def predict(learner: Any, new: np.ndarray) -> np.ndarray:
        padded = np.concatenate([new, np.repeat(new[-1:], -len(new) % size, axis=0)]).astype(np.float32)
        parts = [np.array(learner(padded[i : i + size].ravel())[0]) for i in range(0, len(padded), size)]
        p = np.maximum(np.concatenate([part[: size * CLASSES] for part in parts]).reshape(-1, CLASSES), 1e-6)
        return p[: len(new)] / p[: len(new)].sum(axis=1, keepdims=True)

    learner = made()
    updater, variances = nn.OutputUpdater(learner.device), np.full(size * CLASSES, noise**2, np.float32)
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x) - size + 1, size):
            batch = order[start : start + size]
            learner(x[batch].astype(np.float32).ravel())
            updater.update(learner.output_z_buffer, targets[batch].ravel(), variances, learner.input_delta_z_buffer)
            learner.backward()
            learner.step()
        kept = made()
        kept.load_state_dict(learner.state_dict())
        yield partial(predict, kept)


def best(epochs: Iterator[Predict], held: tuple[np.ndarray, np.ndarray], x_test: np.ndarray) -> tuple[Found, float]:
    """Return the probabilities of the epoch with the least log loss of the held-out samples; and the seconds of the
    processor that all epochs took, without the test set."""
    least, found, seconds, start = np.inf, None, 0.0, process_time()
    for predict in epochs:
        seconds += process_time() - start
        p = predict(held[0])
        loss = class_scores(p, held[1])["log_loss"]
        if loss < least:
            least, found = loss, (p, predict)
        start = process_time()
    if found is None:
        raise DivergenceError("no epoch was finished")
    return (found[0], found[1](x_test)), seconds


def tempered(p: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities (samples, classes) to a power."""
    powers = np.maximum(p, 1e-12) ** (1.0 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def scores(found: Found, y_held: np.ndarray, y_test: np.ndarray) -> dict[str, float]:
    """Return error in percent, log loss and calibration error on the test set, as they are and calibrated."""
    held, test = found

    def loss(exponent: float) -> float:
        return class_scores(tempered(held, np.exp(exponent)), y_held)["log_loss"]

    chosen: Any = minimize_scalar(loss, bounds=(-1.0, 1.0), method="bounded")
    raw, calibrated = class_scores(test, y_test), class_scores(tempered(test, np.exp(chosen.x)), y_test)
    return {
        "error": 100.0 * float(np.mean(test.argmax(axis=1) != y_test)),
        "log_loss": raw["log_loss"],
        "ece": raw["calibration_error"],
        "calibrated_loss": calibrated["log_loss"],
        "calibrated_ece": calibrated["calibration_error"],
    }


def measured(samples: int, seed: int, data: Any, done: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a number of samples and a seed that are not done."""
    chosen = np.random.default_rng([seed, samples]).permutation(len(data.x_train))[:samples]
    fit, hold = np.split(chosen, [samples - samples // 5])
    x, y = data.x_train[fit], data.y_train[fit]
    held = data.x_train[hold], data.y_train[hold]
    epochs = EPOCHS[samples]

    def learnt(method: str, member: int = 0) -> tuple[Found, float]:
        passes = min(FEW.get(method, epochs), epochs)
        own = seed + 1000 * member
        steps = tagi(own, passes, x, y) if method == TAGI else network(SETTINGS[method], own, passes, x, y)
        return best(steps, held, data.x_test)

    def row(method: str, found: Found, seconds: float) -> dict[str, Any]:
        return {"samples": samples, "method": method, "seed": seed, "seconds": seconds} | scores(
            found, held[1], data.y_test
        )

    for method in (*SETTINGS, *([TAGI] if importlib.util.find_spec("pytagi") else [])):
        if method not in done:
            yield row(method, *learnt(method))
    for name, method in ENSEMBLES.items():
        if name not in done:
            founds, seconds = zip(*(learnt(method, member) for member in range(MEMBERS)), strict=True)
            yield row(name, (np.mean([p for p, _ in founds], 0), np.mean([p for _, p in founds], 0)), sum(seconds))


def table(rows: list[dict[str, str]]) -> None:
    """Print mean and deviation over the seeds."""
    print("| samples | method | error (%) | log loss | calibration error | calibrated: log loss | error | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for samples, method in dict.fromkeys((row["samples"], row["method"]) for row in rows):
        own = [row for row in rows if (row["samples"], row["method"]) == (samples, method)]
        values = {name: np.array([float(row[name]) for row in own]) for name in COLUMNS[3:]}
        digits = {"error": 2, "seconds": 1}
        cells = [
            f"{v.mean():.{digits.get(name, 3)}f}"
            + (f" ± {v.std(ddof=1):.{digits.get(name, 3)}f}" if len(v) > 1 and name != "seconds" else "")
            for name, v in values.items()
        ]
        print(f"| {samples} | {method} | " + " | ".join(cells) + " |")


def main(folder: str, out: str = "little_data.csv") -> None:
    """Measure what is missing, and print the table."""
    data, path, rows = load_dataset("mnist", data_dir=folder), Path(out), []
    if path.exists():
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not rows:
            writer.writeheader()
        for seed in SEEDS:
            for samples in EPOCHS:
                done = {row["method"] for row in rows if (row["samples"], row["seed"]) == (str(samples), str(seed))}
                for row in measured(samples, seed, data, done):
                    shown = {name: f"{v:.5g}" if isinstance(v, float) else str(v) for name, v in row.items()}
                    writer.writerow(shown)
                    file.flush()
                    rows.append(shown)
    table(rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
