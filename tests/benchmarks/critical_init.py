"""Deep networks of ±1 weights: initial fields of size 1 against those that suit the depth.

``python tests/benchmarks/critical_init.py`` trains on digits, ``... mnist --data-dir DATA`` on MNIST; the figure
goes to ``critical_init.png``. Weak fields lose signal and messages along the depth, strong ones hold the weights.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

from deepnet import Config, load_dataset
from deepnet.data import Dataset
from deepnet.train import Evaluation, init, train
from models.preactivation import SIGN, critical_field


def learned(data: Dataset, depth: int, eps: float | str, seed: int, arguments: argparse.Namespace) -> list[list[float]]:
    """Pointwise and Bayesian test error after every epoch."""
    config = Config(
        hidden=(arguments.width,) * depth,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        eps_init=eps,
        seed=seed,
    )
    network = init(config, data.x_train.shape[1], data.classes)
    evaluation = Evaluation.of(data.x_train, data.y_train, data.x_test, data.y_test, seed=0)
    history = train(network, data.x_train, data.y_train, evaluation)
    return [[measured["test_error"], measured["bayes_test_error"]] for measured in history]


def main() -> None:
    """Learning curves at one depth, and the error against the size of the fields at several."""
    parser = argparse.ArgumentParser(description="Critical initial fields of deep networks.")
    parser.add_argument("dataset", nargs="?", default="digits", help="digits, mnist, fashion-mnist or cifar10")
    parser.add_argument("--data-dir", help="folder of the data set")
    parser.add_argument("--width", type=int, default=101, help="units of each hidden layer")
    parser.add_argument("--depth", type=int, default=5, help="hidden layers of the learning curves")
    parser.add_argument("--depths", type=int, nargs="*", default=[2, 5, 10], help="those of the sweep over the size")
    parser.add_argument("--fields", type=float, nargs="+", default=[0.5, 1, 2, 4, 8, 16, 32, 64], help="sizes swept")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    data = load_dataset(arguments.dataset, data_dir=arguments.data_dir)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
    for eps, colour in ((1.0, "tab:blue"), ("critical", "tab:red")):
        errors = np.array([learned(data, arguments.depth, eps, seed, arguments) for seed in range(arguments.seeds)])
        size = critical_field([SIGN] * arguments.depth) if eps == "critical" else eps
        for kind, style, name in ((0, "-", "pointwise"), (1, "--", "Bayesian")):
            mean = errors[..., kind].mean(axis=0)
            label = f"{'critical, ' if eps == 'critical' else ''}ε = {size:.3g}, {name}"
            left.plot(range(1, len(mean) + 1), mean, style, color=colour, label=label)
            low, high = errors[..., kind].min(axis=0), errors[..., kind].max(axis=0)
            left.fill_between(range(1, len(mean) + 1), low, high, color=colour, alpha=0.12, lw=0)
            shown = sorted({1, 2, 5, 10, 20, 50, len(mean)} & set(range(1, len(mean) + 1)))
            print(
                f"{arguments.depth} hidden layers, {label}: test error after epoch",
                ", ".join(f"{epoch}: {mean[epoch - 1]:.2f}" for epoch in shown),
                flush=True,
            )
    early = argparse.Namespace(**vars(arguments) | {"epochs": max(1, arguments.epochs // 4)})
    for depth, colour in zip(arguments.depths, plt.colormaps["viridis"](np.linspace(0, 0.8, 3)), strict=False):
        curve = [
            np.mean([learned(data, depth, eps, seed, early)[-1][0] for seed in range(arguments.seeds)])
            for eps in arguments.fields
        ]
        critical = critical_field([SIGN] * depth)
        right.plot(arguments.fields, curve, "o-", ms=4, color=colour, label=f"{depth} hidden layers")
        right.axvline(critical, color=colour, ls=":")
        print(f"{depth} hidden layers, critical {critical:.3g}; error after epoch {early.epochs}:", *np.round(curve, 1))
    left.set(xlabel="epoch", ylabel="test error (%)", yscale="log")
    left.set_title(f"{data.name}, {arguments.depth} hidden layers of {arguments.width} sign units", fontsize=10)
    right.set(xlabel="size ε of the initial fields (dotted: critical)", xscale="log", yscale="log")
    right.set(ylabel=f"test error (%) after epoch {early.epochs}")
    for axes in (left, right) if arguments.depths else (left,):
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3, which="both")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.tick_params(which="both", labelsize=8)
    left.xaxis.get_major_locator().set_params(integer=True)
    figure.savefig("critical_init.png", dpi=100)


if __name__ == "__main__":
    main()
