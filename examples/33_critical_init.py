"""Deep networks of ±1 weights: initial fields of size 1 against those that suit the depth.

``python examples/33_critical_init.py`` trains networks with five hidden layers on the digits; test errors go to
``33_critical_init.png``. Weak fields lose signal and messages along the depth, strong ones hold the weights.
"""

import matplotlib.pyplot as plt
import numpy as np
from tqdm.auto import tqdm

from deepnet import Config, load_dataset
from deepnet.data import Dataset
from deepnet.train import Evaluation, init, train
from models.preactivation import SIGN, critical_field

WIDTH, DEPTH, EPOCHS, SEEDS = 101, 5, 20, 3


def learned(data: Dataset, eps: float | str, seed: int) -> list[tuple[float, float]]:
    """Pointwise and Bayesian test error in percent after every epoch."""
    config = Config(hidden=(WIDTH,) * DEPTH, epochs=EPOCHS, batch_size=32, eps_init=eps, seed=seed)
    network = init(config, data.x_train.shape[1], data.classes)
    evaluation = Evaluation.of(data.x_train, data.y_train, data.x_test, data.y_test, seed=0)
    history = train(network, data.x_train, data.y_train, evaluation)
    return [(measured["test_error"], measured["bayes_test_error"]) for measured in history]


def main() -> None:
    """Print and draw the means over some seeds, and between the least and the largest error."""
    data, epochs = load_dataset("digits"), np.arange(1, EPOCHS + 1)
    sizes: dict[float | str, str] = {1.0: "ε = 1", "critical": f"critical, ε = {critical_field([SIGN] * DEPTH):.3g}"}
    figure, axes = plt.subplots(figsize=(6, 4.4), layout="constrained")
    with tqdm(total=len(sizes) * SEEDS, leave=False) as bar:
        for (eps, name), colour in zip(sizes.items(), ("tab:blue", "tab:red"), strict=True):
            errors = []
            for seed in range(SEEDS):
                errors.append(learned(data, eps, seed))
                bar.update()
            for each, style, kind in zip(
                np.moveaxis(np.array(errors), 2, 0), ("-", "--"), ("pointwise", "Bayesian"), strict=True
            ):
                axes.plot(epochs, each.mean(axis=0), style, color=colour, label=f"{name}, {kind}")
                axes.fill_between(epochs, each.min(axis=0), each.max(axis=0), color=colour, alpha=0.12, lw=0)
                bar.write(f"{name}, {kind}: {each.mean(axis=0)[-1]:.2f} % after {EPOCHS} epochs")
    axes.set(xlabel="epoch", ylabel="test error (%)", yscale="log", title=f"digits, {DEPTH} hidden layers of {WIDTH}")
    axes.locator_params(axis="x", integer=True)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig("33_critical_init.png", dpi=110)


if __name__ == "__main__":
    main()
