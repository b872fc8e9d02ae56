"""All settings of a training run: what decides its result, and nothing else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from numbers import Integral
from typing import Any

import numpy as np

from deepnet.baselines import BASELINES, MESSAGE_PASSING, Baseline
from deepnet.layers import MEMORIES
from deepnet.network import ACTIVATIONS, WEIGHTS, choice, per_layer, sequence
from deepnet.outputs import AUTO, OUTPUTS, classifying, kind_named, numeric
from deepnet.presets import PRESETS, Setting
from deepnet.schedule import Schedule
from deepnet.sizes import LARGEST, check_count
from factorgraph.dense.closures import CLOSURES
from factorgraph.interface.arguments import check_fields, check_flag, check_number, shown

#: Largest seed: 128 bits, the most that NumPy draws from the system.
LARGEST_SEED = 2**128 - 1

#: The value of ``eps_init`` that means: as the depth demands.
CRITICAL = "critical"

#: What to do if message passing does not learn or diverges.
REMEDY = "Try a smaller `beta`, a larger `damping`, `rho` nearer to 1, or more epochs"

#: Settings that every version has had. Those that came later are by default what runs were before they came.
_FIRST = (
    *("hidden", "closure", "weights", "activation", "bias", "density", "epochs", "batch_size", "preset", "rho"),
    *("damping", "beta", "tau", "reinforcement", "eps_init", "seed", "dtype"),
)

#: Settings that only some algorithms read: message passing those that no baseline claims.
_MESSAGE_PASSING_SETTINGS = (
    "closure",
    "mass",
    "memory",
    "preset",
    "rho",
    "damping",
    "beta",
    "tau",
    "reinforcement",
    "replicas",
    "coupling",
    "eps_init",
    "label_noise",
)
_LEARNING_RATE = "learning_rate"

#: Settings that only some outputs read.
_OUTPUT_SETTINGS = ("temperature", "noise_variance")

#: A hyper-parameter as it may be given: one value for all layers or one per layer; None for the preset's.
Settings = Setting | Sequence[Setting] | None


#: γ unless it is given.
_COUPLING = 1.0

#: Settings of message passing that may change over a run.
SCHEDULED = ("rho", "damping", "beta", "coupling")

#: γ of several replicas, unless another is given.
_COUPLING = 1.0

#: Floating types that a network may have.
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Config:
    """Settings of a run; checked on construction and completed to one value per layer.

    Attributes:
        hidden: number of units of each hidden layer.
        closure: "bp", "bpi", "mf" or "amp", for all layers or one per layer.
        weights: "binary", "continuous", "ternary" (-1, 0, 1) or "spike-and-slab" (0 or continuous), for all layers or
            one per layer.
        mass: prior probability that a ternary or spike-and-slab weight is 0, in (0, 1), for all layers or one per
            layer; None for one that starts at 1/2 and is learnt, after every epoch, as the mean of the posterior ones.
        activation: "sign" or "relu", for all hidden layers or one per hidden layer.
        output: "auto" for what follows from the labels, "sign" for two classes and "argmax" for more; or one of these,
            or another one of ``deepnet.outputs.OUTPUTS``.
        temperature: T > 0 of the noise on the outputs: its scale with "logistic" and "softmax", its deviation with
            "probit" and "argmax-probit".
        label_noise: share of the training labels, in [0, 1), that are taken to be drawn at random: a sample that is
            confidently wrong is given up then. Predictions are of the labels without that noise.
        noise_variance: s² of output "gaussian", in units of the targets; None for one an output that is learnt.
        bias: give every unit the weight of a constant unit.
        density: fraction of the weights kept, for all layers, the last one too, or one per layer: [DL, Fig. 1] keeps
            all of the last one, (d, d, 1).
        epochs: passes over the training set, or over that of each task in turn, for which the schedules begin anew.
        batch_size: samples in a mini-batch.
        memory: what is kept of the batches seen: "fields", the posterior of every weight [DL]; "covariance", besides
            one covariance of the inputs of every layer, for streams: see ``deepnet.layers.covariance``; or "sites", the
            message of every batch, so that none counts twice: see ``deepnet.layers.sites``. The last two go with the
            presets "stream" and "adf".
        preset: "default", "paper", "paper-bayesian" or "paper-continual" ([DL, App. B.3]), "adf", or with memory
            "covariance" "stream": where rho, damping and beta come from if they are not given.
        rho: ρ, weight of the previous posterior as the next prior; of its precision only with memory "covariance".
        damping: α in [0, 1), m ← αm + (1 - α)m_new.
        beta: likelihood weight β > 0 of the hidden and output layers.
        tau: inner iterations a batch.
        reinforcement: r >= 0, weight of the previous inner iteration's field; with tau > 1 the fields grow by about
            rho + r a batch, so that r > 0 wants rho < 1.
        replicas: y, networks of which every weight is coupled to that of a centre, which focuses on wide minima: see
            ``deepnet.layers.focusing``. Weights ±1 only, with memory "fields".
        coupling: γ >= 0 of several replicas; None for 1.
        eps_init: ε, size of the initial fields (±1 weights) or of the initial means in units of their deviation
            (continuous weights), for all layers or one per layer; "critical" for that of
            ``models.preactivation.critical_field`` (±1 weights).
        seed: of everything random. The same seed gives the same run on the same machine with as many threads
            (NUMBA_NUM_THREADS): what these add up, they round differently if there are more of them or fewer.
        members: networks that are trained side by side on the same batches, from other initial fields, and predict by
            their average: see ``deepnet.ensemble.Ensemble``.
        dtype: "float32" or "float64".
        algorithm: "message-passing" or one of ``deepnet.baselines.BASELINES``, which leave the settings alone that they
            do not know.
        learning_rate: of training by gradients; None for that of the algorithm.

    Raises:
        ValueError: naming the setting, what it must be and what it was.
    """

    hidden: tuple[int, ...] = (501, 501)
    closure: str | tuple[str, ...] = "mf"
    weights: str | tuple[str, ...] = "binary"
    mass: float | tuple[float, ...] | None = None
    activation: str | tuple[str, ...] = "sign"
    output: str = AUTO
    temperature: float = 1.0
    label_noise: float = 0.0
    noise_variance: float | None = None
    bias: bool = False
    density: float | tuple[float, ...] = 1.0
    epochs: int = 100
    batch_size: int = 128
    memory: str = "fields"
    preset: str = "default"
    rho: Settings = None
    damping: Settings = None
    beta: Settings = None
    tau: int = 1
    reinforcement: float = 0.0
    replicas: int = 1
    coupling: Settings = _COUPLING
    eps_init: float | str | tuple[float, ...] = 1.0
    seed: int = 0
    members: int = 1
    dtype: str = "float32"
    algorithm: str = MESSAGE_PASSING
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        choice("algorithm", self.algorithm, dict.fromkeys((MESSAGE_PASSING, *BASELINES)))
        self._set("hidden", self._widths())
        for name, minimum, maximum in (
            ("epochs", 0, LARGEST),
            ("batch_size", 1, LARGEST),
            ("tau", 1, LARGEST),
            ("replicas", 1, LARGEST),
            ("seed", 0, LARGEST_SEED),
            ("members", 1, LARGEST),
        ):
            self._set(name, check_count(name, getattr(self, name), minimum, maximum))
        choice("output", self.output, dict.fromkeys((AUTO, *OUTPUTS)))
        self._set("temperature", check_number("temperature", self.temperature, above=0))
        self._set("label_noise", check_number("label_noise", self.label_noise, minimum=0, below=1))
        numbers = self.output in numeric()
        _require("label_noise", not (numbers and self.label_noise), "0 for an output of numbers", self.label_noise)
        if self.noise_variance is not None:
            self._set("noise_variance", check_number("noise_variance", self.noise_variance, above=0))
        self._set("bias", check_flag("bias", self.bias))
        self._set("reinforcement", check_number("reinforcement", self.reinforcement, minimum=0))
        choice("dtype", self.dtype, dict.fromkeys(DTYPES))
        self._set_each("closure", self.layers, lambda value: _name("closure", value, CLOSURES))
        self._set_each("weights", self.layers, lambda value: _name("weights", value, WEIGHTS))
        self._set_each("activation", self.layers - 1, lambda value: _name("activation", value, ACTIVATIONS))
        self._set_each("density", self.layers, lambda value: _number("density", value, "in (0, 1]", maximum=1))
        self._check_eps_init()
        self._check_mass()
        self._check_memory()
        self._check_replicas()
        if self.learning_rate is not None:
            self._set("learning_rate", check_number("learning_rate", self.learning_rate, above=0))
        self._check_unread()
        if self.baseline is None:
            self._complete_schedules()

    def _set(self, name: str, value: Any) -> None:
        """Keep a setting as a plain Python object, which JSON can hold."""
        object.__setattr__(self, name, value)

    def _set_each(self, name: str, layers: int, check: Callable[[Any], Any]) -> None:
        """Keep what ``check`` makes of the one value, or of the value of every layer."""
        value = getattr(self, name)
        given = sequence(value)
        per_layer(name, value, layers)
        self._set(name, check(value) if given is None else tuple(map(check, given)))

    def _widths(self) -> tuple[int, ...]:
        widths = sequence(self.hidden)
        whole = widths is not None and all(_is_integer(width, 1) for width in widths)
        if widths is None or not whole:
            got = shown(self.hidden if widths is None else widths)
            raise ValueError(f"`hidden` must be a sequence of integers >= 1, got {got}")
        few = all(width <= LARGEST for width in widths)
        _require("hidden", few, f"at most {LARGEST} units a layer", widths)
        return tuple(int(width) for width in widths)

    def _check_eps_init(self) -> None:
        need = f"a finite number > 0 or '{CRITICAL}'"
        if not isinstance(self.eps_init, str) or self.eps_init != CRITICAL:
            self._set_each("eps_init", self.layers, lambda value: _number("eps_init", value, need))
            return
        _require("eps_init", bool(self.hidden), "a number for a network without hidden layers", self.eps_init)
        binary = all(kind == "binary" for kind in per_layer("weights", self.weights, self.layers))
        _require("eps_init", binary, "a number where weights are not binary", self.eps_init)

    def _check_mass(self) -> None:
        sparse = [name for name in per_layer("weights", self.weights, self.layers) if WEIGHTS[name].mass > 0.0]
        if self.baseline is not None:
            _require("weights", not sparse, "of another kind with a baseline, which has no prior", self.weights)
        if self.mass is not None:
            _require("mass", bool(sparse), "None where no weights may be 0", self.mass)
            self._set_each("mass", self.layers, lambda value: _number("mass", value, "in (0, 1)", below=1))

    def _check_memory(self) -> None:
        choice("memory", self.memory, MEMORIES)
        if self.memory == "covariance":
            for name, needed in (("closure", "mf"), ("weights", "binary"), ("density", 1.0)):
                value = getattr(self, name)
                same = all(each == needed for each in per_layer(name, value, self.layers))
                _require(name, same, f"{needed!r} with memory 'covariance'", value)

    def _check_replicas(self) -> None:
        if self.replicas > 1:
            _require("memory", self.memory == "fields", "'fields' with several replicas", self.memory)
            binary = all(kind == "binary" for kind in per_layer("weights", self.weights, self.layers))
            _require("weights", binary, "binary with several replicas", self.weights)

    def _complete_schedules(self) -> None:
        preset = choice("preset", self.preset, PRESETS)
        if any(given is None for given in (self.rho, self.damping, self.beta)):
            fits = preset.memory in (None, self.memory)
            _require("preset", fits, f"another with memory {self.memory!r}", self.preset)
        weights = per_layer("weights", self.weights, self.layers)
        closures = per_layer("closure", self.closure, self.layers)
        chosen = preset.settings(self.hidden, weights, closures) | {"coupling": [_COUPLING] * self.layers}
        for name, values in chosen.items():
            given = getattr(self, name)
            values = per_layer(name, values if given is None else given, self.layers)
            self._set(name, tuple(Schedule.of(name, value) for value in values))
        for schedule in self.schedules("coupling"):
            _require("coupling", 0 <= schedule.smallest and schedule.largest < np.inf, "in [0, inf)", str(schedule))
            alone = self.replicas > 1 or schedule == Schedule.of("coupling", _COUPLING)
            _require("coupling", alone, "left alone where no weights have several replicas", str(schedule))
        for schedule in self.schedules("rho"):
            _require("rho", 0 <= schedule.smallest and schedule.largest < np.inf, "in [0, inf)", str(schedule))
            exact = self.memory != "sites" or schedule.smallest == schedule.largest == 1
            _require("rho", exact, "1 with memory 'sites', as preset 'adf' has it", str(schedule))
            most = self.memory != "covariance" or schedule.largest <= 1
            _require("rho", most, "at most 1 with memory 'covariance'", str(schedule))
        for schedule in self.schedules("damping"):
            _require("damping", 0 <= schedule.smallest and schedule.largest < 1, "in [0, 1)", str(schedule))
        for schedule in self.schedules("beta"):
            _require("beta", 0 < schedule.smallest and schedule.largest < np.inf, "in (0, inf)", str(schedule))

    def _check_unread(self) -> None:
        """What the algorithm does not read must be as it is by default: nobody may take it to have an effect."""
        if self.baseline is not None and self.output in OUTPUTS:
            known = self.output in classifying() and not kind_named(self.output).settings
            _require("output", known, f"of another kind with algorithm {self.algorithm!r}", self.output)
        unread = {field.name: field.default for field in fields(self)}
        for name in self.read():
            del unread[name]
        for name, default in unread.items():
            value = getattr(self, name)
            if value is not default and not (isinstance(value, str | float | int) and value == default):
                reader = "output" if name in _OUTPUT_SETTINGS else "algorithm"
                need = f"left alone with {reader} {getattr(self, reader)!r}, which does not know it"
                raise ValueError(f"`{name}` must be {need}, got {shown(value)}")

    def read(self) -> tuple[str, ...]:
        """Return the names of the settings that the algorithm reads, in order."""
        own = _MESSAGE_PASSING_SETTINGS if self.baseline is None else self.baseline.settings
        own = (*own, *(kind_named(self.output).settings if self.output != AUTO else ()))
        return tuple(
            field.name
            for field in fields(self)
            if field.name in own or field.name not in (*_MESSAGE_PASSING_SETTINGS, _LEARNING_RATE, *_OUTPUT_SETTINGS)
        )

    def output_settings(self) -> dict[str, Any]:
        """Return the settings that only some outputs read."""
        return {name: getattr(self, name) for name in _OUTPUT_SETTINGS}

    @property
    def remedy(self) -> str:
        """What to do if a network does not learn or diverges."""
        return REMEDY if self.baseline is None else self.baseline.remedy

    @property
    def baseline(self) -> Baseline | None:
        """The algorithm, unless it is message passing."""
        return BASELINES.get(self.algorithm)

    @property
    def method(self) -> str | tuple[str, ...]:
        """What trains the network, in a word: the algorithm, and of message passing the closure."""
        return self.closure if self.baseline is None else self.algorithm

    @property
    def layers(self) -> int:
        """Number of weight layers."""
        return len(self.hidden) + 1

    def initial_sizes(self) -> tuple[float, ...]:
        """Return ε of each layer, numbers also where ``eps_init`` is "critical"."""
        if self.eps_init != CRITICAL:
            return per_layer("eps_init", self.eps_init, self.layers)  # pyright: ignore[reportReturnType]
        from models.preactivation import critical_field

        names = per_layer("activation", self.activation, self.layers - 1)
        units = [ACTIVATIONS[name].nonlinearity for name in names]
        return (critical_field(units),) * self.layers

    def schedules(self, name: str) -> tuple[Schedule, ...]:
        """Return one schedule per layer of one of ``SCHEDULED``."""
        return getattr(self, name)

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers and strings, from which ``from_json`` makes the same settings."""
        values = asdict(self)
        for name in SCHEDULED if self.baseline is None else ():
            values[name] = [str(schedule) for schedule in self.schedules(name)]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Config":
        """Return settings as written by ``to_json``, in this version or an earlier one; raise ``ValueError`` for
        unknown names and missing ones."""
        return cls(**check_fields("config", values, [field.name for field in fields(cls)], cls.later()))

    @classmethod
    def later(cls) -> dict[str, Any]:
        """Return the settings that earlier versions were without, and what they were then."""
        return {field.name: field.default for field in fields(cls) if field.name not in _FIRST}


def _is_integer(value: object, minimum: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= minimum


def _number(name: str, value: object, need: str, maximum: float = np.inf, below: float = np.inf) -> float:
    """Return a number above 0; what it must be is said in the words of ``need``."""
    try:
        return check_number(name, value, above=0, maximum=maximum, below=below)
    except ValueError:
        raise ValueError(f"`{name}` must be {need}, got {shown(value)}") from None


def _name(name: str, value: Any, options: Mapping[str, Any]) -> str:
    choice(name, value, dict(options))
    return value


def _require(name: str, condition: bool, need: str, value: object) -> None:
    if not condition:
        raise ValueError(f"`{name}` must be {need}, got {shown(value)}")
