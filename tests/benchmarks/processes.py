"""Seconds that one process, or several together, train a batch; bytes that each gives to sums.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 mpiexec -n N python tests/benchmarks/processes.py [CLOSURE ...]

784-2001-2001-10, 1024 samples a batch: the best of some epochs, as other work on the machine only adds.
"""

import sys
from time import perf_counter

import numpy as np

from deepnet.config import Config
from deepnet.processes import run_together, world
from deepnet.train import init, train_epoch

BATCH, BATCHES, EPOCHS, WIDTHS, CLASSES = 1024, 4, 5, (784, 2001, 2001), 10


def program() -> int:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH * BATCHES, WIDTHS[0])).astype(np.float32)
    y = rng.integers(0, CLASSES, len(x))
    for closure in sys.argv[1:] or ["mf", "amp"]:
        config = Config(hidden=WIDTHS[1:], closure=closure, batch_size=BATCH)
        network = init(config, WIDTHS[0], CLASSES, communicator=world())
        seconds = []
        for _ in range(EPOCHS):
            world().gather(None)  # all begin at once
            begin, before = perf_counter(), world().summed
            train_epoch(network, x, y)
            seconds.append(perf_counter() - begin)
        best = min(seconds[1:]) / BATCHES
        each = (world().summed - before) / BATCHES
        print(f"{closure}: {world().size} processes, {best:.3f} s and {each / 1e6:.1f} MB of sums a batch", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run_together(program))
