"""What the estimators share: settings, how a network is trained on checked arrays, when training ends."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from deepnet.average import log_loss
from deepnet.config import Config
from deepnet.ensemble import Trained
from deepnet.estimator.inputs import scaled, seed_of, validated
from deepnet.kernels.devices import operations_for
from deepnet.sizes import check_count
from deepnet.train import train_epoch
from factorgraph.dense.state import Array
from factorgraph.interface.arguments import check_flag, check_number

#: Settings that the state of a network depends on: they change by ``fit`` only, the other ones by ``partial_fit`` too.
_STRUCTURE = (
    *("hidden", "closure", "weights", "mass", "activation", "output", "bias", "density", "memory", "eps_init"),
    *("members", "replicas"),
)
_SCHEDULES = ("epochs", "batch_size", "preset", "rho", "damping", "beta", "tau", "reinforcement", "coupling")

#: Number that starts the random stream of the split, beside those of ``deepnet.state``.
VALIDATION = 3

#: Samples on which ``verbose`` measures.
_REPORTED = 1000


@dataclass(frozen=True)
class Samples:
    """What a network learns from.

    Attributes:
        x: inputs (samples, features) on its scale.
        y: labels, soft targets or numbers of the samples, as ``deepnet.train.train_epoch`` takes them.
        weight: powers of the likelihoods, (samples,); None for 1.
    """

    x: Array
    y: Array
    weight: Array | None = None

    def __getitem__(self, chosen: Any) -> "Samples":
        return Samples(self.x[chosen], self.y[chosen], None if self.weight is None else self.weight[chosen])

    def weighing(self) -> "Samples":
        """Return those whose weight is not 0: the others take no part in anything."""
        return self if self.weight is None or self.weight.all() else self[self.weight > 0]


class Estimator(BaseEstimator):
    """A network as scikit-learn has estimators; subclasses say what targets are.

    Attributes:
        mean_, scale_: what inputs are shifted and divided by.
        network_: the trained network, or the ensemble.
        n_iter_: the number of epochs done.
        validation_loss_: with ``early_stopping``, the loss on the held-out samples after every epoch.
    """

    structure: ClassVar[tuple[str, ...]] = _STRUCTURE
    schedules: ClassVar[tuple[str, ...]] = _SCHEDULES

    mean_: Any
    scale_: Any

    # The arguments that both have, each with the default of its constructor.
    hidden: Any
    epochs: Any
    members: Any
    random_state: Any
    standardize: Any
    device: Any
    early_stopping: Any
    validation_fraction: Any
    n_iter_no_change: Any
    tol: Any
    warm_start: Any
    verbose: Any

    @abstractmethod
    def _error(self, network: Trained, samples: Samples) -> float:
        """Return the error of the predictions of samples, as ``verbose`` prints it."""

    @abstractmethod
    def _printed(self, error: float) -> str:
        """Return an error in words."""

    @abstractmethod
    def _held_out(self, samples: Samples, count: int, seed: int) -> tuple[Array, Array]:
        """Return the numbers of the samples to learn from, and those of ``count`` others."""

    def _config(self, seed: int) -> Config:
        for name in ("standardize", "early_stopping", "warm_start"):
            check_flag(name, getattr(self, name))
        if not isinstance(self.verbose, bool | np.bool_):
            check_count("verbose", self.verbose, 0)
        check_number("validation_fraction", self.validation_fraction, above=0, below=1)
        check_count("n_iter_no_change", self.n_iter_no_change, 1)
        check_number("tol", self.tol, minimum=0)
        operations_for(self.device, Config.dtype)
        values: dict[str, Any] = {name: getattr(self, name) for name in (*self.structure, *self.schedules)}
        if isinstance(self.hidden, Integral):
            values["hidden"] = (self.hidden,)
        return Config(**values, seed=seed)

    def _begin(self, *, again: bool) -> tuple[Config, Trained | None]:
        """Return the settings, and the network that goes on: None for a new one, of which nothing is left here then.

        An error on the way to a new network must not leave one that does not fit the rest.
        """
        network: Trained | None = getattr(self, "network_", None) if again else None
        config = self._config(seed_of(self.random_state) if network is None else network.config.seed)
        if network is None:
            vars(self).pop("network_", None)
        return config, network

    def _check_same(self, old: Config, new: Config) -> None:
        for name in self.structure:
            before, now = getattr(old, name), getattr(new, name)
            if now != before:
                raise ValueError(f"`{name}` must stay {before!r} until fit starts a new network, got {now!r}")

    def _fit(self, network: Trained, config: Config, samples: Samples) -> list[dict[str, Any]]:
        """Train for ``epochs`` epochs or until there is nothing to gain, and keep the network; return the history."""
        network = self._taken_up(network, replace(config, epochs=network.epoch + config.epochs))
        samples, held = samples.weighing(), None
        if self.early_stopping:
            count = max(1, round(self.validation_fraction * len(samples.x)))
            if count >= len(samples.x):
                need = (
                    f"a fraction of {len(samples.x)} sample{'s' * (len(samples.x) > 1)} that leaves some to learn from"
                )
                raise ValueError(f"`validation_fraction` must be {need}, got {self.validation_fraction}")
            rest, chosen = self._held_out(samples, count, config.seed)
            samples, held = samples[rest], samples[chosen]
        history = list(self._epochs(network, samples, held))
        self._finish(held)
        return history

    def _epochs(self, network: Trained, samples: Samples, held: Samples | None) -> Iterator[dict[str, Any]]:
        """Train epoch by epoch; ``network_`` is the best network so far, or the last one if nothing is held out."""
        best, waited, losses = np.inf, 0, []
        means = _means(network)
        self.network_, self.n_iter_ = network.to("cpu"), network.epoch
        while network.epoch < network.config.epochs:
            train_epoch(network, samples.x, samples.y, sample_weight=samples.weight)
            yield {"epoch": network.epoch} | self._report(network, samples)
            self.n_iter_ = network.epoch
            if held is None:
                self.network_ = network.to("cpu")
            else:
                there = network.to("cpu")
                losses.append(self._loss(there.in_double(), held))
                waited += 1
                if losses[-1] < best - (self.tol if best < np.inf else 0.0):
                    best, waited = losses[-1], 0
                    self.network_ = there.copied()
                self.validation_loss_ = losses
            if waited == self.n_iter_no_change:
                return
            if held is None and self.tol > 0:
                before, means = means, _means(network)
                if max(_change(old, new) for old, new in zip(before, means, strict=True)) <= self.tol:
                    return

    def _loss(self, network: Trained, held: Samples) -> float:
        """Return the loss of a copy of a network on samples that it has not seen."""
        return log_loss(network, held.x, held.y)

    def _finish(self, held: Samples | None) -> None:
        """Do what is left once the network is trained, with the samples that it has not seen."""

    def _online(self, network: Trained, config: Config, samples: Samples) -> None:
        """One epoch on the given samples, and keep the network."""
        network, samples = self._taken_up(network, config), samples.weighing()
        train_epoch(network, samples.x, samples.y, sample_weight=samples.weight)
        self._report(network, samples)
        self.network_, self.n_iter_ = network.to("cpu"), network.epoch

    def _taken_up(self, network: Trained, config: Config) -> Trained:
        """Return the network where it is trained, with its settings, for other data than before."""
        network.configure(config)
        network.settle()
        return network.to(self.device)

    def _report(self, network: Trained, samples: Samples) -> dict[str, float]:
        """With ``verbose``, print and return the error on at most ``_REPORTED`` of the samples."""
        if not self.verbose:
            return {}
        error = self._error(network.to("cpu"), samples[:: -(-len(samples.x) // _REPORTED)])
        print(f"epoch {network.epoch}: training error {self._printed(error)}", flush=True)
        return {"train_error": error}

    def _fitted(self, X: Any) -> tuple[Trained, Array]:
        check_is_fitted(self, "network_")
        return self.network_, scaled(validated(self, X=X, reset=False), self.mean_, self.scale_)


def _means(network: Trained) -> list[Array]:
    return [np.array(values) for name, values in network.arrays().items() if name.endswith(".mean")]


def _change(old: Array, new: Array) -> float:
    """Return the root mean square of a change, in units of that of what has changed."""
    return float(np.sqrt(np.mean(np.square(new - old)) / max(np.mean(np.square(new)), 1e-300)))
