"""All ways to train one network on all of MNIST beside each other: errors, probabilities, strange inputs, time.

``python tests/benchmarks/methods.py DATA [OUT.csv]`` adds what is missing to the file, and prints the table; DATA is
the folder with the files of the data sets. 784-501-501-10, three epochs, batches of 128 unless said, seed 0, default
settings.
Strange inputs are the test set of Fashion-MNIST, told from that of MNIST by the entropy of the label (AUROC). TAGI,
with rectified units and continuous weights, is measured where pytagi can be imported.
"""

import csv
import importlib.util
import sys
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from little_data import TAGI, Predict, network, tagi
from scipy.special import entr

from deepnet.data import load_dataset, load_pictures
from deepnet.scores import class_scores, detection
from deepnet.train import DivergenceError

EPOCHS = 3

#: Settings that are not those of every network here.
SETTINGS: dict[str, dict[str, Any]] = {
    "MF": {"closure": "mf"},
    "AMP": {"closure": "amp"},
    "BP": {"closure": "bp"},
    "MF, paper's settings": {"closure": "mf", "preset": "paper"},
    "MF, covariance of the inputs": {"memory": "covariance", "preset": "stream"},
    "MF, sites": {"memory": "sites", "preset": "adf", "damping": 0.9},
    "BinaryNet, SGD": {"algorithm": "binarynet"},
    "BinaryNet, Adam": {"algorithm": "binarynet-adam"},
    "BinaryNet, Adam with cosine decay": {"algorithm": "binarynet-cosine"},
    "expectation backpropagation, batches of 10": {"algorithm": "ebp", "batch_size": 10},
}
COLUMNS: tuple[str, ...] = ("method", "error", "log_loss", "ece", "auroc", "seconds")


def learnt(method: str, x: np.ndarray, y: np.ndarray) -> tuple[Predict, float]:
    """Return what predicts after all epochs, and the seconds of the processor that they took."""
    own = {"batch_size": 128} | SETTINGS.get(method, {})
    steps = tagi(0, EPOCHS, x, y) if method == TAGI else network(own, 0, EPOCHS, x, y)
    start = process_time()
    found = list(steps)
    if len(found) < EPOCHS:
        raise DivergenceError(method)
    return found[-1], process_time() - start


def row(method: str, data: Any, strange: np.ndarray) -> dict[str, str]:
    """Measure one method."""
    try:
        predict, seconds = learnt(method, data.x_train, data.y_train)
    except DivergenceError:
        return {"method": method} | dict.fromkeys(COLUMNS[1:], "diverges")
    p, other = predict(data.x_test), predict(strange)
    values = class_scores(p, data.y_test)
    found = detection(entr(p).sum(axis=1), entr(other).sum(axis=1))
    error = 100.0 * float(np.mean(p.argmax(axis=1) != data.y_test))
    numbers = (error, values["log_loss"], values["calibration_error"], found["auroc"], seconds)
    return {"method": method} | {
        name: f"{value:.{digits}f}" for name, value, digits in zip(COLUMNS[1:], numbers, (2, 3, 3, 3, 1), strict=True)
    }


def main(folder: str, out: str = "methods.csv") -> None:
    """Measure what is missing, and print the table."""
    data, path, rows = load_dataset("mnist", data_dir=folder), Path(out), []
    strange = data.preparation.apply(load_pictures("fashion-mnist", folder), "float32")
    if path.exists():
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    done = {each["method"] for each in rows}
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not rows:
            writer.writeheader()
        for method in (*SETTINGS, *([TAGI] if importlib.util.find_spec("pytagi") else [])):
            if method not in done:
                rows.append(row(method, data, strange))
                writer.writerow(rows[-1])
                file.flush()
    print("| trained by | error (%) | log loss | calibration error | AUROC | seconds |\n|---|---|---|---|---|---|")
    for each in rows:
        print("| " + " | ".join(each[name] for name in COLUMNS) + " |")


if __name__ == "__main__":
    main(*sys.argv[1:])
