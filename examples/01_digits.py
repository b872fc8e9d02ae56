"""A binary network learns handwritten digits by belief propagation: error, calibration, and what β does.

Run it with ``python examples/01_digits.py``; the figure goes to ``01_digits.png`` in the current folder.
"""

import matplotlib.pyplot as plt
import numpy as np

from deepnet import Config, load_dataset
from deepnet.predict import predict_proba
from deepnet.train import Evaluation, init, train

EPOCHS = 20


def main() -> None:
    """Train one network with the likelihood weight of the default and one with that of the paper."""
    data = load_dataset("digits")
    evaluation = Evaluation.of(data.x_train, data.y_train, data.x_test, data.y_test, seed=0)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    for preset, colour in (("default", "tab:red"), ("paper", "tab:blue")):
        config = Config(hidden=(101, 101), closure="bp", epochs=EPOCHS, batch_size=32, preset=preset)
        network = init(config, data.x_train.shape[1], data.classes)
        history = list(train(network, data.x_train, data.y_train, evaluation))
        epochs = [measured["epoch"] for measured in history]
        for key, style in (("test_error", "-"), ("bayes_test_error", "--")):
            kind = "Bayesian" if "bayes" in key else "pointwise"
            left.plot(epochs, [measured[key] for measured in history], style, color=colour, label=f"{preset}, {kind}")
        probabilities = predict_proba(network.layers, data.x_test, network.operations)
        confidence, accuracy = reliability(probabilities, data.y_test)
        right.plot(confidence, accuracy, "o-", color=colour, label=preset)
        print(
            f"{preset}: test error {history[-1]['test_error']:.2f} %, Bayesian {history[-1]['bayes_test_error']:.2f} %"
        )
    left.set(xlabel="epoch", ylabel="test error (%)", yscale="log", title="Digits, 64-101-101-10, ±1 weights, BP")
    left.set_yticks([2, 3, 4, 6, 10], ["2", "3", "4", "6", "10"])
    left.minorticks_off()
    left.xaxis.get_major_locator().set_params(integer=True)
    right.plot([0.6, 1], [0.6, 1], ":", color="gray")
    right.set(
        xlabel="predicted probability of the chosen class", ylabel="share of correct choices", title="Calibration"
    )
    left.legend()
    right.legend()
    figure.savefig("01_digits.png", dpi=150)


def reliability(probabilities: np.ndarray, y: np.ndarray, bins: int = 5) -> tuple[list[float], list[float]]:
    """Mean confidence and accuracy in ``bins`` groups of equal size, from (samples, classes) and labels (samples,)."""
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == y
    groups = np.array_split(np.argsort(confidence), bins)
    return [float(confidence[group].mean()) for group in groups], [float(correct[group].mean()) for group in groups]


if __name__ == "__main__":
    main()
