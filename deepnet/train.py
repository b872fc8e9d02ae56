"""Posterior-as-Prior training: epochs of mini-batches over one loop of init, step and status [DL §3.1]."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from deepnet.baselines import Baseline, Epoch
from deepnet.config import Config
from deepnet.kernels.devices import operations_for
from deepnet.lower import lower
from deepnet.network import choice, per_layer, perceptron
from deepnet.observables import overlap, polarization
from deepnet.outputs import output_name, output_of, units_for
from deepnet.predict import check_inputs, error_percent, predict_bayes, predict_pointwise
from deepnet.sizes import check_count, total_memory
from deepnet.sweep import Update, initial_layers, train_batch
from factorgraph.dense.operations import Operations
from factorgraph.dense.state import Array, Layer
from factorgraph.interface.arguments import check_instance, number_array, shown
from factorgraph.model.description import Model

if TYPE_CHECKING:
    from deepnet.kernels.gpu import DeviceEpochs

#: Fields beyond this have no digits left for the message of a batch: the run has diverged.
LARGEST_FIELD = 1e12

#: Numbers that start independent random streams from one seed.
_INITIAL, _EPOCHS, _EVALUATION = 0, 1, 2


class DivergenceError(ArithmeticError):
    """Training left the range of numbers; the message names layer, quantity and remedy."""


@dataclass
class Network:
    """A network in training.

    Attributes:
        config: its settings.
        layers: from the data to the output.
        operations: where its layers are.
        epoch: completed epochs.
        device: where the layers are: one of ``deepnet.kernels.devices.DEVICES``. A baseline may train elsewhere.
        memory: what a baseline carries from one epoch to the next besides the layers, by name.
    """

    config: Config
    layers: list[Layer]
    operations: Operations
    epoch: int = 0
    device: str = "cpu"
    memory: dict[str, Array] = field(default_factory=dict, repr=False)
    _resident: "_Resident | None" = field(default=None, repr=False)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{layer.plan.outputs} x {layer.plan.inputs}" for layer in self.layers)
        return f"<Network of weights {sizes}: epoch {self.epoch} on {self.device}, {self.config}>"

    def arrays(self) -> dict[str, Array]:
        """The state of the weights, by name, in host memory: all that training carries from one epoch to the next."""
        return {name: self.operations.host(values) for name, values in self._arrays().items()}

    def to(self, device: str) -> "Network":
        """The network itself if it is there, else one with a copy of its state; errors as of ``operations_for``."""
        if device == self.device:
            return self
        if self.config.baseline is not None:  # whose layers stay in host memory
            return replace(self, device=device)
        return self.on(operations_for(device, self.config.dtype), device)

    def on(self, operations: Operations, device: str) -> "Network":
        """As ``to``, for given operations of the device."""

        def moved(values: Array | None) -> Any:
            return None if values is None else operations.array(self.operations.host(values).copy())

        layers: list[Layer] = []
        for layer in self.layers:
            plan = replace(layer.plan, mask=moved(layer.plan.mask))
            arrays = {name: moved(getattr(layer, name)) for name in ("H", "G", "mean")}
            sigma = None if plan.spin_weights else moved(layer.sigma)
            below = layers[-1] if layers else None
            layers.append(operations.place(Layer(plan, **arrays, sigma=sigma, below=below)))
        return Network(self.config, layers, operations, self.epoch, device)

    def _arrays(self) -> dict[str, Array]:
        state: dict[str, Array] = {}
        for layer in self.layers:
            state[f"{layer.plan.name}.H"] = layer.H
            state[f"{layer.plan.name}.mean"] = layer.mean
            if layer.G is not None:
                state[f"{layer.plan.name}.G"] = layer.G
                state[f"{layer.plan.name}.variance"] = layer.sigma
        return state | self.memory

    def restore(self, arrays: dict[str, Array], epoch: int) -> None:
        """Take up a state given by ``arrays``; raises ``ValueError`` if names, shapes or types differ."""
        for name, target in self._arrays().items():
            check_saved(name, arrays, target.shape, target.dtype)
            target[...] = self.operations.array(arrays[name])
        for layer in self.layers:
            if layer.plan.spin_weights and layer.sigma is not None:
                layer.sigma[...] = layer.spin_variance()
        self.epoch = epoch


@dataclass(frozen=True)
class _Resident:
    """What a network on a GPU keeps there: the epochs of some data, which are held so that their ids stay theirs."""

    key: tuple[Any, ...]
    data: tuple[Array, Array]
    epochs: "DeviceEpochs"


def shapes(config: Config, features: int, classes: int) -> list[tuple[int, int]]:
    """Rows and columns of the weight arrays, from the data to the output; bias weights are a column."""
    widths = [features, *config.hidden, units_for(config.output, classes)]
    return [(outputs, inputs + config.bias) for inputs, outputs in pairwise(widths)]


def check_arrays(arrays: Mapping[str, Array], config: Config, features: int, classes: int) -> None:
    """Raise ``ValueError`` unless ``arrays`` are those of a network of these settings, which need not be there yet."""
    kinds = per_layer("weights", config.weights, config.layers)
    expected = {}
    for number, (shape, kind) in enumerate(zip(shapes(config, features, classes), kinds, strict=True)):
        expected |= {f"W{number}.{name}": each for name, each in _state(config, shape, kind == "binary").items()}
    for name, shape in expected.items():
        check_saved(name, arrays, shape, np.dtype(config.dtype))
    if unknown := sorted(set(arrays) - set(expected)):
        raise ValueError(f"the saved network must have the arrays {sorted(expected)} only, and has {shown(unknown)}")


def _state(config: Config, shape: tuple[int, int], binary: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the arrays of a layer that training carries from one epoch to the next."""
    if config.baseline is not None:
        return config.baseline.state(shape, binary)
    return dict.fromkeys(("H", "mean") if binary else ("H", "mean", "G", "variance"), shape)


def check_saved(name: str, arrays: Mapping[str, Array], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise ``ValueError`` unless there is such an array of finite numbers."""
    if name not in arrays:
        raise ValueError(f"the saved network must have the array {name!r}, got {shown(sorted(arrays))}")
    saved = arrays[name]
    if saved.shape != shape or saved.dtype != dtype:
        raise ValueError(f"saved {name!r} must be {dtype} of shape {shape}, got {saved.dtype} of {saved.shape}")
    if not np.isfinite(saved).all():
        raise ValueError(f"saved {name!r} must be finite numbers, got {saved[~np.isfinite(saved)][0]}")


def check_fits_memory(config: Config, features: int, classes: int) -> None:
    """Raise ``ValueError`` if the weights alone are more than all the memory of the machine."""
    weights = sum(outputs * inputs for outputs, inputs in shapes(config, features, classes))
    needed, there = 2 * np.dtype(config.dtype).itemsize * weights, total_memory()
    if needed > there:
        raise ValueError(
            f"`hidden` must make a network that fits into the memory of {there / 1e9:.3g} GB, got "
            f"{shown(config.hidden)}: its {weights:.3g} weights need {needed / 1e9:.3g} GB and more"
        )


def model(config: Config, features: int, classes: int) -> Model:
    """The network of the settings as a model.

    Args:
        config: settings.
        features: number of inputs.
        classes: number of classes, from which the output follows if the settings leave it to them.
    """
    return perceptron(
        [features, *config.hidden, units_for(config.output, classes)],
        weights=config.weights,
        activation=config.activation,
        output=output_name(config.output, classes),
        bias=config.bias,
        density=config.density,
        rng=np.random.default_rng([config.seed, _INITIAL, 0]),
    )


def init(config: Config, features: int, classes: int, device: str = "cpu") -> Network:
    """A network with random initial fields, the same on every device.

    Args:
        config: settings.
        features: number of inputs.
        classes: as of ``model``.
        device: where it is trained: one of ``deepnet.kernels.devices.DEVICES``.

    Raises:
        ValueError: the settings are no network, or one that cannot fit into memory; or as by ``operations_for``.
        DeviceUnavailableError: as by ``operations_for``.
        BaselineError: the algorithm needs what is not installed.
    """
    check_instance("config", config, Config, "a Config")
    check_count("features", features, 1)
    check_count("classes", classes, 2)
    operations = operations_for(device, config.dtype)
    check_fits_memory(config, features, classes)
    baseline = config.baseline
    if baseline is not None:
        choice("device", device, dict.fromkeys(baseline.devices))
    layers = (initial_layers if baseline is None else baseline.start)(
        lower(model(config, features, classes), config.closure),
        eps_init=config.initial_sizes(),
        rng=np.random.default_rng([config.seed, _INITIAL, 1]),
        dtype=np.dtype(config.dtype),
    )
    network = Network(config, layers, operations_for("cpu", config.dtype))
    if baseline is not None:
        return replace(network, device=device, memory=baseline.memory(layers))
    return network if device == "cpu" else network.on(operations, device)


def warm_up(config: Config, classes: int, device: str = "cpu") -> None:
    """Compile what training and predicting with these settings need, on a network too small to matter."""
    tiny = init(replace(config, hidden=(3,) * len(config.hidden)), 3, classes, device)
    x = np.eye(4, 3, dtype=config.dtype)
    y = np.zeros(4, np.int64) if classes > 2 else np.ones(4)
    with contextlib.suppress(DivergenceError):  # no matter with three units
        train_epoch(tiny, x, y)
    metrics(tiny, Evaluation(x, y, x, y))


def train_epoch(
    network: Network,
    x: Array,
    y: Array,
    progress: Callable[[int], None] | None = None,
    samples: int | None = None,
) -> None:
    """One pass over the training set in random order; depends on the seed and the number of the epoch only
    (and, in the last bits, on the number of threads).

    A network on a GPU copies the data there at the first epoch and keeps them for further ones of the same arrays,
    which must not be changed in between.

    Args:
        network: changed in place.
        x: inputs (samples, features) of the network's floating type.
        y: labels (samples,): ±1, or 0..classes-1.
        progress: called with the number of samples after each batch.
        samples: the pass ends after so many of them, 1 to all; None for all.

    Raises:
        ValueError: an argument is not as described.
        DivergenceError: when fields or messages leave the range of numbers.
    """
    x, y = _samples(network, x, y)
    if samples is not None:
        check_count("samples", samples, 1, len(x))
    config = network.config
    _own_arrays(network)
    rng = np.random.default_rng([config.seed, _EPOCHS, network.epoch])
    order = rng.permutation(len(x))[:samples]
    starts = range(0, len(order), config.batch_size)
    with network.operations.running():
        if config.baseline is not None:
            batches = [order[start : start + config.batch_size] for start in starts]
            _train_baseline(config.baseline, network, x, y, batches, rng, progress)
        elif network.device == "cpu":
            for start in starts:
                batch = order[start : start + config.batch_size]
                inputs = network.operations.gather(x, batch)
                _train_batch(network, inputs, y[batch], network.epoch + start / len(x), rng)
                if progress is not None:
                    progress(len(batch))
        else:
            schedules = [updates(config, network.epoch + start / len(x)) for start in starts]
            _epochs_on_device(network, x, y).run(order, schedules, progress)
    check_finite(network)
    network.epoch += 1


def _train_baseline(
    baseline: Baseline,
    network: Network,
    x: Array,
    y: Array,
    batches: Sequence[Array],
    rng: np.random.Generator,
    progress: Callable[[int], None] | None,
) -> None:
    """An epoch of these batches with another algorithm than message passing."""
    config = network.config
    epoch = Epoch(
        x, y, batches, network.epoch, config.epochs, config.learning_rate, network.device, network.operations, rng,
        progress,
    )  # fmt: skip
    baseline.train(network.layers, network.memory, epoch)


def _samples(network: Network, x: Array, y: Array) -> tuple[Array, Array]:
    """Inputs and labels, which are those given if they are as they should be.

    Raises:
        ValueError: naming what they must be.
    """
    layers = check_instance("network", network, Network, "a Network").layers
    x, y = check_inputs(layers, x), number_array("y", y)
    if not len(x):
        raise ValueError("`x` must have at least one sample, got none")
    if y.shape != (len(x),):
        raise ValueError(f"`y` must be of shape {(len(x),)}, one label for each sample, got shape {y.shape}")
    output = output_of(layers[-1].plan)
    if not (valid := output.valid(y)).all():
        raise ValueError(f"`y` must be {output.need}, got {y[~valid][0]}")
    return x.astype(network.config.dtype, copy=False), y


def _own_arrays(network: Network) -> None:
    """Copy what must not be written to, as in a network that was mapped from a file into memory.

    Compiled code does not ask: it would write there all the same, and end the process.
    """
    for layer in network.layers:
        for name, values in vars(layer).items():
            if isinstance(values, np.ndarray) and not values.flags.writeable:
                setattr(layer, name, np.array(values))


def _epochs_on_device(network: Network, x: Array, y: Array) -> "DeviceEpochs":
    """The data on the device and the captured steps, kept while data and settings are the same."""
    from deepnet.kernels.gpu import DeviceEpochs, GpuOperations

    config, operations, kept = network.config, network.operations, network._resident
    key = (id(x), id(y), config.batch_size, config.tau, config.reinforcement)
    if kept is None or kept.key != key:
        assert isinstance(operations, GpuOperations)
        sizes = {"batch_size": config.batch_size, "tau": config.tau, "reinforcement": config.reinforcement}
        epochs = DeviceEpochs(network.layers, operations, x, output_labels(network, y).T, **sizes)
        network._resident = kept = _Resident(key, (x, y), epochs)
    return kept.epochs


def _train_batch(network: Network, x: Array, y: Array, epoch: float, rng: np.random.Generator) -> None:
    """One mini-batch at a fractional epoch; x is (features, samples)."""
    try:
        train_batch(
            network.layers,
            x,
            output_labels(network, y),
            updates(network.config, epoch),
            operations=network.operations,
            tau=network.config.tau,
            rng=rng,
        )
    except (ValueError, FloatingPointError):  # the former from a channel that was given moments outside its domain
        check_finite(network)
        raise


def updates(config: Config, epoch: float) -> list[Update]:
    """The update of every layer at a fractional epoch."""
    names = ("rho", "damping", "beta")
    return [
        Update(*(schedule(epoch) for schedule in schedules), reinforcement=config.reinforcement)
        for schedules in zip(*(config.schedules(name) for name in names), strict=True)
    ]


def output_labels(network: Network, y: Array) -> Array:
    """Labels as the output observes them, from those of the data."""
    return output_of(network.layers[-1].plan).encode(y, network.config.dtype)


def check_finite(network: Network) -> None:
    """Raise ``DivergenceError`` if a quantity is not a number, or a field is beyond ``LARGEST_FIELD``."""
    for layer in network.layers:
        quantities = {"H": layer.H, "m": layer.mean}
        quantities |= {name: getattr(layer, name) for name in ("omega", "V", "g") if hasattr(layer, name)}
        for name, values in quantities.items():
            largest = float(np.abs(values).max())
            if not np.isfinite(largest) or (name == "H" and largest > LARGEST_FIELD):
                raise DivergenceError(
                    f"training diverged in epoch {network.epoch + 1}: layer {layer.plan.name}, quantity {name}, "
                    f"largest value {largest:g}. {advice(network.config)}"
                )


@dataclass(frozen=True)
class Evaluation:
    """Samples on which the errors are measured after every epoch."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array

    @classmethod
    def of(cls, x_train: Array, y_train: Array, x_test: Array, y_test: Array, *, seed: int) -> "Evaluation":
        """The whole test set and, of the training set, a fixed random 1/60: at least 1000 samples, or all if fewer.

        More would make the figures cost more than a tenth of the epoch that they are about.
        """
        size = min(len(x_train), max(1000, len(x_train) // 60))
        chosen = np.sort(np.random.default_rng([seed, _EVALUATION]).choice(len(x_train), size, replace=False))
        return cls(x_train[chosen], y_train[chosen], x_test, y_test)


def metrics(network: Network, evaluation: Evaluation) -> dict[str, Any]:
    """Errors in percent, polarization and overlap of every layer."""
    values: dict[str, Any] = {"epoch": network.epoch}
    layers, operations = network.layers, network.operations
    output = output_of(layers[-1].plan)
    with contextlib.nullcontext() if network.device == "cpu" else operations.running():
        for name, x, y in (
            ("train", evaluation.x_train, evaluation.y_train),
            ("test", evaluation.x_test, evaluation.y_test),
        ):
            numbers = output.numbers(y)
            for prefix, predict in (("", predict_pointwise), ("bayes_", predict_bayes)):
                if prefix and _is_point(network):
                    values[f"{prefix}{name}_error"] = values[f"{name}_error"]
                    continue
                predicted = output.numbers(predict(layers, x, operations))
                values[f"{prefix}{name}_error"] = error_percent(predicted, numbers)
    if network.device != "cpu":
        layers = network.to("cpu").layers
    values["polarization"] = [polarization(layer) for layer in layers]
    values["overlap"] = [overlap(layer) for layer in layers]
    return values


def _is_point(network: Network) -> bool:
    """Whether there is no posterior to average over, but one configuration of the weights."""
    return network.config.baseline is not None and network.config.baseline.point


def train(
    network: Network,
    x: Array,
    y: Array,
    evaluation: Evaluation | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[dict[str, Any]]:
    """Train up to ``config.epochs``, yielding after every epoch its seconds and, with ``evaluation``, its metrics.

    The state at a yield depends on the settings and the data only (and on the number of threads, see ``Config``), so a
    run may stop there and be taken up again.
    """
    x, y = _samples(network, x, y)
    while network.epoch < network.config.epochs:
        start = perf_counter()
        train_epoch(network, x, y, progress)
        seconds = perf_counter() - start
        measured = {"epoch": network.epoch} if evaluation is None else metrics(network, evaluation)
        yield measured | {"seconds": seconds}


#: What to do if message passing does not learn or diverges.
_ADVICE = "Try a smaller `beta`, a larger `damping`, `rho` nearer to 1, or more epochs"


def advice(config: Config) -> str:
    """What to do if a network does not learn or diverges."""
    return _ADVICE if config.baseline is None else config.baseline.remedy


def status(history: Sequence[dict[str, Any]], classes: int, advice: str = _ADVICE) -> str:
    """What to make of a finished run, in a sentence."""
    if not history:
        return "nothing trained: no epoch was run"
    error, chance = history[-1]["train_error"], 100.0 * (1.0 - 1.0 / classes)
    if error > 0.9 * chance:
        return f"not learning: training error {error:.2f} % is near chance ({chance:.0f} %). {advice}"
    return f"trained: {history[-1]['epoch']} epochs, training error {error:.2f} %"
