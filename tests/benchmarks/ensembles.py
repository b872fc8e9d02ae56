"""How long an epoch of an ensemble takes, in units of as many epochs of one network.

``python tests/benchmarks/ensembles.py [ROUNDS]`` trains ensembles of 1, 4 and 8 networks in turn on random inputs, and
prints, for every network and batch size, milliseconds a batch of the whole ensemble, of the processor and by the clock,
and in brackets the share of k times those of one network. Ratios are of the medians over the rounds: what else runs on
the machine meets all of them.
"""

import sys
from dataclasses import replace
from time import perf_counter, process_time

import numpy as np

from deepnet import Config
from deepnet.ensemble import create
from deepnet.train import train_epoch

MEMBERS, WIDTHS, BATCHES = (1, 4, 8), (101, 501), (16, 128)

#: Batches in an epoch: some that an ensemble learns before its members wait for each other.
EPOCH = {101: 160, 501: 40}


def main(rounds: int) -> None:
    """Print a line for each network and batch size."""
    rng = np.random.default_rng(0)
    for width in WIDTHS:
        for size in BATCHES:
            x = rng.standard_normal((size * EPOCH[width], 784)).astype(np.float32)
            y = rng.integers(0, 10, len(x))
            config = Config(hidden=(width, width), batch_size=size)
            ensembles = [create(replace(config, members=k), 784, 10) for k in MEMBERS]
            times = np.empty((rounds + 1, len(MEMBERS), 2))
            for row in times:  # the first one compiles
                for taken, ensemble in zip(row, ensembles, strict=True):
                    before = process_time(), perf_counter()
                    train_epoch(ensemble, x, y)
                    taken[:] = np.subtract((process_time(), perf_counter()), before)
            found = 1e3 * np.median(times[1:], axis=0) / EPOCH[width]
            each = [
                f"{k} members: processor {own[0]:6.2f} ({own[0] / k / found[0, 0]:.2f}), "
                f"clock {own[1]:6.2f} ({own[1] / k / found[0, 1]:.2f})"
                for k, own in zip(MEMBERS, found, strict=True)
            ]
            print(f"784-{width}-{width}-10, batches of {size}, ms a batch: {'; '.join(each)}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
