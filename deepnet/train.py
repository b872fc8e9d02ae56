"""Posterior-as-Prior training: epochs of mini-batches over one loop of init, step and status [DL, §3.1]."""

import contextlib
import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from deepnet.baselines import Baseline, Epoch
from deepnet.config import REMEDY, SCHEDULED, Config
from deepnet.data.mapped import MappedInputs
from deepnet.ensemble import Ensemble, Trained, create
from deepnet.kernels.cpu.ahead import prepare
from deepnet.layers import Update
from deepnet.metrics import Evaluation, metrics
from deepnet.outputs import output_of
from deepnet.predict import check_inputs
from deepnet.processes import ALONE, Communicator, shared
from deepnet.processes.randomness import own_numbers
from deepnet.scores import OF_CLASSES, Measures
from deepnet.side_by_side import SideBySide
from deepnet.sizes import check_count
from deepnet.state import EPOCHS, DivergenceError, Network, check_arrays, check_finite, init, model
from deepnet.sweep import train_batch
from factorgraph.dense.operations import Operations
from factorgraph.dense.state import Array
from factorgraph.interface.arguments import check_instance, number_array, real_array

if TYPE_CHECKING:
    from deepnet.kernels.gpu import DeviceEpochs

__all__ = [
    "DivergenceError",
    "Evaluation",
    "Network",
    "check_arrays",
    "check_finite",
    "create",
    "init",
    "metrics",
    "model",
    "output_labels",
    "status",
    "train",
    "train_batch",
    "train_epoch",
    "updates",
    "warm_up",
]


_log = logging.getLogger(__name__)

#: Bytes of inputs that the members of an ensemble learn from before they wait for each other.
_BLOCK = 1 << 22


@dataclass(frozen=True)
class _Resident:
    """What a network on a GPU keeps there: the epochs of some data, which are held so that their ids stay theirs."""

    key: tuple[Any, ...]
    data: tuple[Array, Array, Array | None]
    epochs: "DeviceEpochs"


def warm_up(
    config: Config,
    classes: int,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    communicator: Communicator = ALONE,
) -> None:
    """Compile what training and predicting with these settings need, on a network too small to matter.

    Args:
        config: settings of the network.
        classes: of the data.
        device: of the network.
        progress: called with how many of the longest functions are compiled, and of how many, if they are not on disk.
        communicator: of the processes that will train; nothing waits for the others here.
    """
    if device == "cpu":
        prepare(config, progress)
    tiny = create(replace(config, hidden=(3,) * len(config.hidden)), 3, classes, device, communicator.single())
    x = np.eye(4, 3, dtype=config.dtype)
    y = np.zeros(4, np.int64) if classes > 2 else np.ones(4)
    with contextlib.suppress(DivergenceError):  # no matter with three units
        train_epoch(tiny, x, y)
    metrics(tiny, Evaluation(x, y, x, y))


def train_epoch(
    network: Trained,
    x: Array,
    y: Array,
    progress: Callable[[int], None] | None = None,
    samples: int | None = None,
    sample_weight: Array | None = None,
    since: int = 0,
) -> None:
    """One pass over the training set in random order; depends on the seed and the number of the epoch only
    (and, in the last bits, on the number of threads).

    A network on a GPU copies the data there at the first epoch and keeps them for further ones of the same arrays,
    which must not be changed in between.

    Args:
        network: changed in place; the members of an ensemble learn the same batches, one on each thread at a time.
        x: inputs (samples, features) of the network's floating type.
        y: labels (samples,), ±1 or 0..classes-1; or soft targets (samples, classes), their probabilities, which act as
            labels seen through noise; or numbers (samples, outputs).
        progress: called with the number of samples after each batch, or some batches of an ensemble.
        samples: the pass ends after so many of them, 1 to all; None for all.
        sample_weight: powers >= 0 to which the likelihoods of the samples are taken, (samples,); None for 1.
        since: epochs of the network on other data before these: schedules begin anew after them.

    Raises:
        ValueError: an argument is not as described.
        DivergenceError: when fields or messages leave the range of numbers.
    """
    x, y = _samples(network, x, y)
    if samples is not None:
        check_count("samples", samples, 1, len(x))
    config, epoch = network.config, network.epoch - since
    power = _powers(network, sample_weight, len(x))
    members = network.members
    for member in members:
        _own_arrays(member)
    rng = np.random.default_rng([config.seed, EPOCHS, network.epoch])
    order = rng.permutation(len(x))[:samples]
    if config.memory == "sites":  # batches have the same samples in every epoch
        order = np.random.default_rng([config.seed, EPOCHS, 0]).permutation(len(x))[:samples]
    starts = range(0, len(order), config.batch_size)
    with network.operations.running():
        if config.baseline is None and network.device == "cpu":
            batches = list(_batches(config, order, epoch, rng))
            _train_on_processor(network, x, y, power, batches, epoch, rng, progress)
        else:
            batches = [order[start : start + config.batch_size] for start in starts]
            schedules = [updates(config, epoch + start / len(x)) for start in starts] if config.baseline is None else []
            for member, told in zip(members, _shares(progress, len(members)), strict=True):
                if config.baseline is not None:
                    _train_baseline(config.baseline, member, x, y, batches, epoch, copy.deepcopy(rng), told)
                else:
                    _epochs_on_device(member, x, y, power).run(order, schedules, told)
    for member in members:
        check_finite(member, member.communicator)
        if config.baseline is None and config.mass is None and any([layer.learn_prior() for layer in member.layers]):
            member.resident = None  # what was captured has the former prior
        member.epoch += 1
        member.agree()


@dataclass(frozen=True)
class _Batch:
    """What the networks of an ensemble learn from at a time, of the samples of this process.

    Attributes:
        x: inputs (features, samples).
        y: labels as the output observes them.
        power: of the likelihoods; None for 1.
        updates: of every layer.
        part: which samples of the batch they are.
        samples: number in the batch.
    """

    x: Array
    y: Array
    power: Array | None
    updates: Sequence[Update]
    part: slice
    samples: int


def _train_on_processor(
    network: Trained,
    x: Array,
    y: Array,
    power: Array | None,
    batches: Sequence[tuple[int, Array]],
    epoch: int,
    rng: np.random.Generator,
    progress: Callable[[int], None] | None,
) -> None:
    """The epoch of these batches, by their numbers: some at a time are made ready once, and learnt by each member."""
    config, members, communicator, done = network.config, network.members, network.communicator, 0
    ready = shared(network.operations, communicator)
    generators = [copy.deepcopy(rng) for _ in members]  # each has the numbers that it would have alone

    def made(number: int, batch: Array) -> _Batch:
        part = communicator.part(len(batch))
        own = batch[part]
        labels, now = output_labels(members[0], y[own]), updates(config, epoch + done / len(x), number)
        return _Batch(_gathered(ready, x, own), labels, None if power is None else power[own], now, part, len(batch))

    def learn(member: Network, generator: np.random.Generator, some: Sequence[_Batch]) -> None:
        operations = shared(member.operations, communicator)
        with operations.running():
            for batch in some:
                _train_batch(member, operations, batch, own_numbers(generator, batch.part, batch.samples))

    size = 1 if len(members) == 1 else max(1, _BLOCK // (config.batch_size * x.shape[1] * x.dtype.itemsize))
    with SideBySide(len(members) if communicator is ALONE else 1) as side_by_side:
        for start in range(0, len(batches), size):
            some = []
            for number, batch in batches[start : start + size]:
                some.append(made(number, batch))
                done += len(batch)
            side_by_side.do(lambda m, some=some: learn(members[m], generators[m], some), len(members))
            if progress is not None:
                progress(sum(batch.samples for batch in some))


def _shares(progress: Callable[[int], None] | None, count: int) -> list[Callable[[int], None] | None]:
    """Return what several networks, trained one after the other, report the samples to: each counts for its share."""
    if progress is None or count == 1:
        return [progress] * count
    seen = 0

    def share(samples: int) -> None:
        nonlocal seen
        before, seen = seen, seen + samples
        progress(seen // count - before // count)

    return [share] * count


def _gathered(operations: Operations, x: Array | MappedInputs, own: Array) -> Array:
    """Return some samples as inputs (features, samples); those of a file are read."""
    return operations.gather(x, own) if isinstance(x, np.ndarray) else operations.gather(x[own], np.arange(len(own)))


def _train_baseline(
    baseline: Baseline,
    network: Network,
    x: Array,
    y: Array,
    batches: Sequence[Array],
    number: int,
    rng: np.random.Generator,
    progress: Callable[[int], None] | None,
) -> None:
    """The epoch of this number, of these batches, with another algorithm than message passing."""
    config = network.config
    epoch = Epoch(
        x, y, batches, number, config.epochs, config.learning_rate, network.device, network.operations, rng, progress,
    )  # fmt: skip
    baseline.train(network.layers, epoch)


def _samples(network: Trained, x: Array, y: Array) -> tuple[Array, Array]:
    """Return inputs and labels, which are those given if they are as they should be.

    Raises:
        ValueError: naming what they must be.
    """
    layers = check_instance("network", network, (Network, Ensemble), "a Network or an Ensemble").members[0].layers
    x, y = check_inputs(layers, x), number_array("y", y)
    if not len(x):
        raise ValueError("`x` must have at least one sample, got none")
    output_of(layers[-1]).check(y, len(x))
    return x.astype(network.config.dtype, copy=False), y


def _powers(network: Trained, sample_weight: Array | None, samples: int) -> Array | None:
    """Return weights of samples as the network takes them: of its floating type, and its own if they are so given.

    Raises:
        ValueError: they are none.
    """
    if sample_weight is None:
        return None
    if network.config.baseline is not None:
        raise ValueError(f"`sample_weight` must be None with algorithm {network.config.algorithm!r}, got an array")
    power = real_array("sample_weight", sample_weight)
    if power.shape != (samples,):
        raise ValueError(f"`sample_weight` must be of shape {(samples,)}, got shape {power.shape}")
    if (power < 0).any():
        raise ValueError(f"`sample_weight` must be >= 0, got {power.min():g}")
    dtype = network.config.dtype
    return sample_weight if getattr(sample_weight, "dtype", None) == dtype else power.astype(dtype)


def _own_arrays(network: Network) -> None:
    """Copy what must not be written to, as in a network that was mapped from a file into memory.

    Compiled code would write there all the same, and end the process.
    """
    for layer in network.layers:
        for name, values in vars(layer).items():
            if isinstance(values, np.ndarray) and not values.flags.writeable:
                setattr(layer, name, np.array(values))


def _epochs_on_device(network: Network, x: Array, y: Array, power: Array | None) -> "DeviceEpochs":
    """Return the data on the device and the captured steps, kept while data and settings are the same."""
    from deepnet.kernels.gpu import DeviceEpochs, GpuOperations

    config, operations, kept = network.config, network.operations, network.resident
    key = (id(x), id(y), id(power), config.batch_size, config.tau, config.reinforcement)
    if kept is None or kept.key != key:
        if isinstance(x, MappedInputs):
            raise ValueError("`device` must be 'cpu' for inputs that stay on the disk: a GPU keeps them all")
        assert isinstance(operations, GpuOperations)
        sizes = {"batch_size": config.batch_size, "tau": config.tau, "reinforcement": config.reinforcement}
        labels, together = output_labels(network, y).T, network.communicator
        epochs = DeviceEpochs(network.layers, operations, x, labels, power, together, **sizes)
        network.resident = kept = _Resident(key, (x, y, power), epochs)
    return kept.epochs


def _batches(config: Config, order: Array, epoch: int, rng: np.random.Generator) -> Iterator[tuple[int, Array]]:
    """Yield number and samples of every mini-batch, given the order of the samples.

    Where the messages of batches are kept, the batches come in another order in every epoch but the first.
    """
    size = config.batch_size
    numbers = np.arange(-(-len(order) // size))
    for number in rng.permutation(numbers) if config.memory == "sites" and epoch else numbers:
        yield int(number), order[number * size : (number + 1) * size]


def _train_batch(network: Network, operations: Operations, batch: _Batch, rng: np.random.Generator) -> None:
    """One mini-batch, or the part of this process of one."""
    try:
        train_batch(
            network.layers,
            batch.x,
            batch.y,
            batch.updates,
            operations=operations,
            tau=network.config.tau,
            rng=rng,
            power=batch.power,
        )
    except ValueError:  # from a channel that was given moments outside its domain, by the samples of this process
        check_finite(network)
        raise
    except FloatingPointError:  # in all processes
        check_finite(network, network.communicator)
        raise


def updates(config: Config, epoch: float, batch: int = 0) -> list[Update]:
    """Return the update of every layer at a fractional epoch, from the mini-batch of this number."""
    now = {name: [schedule(epoch, config.epochs) for schedule in config.schedules(name)] for name in SCHEDULED}
    return [
        Update(**dict(zip(now, each, strict=True)), reinforcement=config.reinforcement, batch=batch)
        for each in zip(*now.values(), strict=True)
    ]


def output_labels(network: Network, y: Array) -> Array:
    """Return labels or soft targets as the output observes them, from those of the data; with the noise of labels."""
    output, share = output_of(network.layers[-1]), network.config.label_noise
    return output.encode(output.blurred(y, share) if share else y, network.config.dtype)


def train(
    network: Trained,
    x: Array,
    y: Array,
    evaluation: Evaluation | None = None,
    progress: Callable[[int], None] | None = None,
    sample_weight: Array | None = None,
    since: int = 0,
) -> Iterator[dict[str, Any]]:
    """Train for ``config.epochs``, yielding after every epoch its seconds and, with ``evaluation``, its metrics.

    They are those that follow the first ``since`` epochs of the network, which learnt something else in these.

    The state at a yield depends on the settings and the data only (and on the number of threads, see ``Config``), so a
    run may stop there and be taken up again. Processes that train the network together call this with the
    same data, and each reads its part of every batch.
    """
    x, y = _samples(network, x, y)
    if network.device == "cpu":
        prepare(network.config)
    power = _powers(network, sample_weight, len(x))
    while network.epoch < since + network.config.epochs:
        start = perf_counter()
        train_epoch(network, x, y, progress, sample_weight=power, since=since)
        seconds = perf_counter() - start
        _log.info("epoch %d of %d in %.2f s", network.epoch, network.config.epochs, seconds)
        measured = {"epoch": network.epoch} if evaluation is None else metrics(network, evaluation)
        yield measured | {"seconds": seconds}


def status(
    history: Sequence[dict[str, Any]], chance: float, remedy: str = REMEDY, measures: Measures = OF_CLASSES
) -> str:
    """Return what to make of a finished run, in a sentence.

    Args:
        history: the metrics of its epochs.
        chance: error without any inputs.
        remedy: what to do if nothing was learnt.
        measures: what the errors are.
    """
    if not history:
        return "nothing trained: no epoch was run"
    error = history[-1]["train_error"]
    averaged = history[-1].get("bayes_train_error", error)
    found = f"training error {measures.said(error)}"
    if error > 0.9 * chance:
        found += f" is near chance ({measures.said(chance)})"
        if averaged > 0.9 * chance:
            return f"not learning: {found}. {remedy}"
        found += f" with the most probable weights, and {measures.said(averaged)} with all of them averaged"
    return f"trained: {history[-1]['epoch']} epochs, {found}"
