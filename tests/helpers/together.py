"""What several processes find when they train together, and what one finds: run by a launcher, answers in a file.

Each process trains every case together with the others; the first one also by itself.
"""

import json
import sys
from pathlib import Path
from unittest import mock

import emulated_gpu
import numba
import numpy as np

from deepnet.config import Config
from deepnet.data.mapped import MappedInputs
from deepnet.data.preparation import Pixels
from deepnet.data.table import Table
from deepnet.kernels.gpu import GpuOperations
from deepnet.processes import ALONE, run_together, world
from deepnet.train import DivergenceError, Evaluation, create, init, train

FEATURES, SAMPLES = 7, 45

#: Of every kind of weights, units, outputs and memories, with every closure; the batches of 20 leave 5 samples, and
#: those of 11 leave 1, fewer than there are processes.
CASES = [
    {"closure": "mf"},
    {"closure": "amp", "tau": 3, "bias": True, "density": 0.6, "reinforcement": 0.3, "rho": 0.7},
    {"closure": "bp", "tau": 3, "bias": True, "output": "softmax"},
    {"closure": "bpi", "tau": 2, "density": 0.7, "output": "logistic", "label_noise": 0.1},
    {"closure": "bp", "tau": 2, "weights": "continuous", "activation": "relu", "bias": True, "density": 0.8},
    {"closure": "amp", "tau": 2, "weights": "continuous", "output": "argmax-single-jensen"},
    {"closure": "amp", "tau": 2, "activation": "relu", "output": "gaussian"},
    {
        "closure": "mf",
        "weights": ("binary", "continuous", "binary"),
        "activation": ("relu", "sign"),
        "output": "probit",
    },
    {"closure": ("bpi", "amp", "mf"), "tau": 2, "output": "poisson", "weights": "continuous"},
    {"closure": "bp", "output": "sign", "tau": 2, "sample_weight": True},
    {"closure": "amp", "output": "argmax-probit", "soft": True},
    {"closure": "mf", "output": "argmax-exact", "batch_size": 20},
    {"closure": "amp", "members": 3, "output": "argmax-single-jensen"},
    {"closure": "amp", "memory": "sites", "preset": "adf", "weights": "continuous"},
    {"closure": "mf", "memory": "covariance", "preset": "stream", "batch_size": 20},
]

#: Outputs of numbers, and of two classes.
NUMBERS, BINARY = ("gaussian", "poisson"), ("sign", "logistic", "probit")


def problem(case):
    """Settings, inputs, labels and weights of samples."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((SAMPLES, FEATURES))
    case = dict(case)
    weight = rng.uniform(0.2, 2.0, SAMPLES) if case.pop("sample_weight", False) else None
    y = rng.integers(0, 3, SAMPLES)
    if case.pop("soft", False):
        y = rng.dirichlet(np.ones(3), SAMPLES)
    if case.get("output") in BINARY:
        y = rng.choice([-1, 1], SAMPLES)
    if case.get("output") in NUMBERS:
        y = rng.poisson(2.0, (SAMPLES, 2)).astype(float)
    return {"hidden": (6, 5), "batch_size": 11, "epochs": 2, "dtype": "float64"} | case, x, y, weight


def classes_of(config):
    return 2 if config.output in NUMBERS + BINARY else 3


def trained(case, communicator, device=None):
    """The network after two epochs, and what was measured of it."""
    settings, x, y, weight = problem(case)
    config = Config(**settings)
    network = create(config, FEATURES, classes_of(config), communicator=communicator)
    if device is not None:
        network = network.on(device, "cuda")
    evaluation = Evaluation(x[:9], y[:9], x[:2], y[:2])  # of two samples, a third process predicts none
    history = list(train(network, x.astype(config.dtype), y, evaluation, sample_weight=weight))
    return network, history


def apart(ours, theirs):
    """How far two networks, and what was measured of them, are from each other, in units of the largest numbers."""
    pairs = [(values, theirs[0].arrays()[name]) for name, values in ours[0].arrays().items()]
    for one, other in zip(ours[1], theirs[1], strict=True):
        numbers = [name for name in one if name != "seconds"]
        pairs += [(np.array(one[name]), np.array(other[name])) for name in numbers]
    return max(float(np.abs(a - b).max() / max(1.0, np.abs(b).max())) for a, b in pairs)


def compared(case, device=None):
    """The largest difference between this process alone and all of them, and between any two of these."""
    together = world()
    ours = trained(case, together, device)
    state = {name: values.tobytes() for name, values in ours[0].arrays().items()}
    same = all(other == state for other in together.gather(state))
    difference = apart(ours, trained(case, ALONE, device)) if together.rank == 0 else 0.0
    config = ours[0].config
    start = init(config, FEATURES, classes_of(config)).arrays()["W0.H"]
    moved = float(np.abs(ours[0].members[0].arrays()["W0.H"] - start).max())
    return {"difference": difference, "same": same, "moved": moved}


def bytes_of_sums(case):
    """Bytes that this process gave to sums in an epoch."""
    together = world()
    before = together.summed
    settings, x, y, _ = problem(case)
    config = Config(**settings | {"epochs": 1})
    network = init(config, FEATURES, classes_of(config), communicator=together)
    list(train(network, x, y))
    return together.summed - before


def diverged():
    """What each process says of a run that diverges."""
    settings, x, y, _ = problem({"closure": "amp", "beta": 1e13})
    network = init(Config(**settings), FEATURES, 3, communicator=world())
    try:
        list(train(network, x, y))
    except DivergenceError as error:
        return world().gather(str(error))


def rows_read():
    """How many rows of a mapped file each process has read in an epoch, and how far its network is from that of one
    process that has them in memory."""
    settings, x, y, _ = problem({"closure": "mf", "epochs": 1})
    config, table = Config(**settings), Table(Path("x"), {"x": x}, np.arange(SAMPLES), mapped=True)
    mapped = MappedInputs(Pixels("x", (FEATURES,), 0.0, 1.0), table, np.arange(SAMPLES), config.dtype)
    asked, made = [], MappedInputs.__array__
    networks = [init(config, FEATURES, 3, communicator=each) for each in (world(), ALONE)]
    with mock.patch.object(MappedInputs, "__array__", lambda own, *args: asked.append(len(own)) or made(own, *args)):
        list(train(networks[0], mapped, y))
    list(train(networks[1], x, y))
    difference = apart(*((network, []) for network in networks))
    return {"rows": world().gather(sum(asked)), "difference": difference}


def rounded():
    """How far the first layers of all processes are from the first one's after an epoch, if they begin apart."""
    settings, x, y, _ = problem({"closure": "mf", "epochs": 1})
    network = init(Config(**settings), FEATURES, 3, communicator=world())
    network.layers[0].H += 1e-15 * world().rank
    list(train(network, x, y))
    fields = world().gather(network.layers[0].H)
    return [float(np.abs(other - fields[0]).max()) for other in fields]


def on_device():
    """The same on emulated GPUs."""
    case = {"closure": "amp", "bias": True, "dtype": "float32", "epochs": 3}
    with mock.patch("factorgraph.runtime.device_arrays._compiled", emulated_gpu.apply_compiled):
        return [
            compared(case | other, GpuOperations(emulated_gpu.EmulatedDevice()))
            for other in ({}, {"closure": "mf", "weights": "continuous", "activation": "relu", "tau": 2})
        ]


def program():
    found = {
        "cases": [compared(case) for case in CASES],
        "float32": [compared(case | {"dtype": "float32"}) for case in CASES[:5]],
        "bytes": [bytes_of_sums(case) for case in ({"tau": 2}, {"weights": "continuous"}, {"output": "gaussian"})],
        "diverged": diverged(),
        "mapped": rows_read(),
        "rounded": rounded(),
        "threads": world().gather(numba.get_num_threads()),
        "device": on_device() if emulated_gpu.COMPILER else [],
    }
    if world().rank == 0:
        Path(sys.argv[1]).write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(run_together(program))
