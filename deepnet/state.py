"""A network in training: how it is made, moved to another device, saved and restored."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from deepnet.baselines import MESSAGE_PASSING
from deepnet.config import Config
from deepnet.kernels.devices import operations_for
from deepnet.layers import MEMORIES, Layer, Plan, with_replicas
from deepnet.lower import lower
from deepnet.network import choice, perceptron
from deepnet.outputs import AUTO, classifying, output_channel, units_for
from deepnet.processes import ALONE, Communicator
from deepnet.sizes import check_count, total_memory
from deepnet.sweep import initial_layers
from factorgraph.dense.operations import Operations
from factorgraph.dense.state import Array
from factorgraph.interface.arguments import check_instance, shown
from factorgraph.interface.errors import ModelError
from factorgraph.model.description import Model

#: Numbers that start independent random streams from one seed.
INITIAL, EPOCHS, EVALUATION = 0, 1, 2


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
        device: where the layers are: one of ``deepnet.kernels.devices.DEVICES``. Those of a baseline are in host memory
            all the time, and this is where it trains.
        resident: what training keeps on a GPU beside the layers.
        communicator: of the processes that train it together, each with a network that is the same.
    """

    config: Config
    layers: list[Layer]
    operations: Operations
    epoch: int = 0
    device: str = "cpu"
    resident: Any = field(default=None, repr=False)
    communicator: Communicator = field(default=ALONE, repr=False)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{layer.plan.outputs} x {layer.plan.features}" for layer in self.layers)
        return f"<Network of layers {sizes}: epoch {self.epoch} on {self.device}, {self.config}>"

    @property
    def members(self) -> "list[Network]":
        """The network itself, in the place of those of an ensemble."""
        return [self]

    def configure(self, config: Config) -> None:
        """Go on with other settings, of the same structure."""
        self.config = config

    def arrays(self) -> dict[str, Array]:
        """Return the state of the weights, by name, in host memory: all that training carries from one epoch to the
        next."""
        return {name: self.operations.host(values) for name, values in self._arrays().items()}

    def to(self, device: str) -> "Network":
        """Return the network itself if it is there, else one with a copy of its state; errors as of
        ``operations_for``."""
        if device == self.device:
            return self
        _check_device(self.config, device)
        if self.config.baseline is not None:  # whose layers stay in host memory
            return replace(self, device=device)
        return self.on(operations_for(device, self.config.dtype), device)

    def on(self, operations: Operations, device: str) -> "Network":
        """As ``to``, for given operations of the device."""

        def moved(values: Array) -> Array:
            return operations.array(self.operations.host(values).copy())

        layers: list[Layer] = []
        for layer in self.layers:
            layers.append(layer.copied(moved, operations, layers[-1] if layers else None))
        return Network(self.config, layers, operations, self.epoch, device, communicator=self.communicator)

    def copied(self) -> "Network":
        """Return one with a copy of its state, where it is."""
        return self.on(self.operations, self.device)

    def settle(self) -> None:
        """Take what is kept of single batches as what is known before: other data follow."""
        for layer in self.layers:
            layer.settle()

    def in_double(self) -> "Network":
        """Return one with a copy of its state in float64, in host memory: a prediction by it does not depend on the
        samples beside it, nor change the network."""
        host = self.to("cpu")
        layers: list[Layer] = []
        for layer in host.layers:
            layers.append(layer.copied(_double, host.operations, layers[-1] if layers else None))
        return replace(host, layers=layers, resident=None)

    def drawn(self) -> dict[str, Array]:
        """Return what chance has fixed before training in the layers where it has, by their names, in host memory."""
        found = {layer.plan.name: layer.drawn() for layer in self.layers}
        return {name: self.operations.host(values) for name, values in found.items() if values is not None}

    def restore(self, arrays: Mapping[str, Array], epoch: int) -> None:
        """Take up a state given by ``arrays``; raises ``ValueError`` unless it is one of such a network."""
        for name, shape in _shapes([layer.plan for layer in self.layers]).items():
            check_saved(name, arrays, shape, np.dtype(self.config.dtype))
        for layer in self.layers:
            names = {f"{layer.plan.name}.{name}": name for name in layer.state()}
            layer.restore({own: self.operations.array(arrays[name]) for name, own in names.items()})
        self.epoch = epoch

    def agree(self) -> None:
        """Take up the state of the first of the processes where others have rounded differently, as those on other
        processors may."""
        if self.communicator is ALONE:
            return
        digests = [zlib.crc32(np.ascontiguousarray(values).data) for values in self.arrays().values()]
        if len(set(map(tuple, self.communicator.gather(digests)))) > 1:
            first = self.communicator.gather(None if self.communicator.rank else self.arrays())[0]
            self.restore(first, self.epoch)

    def _arrays(self) -> dict[str, Array]:
        return {f"{each.plan.name}.{name}": values for each in self.layers for name, values in each.state().items()}


def _double(values: Array) -> Array:
    return values.astype(np.float64) if values.dtype.kind == "f" else values


def model(config: Config, features: int, classes: int) -> Model:
    """Return the network of the settings as a model.

    Args:
        config: settings.
        features: number of inputs.
        classes: number of classes, from which the output follows if the settings leave it to them; for an output of
            numbers, how many each sample has.
    """
    return perceptron(
        [features, *config.hidden, units_for(config.output, classes)],
        weights=config.weights,
        activation=config.activation,
        output=output_channel(config.output, classes, **config.output_settings()),
        bias=config.bias,
        density=config.density,
        mass=config.mass,
        rng=np.random.default_rng([config.seed, INITIAL, 0]),
    )


def plans(config: Config, features: int, classes: int) -> tuple[Plan, ...]:
    """Return what the layers of the settings are, with all edges: nothing is drawn or made, however large they are.

    Raises:
        ValueError: a layer has more weights than can be counted.
    """
    try:
        return _plans(replace(config, density=1.0), features, classes)
    except ModelError as error:
        raise ValueError(
            f"`hidden` must make a network that can be built, got {shown(config.hidden)}: {error}"
        ) from error


def _plans(config: Config, features: int, classes: int) -> tuple[Plan, ...]:
    """Return what the layers of the settings are, as their algorithm has them."""
    lowered = MEMORIES[config.memory](lower(model(config, features, classes), config.closure))
    lowered = with_replicas(lowered, config.replicas)
    return lowered if config.baseline is None else config.baseline.plans(lowered)


def init(
    config: Config,
    features: int,
    classes: int,
    device: str = "cpu",
    communicator: Communicator = ALONE,
    *,
    member: int = 0,
) -> Network:
    """Return a network with random initial fields, the same on every device.

    Args:
        config: settings.
        features: number of inputs.
        classes: as of ``model``.
        device: where it is trained: one of ``deepnet.kernels.devices.DEVICES``.
        communicator: of the processes that train it together: ``deepnet.processes.world()`` for those that a launcher
            has started.
        member: its number in the ensemble of which it is, if the settings have several members.

    Raises:
        ValueError: the settings are no network, or one that cannot fit into memory; or as by ``operations_for``; or
            several processes with another algorithm than message passing.
        DeviceUnavailableError: as by ``operations_for``.
        BaselineError: the algorithm needs what is not installed.
    """
    check_instance("config", config, Config, "a Config")
    check_count("features", features, 1)
    check_count("classes", classes, 2 if config.output in (AUTO, *classifying()) else 1)
    check_count("member", member, 0)
    _check_device(config, device)
    operations = operations_for(device, config.dtype)
    if config.baseline is not None and communicator is not ALONE:
        raise ValueError(f"`algorithm` must be {MESSAGE_PASSING!r} in several processes, got {config.algorithm!r}")
    check_fits_memory(plans(config, features, classes), config)
    if config.baseline is not None:
        choice("device", device, dict.fromkeys(config.baseline.devices))
    layers = initial_layers(
        _plans(config, features, classes),
        eps_init=config.initial_sizes(),
        rng=np.random.default_rng([config.seed, INITIAL, 1, *([member] if member else [])]),
        dtype=np.dtype(config.dtype),
    )
    own = config if config.members == 1 else replace(config, members=1)
    network = Network(own, layers, operations_for("cpu", config.dtype), communicator=communicator)
    return network.to(device) if config.baseline is not None or device == "cpu" else network.on(operations, device)


def _check_device(config: Config, device: str) -> None:
    if config.memory == "sites" and device != "cpu":
        raise ValueError(f"`device` must be 'cpu' with memory 'sites', got {shown(device)}")
    if config.replicas > 1 and device != "cpu":
        raise ValueError(f"`device` must be 'cpu' with several replicas, got {shown(device)}")


def check_arrays(arrays: Mapping[str, Array], config: Config, features: int, classes: int) -> None:
    """Raise ``ValueError`` unless ``arrays`` are those of a network of these settings, which need not be there yet."""
    shapes, expected = _shapes(plans(config, features, classes)), set[str]()
    for member in range(config.members):
        for name, shape in shapes.items():
            name = of_member(member, name) if config.members > 1 else name
            check_saved(name, arrays, shape, np.dtype(config.dtype))
            expected.add(name)
    if unknown := sorted(set(arrays) - expected):
        raise ValueError(f"the saved network must have the arrays {sorted(expected)} only, and has {shown(unknown)}")


def of_member(member: int, name: str) -> str:
    """Return what an array of a member is called among those of its ensemble."""
    return f"member{member}.{name}"


def _shapes(plans: Sequence[Plan]) -> dict[str, tuple[int | None, ...]]:
    return {f"{plan.name}.{name}": shape for plan in plans for name, shape in plan.state_shapes().items()}


def check_saved(name: str, arrays: Mapping[str, Array], shape: tuple[int | None, ...], dtype: np.dtype[Any]) -> None:
    """Raise ``ValueError`` unless there is such an array of finite numbers; a size of None is any."""
    if name not in arrays:
        raise ValueError(f"the saved network must have the array {name!r}, got {shown(sorted(arrays))}")
    saved = arrays[name]
    known = tuple(size if own is None else own for size, own in zip(saved.shape, shape, strict=False))
    if saved.shape != known or len(shape) != saved.ndim or saved.dtype != dtype:
        raise ValueError(f"saved {name!r} must be {dtype} of shape {shape}, got {saved.dtype} of {saved.shape}")
    if not np.isfinite(saved).all():
        raise ValueError(f"saved {name!r} must be finite numbers, got {saved[~np.isfinite(saved)][0]}")


def check_fits_memory(plans: Sequence[Plan], config: Config) -> None:
    """Raise ``ValueError`` if the state of the layers alone is more than all the memory of the machine."""
    numbers = config.members * sum(prod(size or 0 for size in shape) for shape in _shapes(plans).values())
    needed, there = np.dtype(config.dtype).itemsize * numbers, total_memory()
    if needed > there:
        weights = config.members * sum(plan.weights for plan in plans)
        raise ValueError(
            f"`hidden` must make a network that fits into the memory of {there / 1e9:.3g} GB, got "
            f"{shown(config.hidden)}: its {weights:.3g} weights need {needed / 1e9:.3g} GB and more"
        )


def check_finite(network: Network, communicator: Communicator = ALONE) -> None:
    """Raise ``DivergenceError`` if a quantity is not a number, or larger than its layer can bear.

    Args:
        network: a network.
        communicator: of the processes that ask together, and find the same.
    """
    watched = [(layer, *each) for layer in network.layers for each in layer.watched().items()]
    sizes = [float(np.abs(values).max()) if values.size else 0.0 for _, _, (values, _) in watched]
    for (layer, name, (_, limit)), largest in zip(watched, communicator.largest(np.array(sizes)), strict=True):
        if not np.isfinite(largest) or largest > limit:
            raise DivergenceError(
                f"training diverged in epoch {network.epoch + 1}: layer {layer.plan.name}, quantity {name}, "
                f"largest value {largest:g}. {network.config.remedy}"
            )
