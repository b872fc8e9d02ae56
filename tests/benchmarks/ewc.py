"""Elastic weight consolidation on the five permuted-MNIST tasks, told where they end: what a stream is compared with.

``python tests/benchmarks/ewc.py DATA [STRENGTH ...]`` trains 784-501-501-10, rectified units, by Adam for two epochs a
task, with the penalty λ/2 Σ_t Σ_i F_ti (w_i - w_ti)² of all tasks t before beside the mean loss of a batch; F is the
diagonal of the Fisher information of a sample, a mean over 2000. Printed are the accuracies on all tasks after the last
one, in percent, for every strength λ, of the last 5000 training samples, which are held out, and of the test set. DATA
is the folder with MNIST.
"""

import sys
from itertools import pairwise

import numpy as np
import torch
from torch.nn import functional

from deepnet.data.tasks import load_tasks

WIDTHS, EPOCHS, BATCH, HELD, TASKS = (784, 501, 501, 10), 2, 128, 5000, 5


def outputs(parameters: list[torch.Tensor], x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return logits, and the pre-activations of all layers."""
    sums = []
    for number in range(len(parameters) // 2):
        x = functional.linear(x if number == 0 else torch.relu(x), *parameters[2 * number : 2 * number + 2])
        sums.append(x)
    return x, sums


def fisher(parameters: list[torch.Tensor], x: torch.Tensor) -> list[torch.Tensor]:
    """Return its diagonal, a mean over samples, with labels that the network draws: the gradient is δ xᵀ."""
    z, sums = outputs(parameters, x)
    y = torch.distributions.Categorical(logits=z).sample()
    deltas = torch.autograd.grad(functional.cross_entropy(z, y, reduction="sum"), sums)
    inputs = [x, *(torch.relu(each) for each in sums[:-1])]
    found = []
    for delta, below in zip(deltas, inputs, strict=True):
        square = delta.detach() ** 2 / len(x)
        found += [square.T @ below.detach() ** 2, square.sum(dim=0)]
    return found


def main(folder: str, *strengths: str) -> None:
    """Print a line for each strength."""
    sequence = load_tasks("mnist", f"permuted:{TASKS}", data_dir=folder)
    for strength in map(float, strengths or ("10", "100", "1000")):
        torch.manual_seed(0)
        rng = np.random.default_rng(0)
        layers = [torch.nn.Linear(a, b) for a, b in pairwise(WIDTHS)]
        parameters: list[torch.Tensor] = [p for layer in layers for p in layer.parameters()]
        before: list[tuple[list[torch.Tensor], list[torch.Tensor]]] = []
        for number in range(TASKS):
            x = torch.from_numpy(sequence[number].x_train[:-HELD])
            y = torch.from_numpy(sequence[number].y_train[:-HELD])
            optimizer = torch.optim.Adam(parameters, lr=1e-3)
            for _ in range(EPOCHS):
                for batch in torch.from_numpy(rng.permutation(len(x))).split(BATCH):
                    loss = functional.cross_entropy(outputs(parameters, x[batch])[0], y[batch])
                    for information, means in before:
                        pairs = zip(information, parameters, means, strict=True)
                        loss = loss + 0.5 * strength * sum((f * (w - m) ** 2).sum() for f, w, m in pairs)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
            information = fisher(parameters, x[torch.from_numpy(rng.permutation(len(x))[:2000])])
            before.append((information, [w.detach().clone() for w in parameters]))
        for name in ("held out", "test"):
            found = []
            for number in range(TASKS):
                data = sequence[number]
                x, y = (data.x_test, data.y_test) if name == "test" else (data.x_train[-HELD:], data.y_train[-HELD:])
                with torch.no_grad():
                    predicted = outputs(parameters, torch.from_numpy(x))[0].argmax(dim=1).numpy()
                found.append(100.0 * float(np.mean(predicted == y)))
            each = ", ".join(f"{value:.2f}" for value in found)
            print(f"λ = {strength:g}, {name}: {np.mean(found):.2f} of {each}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
