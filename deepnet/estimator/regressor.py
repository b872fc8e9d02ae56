"""Message passing as a scikit-learn regressor."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from deepnet.average import Uncertainty, law, uncertainty
from deepnet.config import Config, Settings
from deepnet.ensemble import Trained, create, one_network
from deepnet.estimator.base import VALIDATION, Estimator, Samples
from deepnet.estimator.inputs import column_moments, scaled, validated, weights_of
from deepnet.export.exported import Exported
from deepnet.export.packing import export
from deepnet.outputs import numeric, output_of
from deepnet.outputs.base import Predictive
from deepnet.predict import calibrate_noise
from factorgraph.dense.state import Array
from factorgraph.interface.arguments import check_choice, check_flag


class MessagePassingRegressor(RegressorMixin, Estimator):
    """A multi-layer perceptron that learns a distribution over its weights by message passing, for regression.

    Predictions are means and deviations of the targets under that distribution. Every feature and every target is
    shifted and scaled by its own mean and deviation.

    Args:
        hidden: number of units of each hidden layer; an integer stands for one layer.
        closure: "bp", "bpi", "mf" or "amp", for all layers or one per layer.
        weights: "binary", "continuous", "ternary" or "spike-and-slab", for all layers or one per layer.
        mass: prior probability that a ternary or spike-and-slab weight is 0; None for one that is learnt.
        activation: "sign" or "relu", for all hidden layers or one per hidden layer.
        output: "gaussian" for targets seen through Gaussian noise, or "poisson" for counts, whose rate is the
            exponential of the output.
        noise_variance: of the Gaussian noise, in units of the targets squared; None for one that is learnt, by
            expectation maximisation, for each target.
        bias, density, epochs, batch_size, memory, preset: see ``MessagePassingClassifier``.
        rho, damping, beta, tau, reinforcement, eps_init: likewise; a likelihood weight β counts a sample β · epochs
            times in all.
        replicas, coupling: likewise.
        members: networks that are trained on the same batches from other initial fields, of which the mixture is
            predicted: see ``deepnet.ensemble.Ensemble``.
        random_state: None, an integer (then the seed of ``Config``), a NumPy ``RandomState`` or ``Generator``.
        standardize: shift and scale the features and, with Gaussian noise, the targets; with False all should be of
            order 1.
        device: where to train: "cpu", "cuda" or "cuda-tf32".
        early_stopping: hold ``validation_fraction`` of the samples out, end when their loss (minus the log likelihood)
            has not improved by ``tol`` for ``n_iter_no_change`` epochs, and keep the network that was best for them,
            with the learnt noise that suits them best: that of the samples that were learnt from is too small.
        validation_fraction, n_iter_no_change: see there.
        tol: see there; without ``early_stopping``, training ends once the means of no layer's weights change by more
            than this share in an epoch (root mean squares).
        warm_start: ``fit`` goes on with the network that is there, for further ``epochs``.
        verbose: print a line after every epoch.

    Attributes:
        n_features_in_, feature_names_in_: of the inputs; the names only if ``X`` was a data frame that has them.
        mean_, scale_: what features are shifted and divided by.
        target_mean_, target_scale_: likewise of the targets.
        noise_variance_: of each target (targets,), given or learnt; only with output "gaussian".
        network_, n_iter_: the trained ``deepnet.train.Network`` and the number of epochs done.
        validation_loss_: with ``early_stopping``, the loss on the held-out samples after every epoch, of the scaled
            targets.
    """

    structure = (*Estimator.structure, "noise_variance")

    def __init__(
        self,
        hidden: int | Sequence[int] = (50, 50),
        *,
        closure: str | Sequence[str] = "amp",
        weights: str | Sequence[str] = "continuous",
        mass: float | Sequence[float] | None = None,
        activation: str | Sequence[str] = "relu",
        output: str = "gaussian",
        noise_variance: float | None = None,
        bias: bool = True,
        density: float | Sequence[float] = 1.0,
        epochs: int = 400,
        batch_size: int = 32,
        memory: str = "fields",
        preset: str = "default",
        rho: Settings = 1.0,
        damping: Settings = 0.0,
        beta: Settings = 0.15,
        tau: int = 1,
        reinforcement: float = 0.0,
        replicas: int = 1,
        coupling: Settings = 1.0,
        eps_init: float | str | Sequence[float] = 1.5,
        members: int = 1,
        random_state: int | np.random.RandomState | np.random.Generator | None = None,
        standardize: bool = True,
        device: str = "cpu",
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 100,
        tol: float = 0.0,
        warm_start: bool = False,
        verbose: bool | int = False,
    ) -> None:
        self.hidden = hidden
        self.closure = closure
        self.weights = weights
        self.mass = mass
        self.activation = activation
        self.output = output
        self.noise_variance = noise_variance
        self.bias = bias
        self.density = density
        self.epochs = epochs
        self.batch_size = batch_size
        self.memory = memory
        self.preset = preset
        self.rho = rho
        self.damping = damping
        self.beta = beta
        self.tau = tau
        self.reinforcement = reinforcement
        self.replicas = replicas
        self.coupling = coupling
        self.eps_init = eps_init
        self.members = members
        self.random_state = random_state
        self.standardize = standardize
        self.device = device
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train a new network; whatever was fitted before is forgotten, unless ``warm_start``.

        Args:
            X: inputs (samples, features).
            y: targets (samples,) or (samples, targets).
            sample_weight: powers >= 0 to which the likelihoods of the samples are taken, (samples,): a sample of weight
                2 counts as one whose targets were seen twice. None for 1.

        Raises:
            ValueError: a setting or the data are not as described.
            DivergenceError: training left the range of numbers; the message says what to change.
            DeviceUnavailableError: CuPy or a GPU is missing.
        """
        network, config, samples = self._ready(X, y, sample_weight, again=check_flag("warm_start", self.warm_start))
        self._fit(network, config, samples)
        return self

    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learn online: one pass over the given data, with what was learned before as the prior.

        The first call fixes mean and deviation of features and targets (so let it have more than a few samples); after
        ``fit``, those of ``fit`` stay. Schedules of rho, damping and beta count every call as an epoch.

        Args:
            X: inputs (samples, features).
            y: targets, as many for each sample as in the first call.
            sample_weight: as of ``fit``.

        Raises:
            ValueError: as by ``fit``; also for a setting that cannot change.
            DivergenceError: as by ``fit``; the network is of no use then.
        """
        self._online(*self._ready(X, y, sample_weight, again=True))
        return self

    def predict(self, X: ArrayLike, return_std: bool = False) -> Any:
        """Return the means of the targets, and if asked their deviations, the noise included.

        Args:
            X: inputs (samples, features).
            return_std: return both.

        Returns:
            Means (samples,) or (samples, targets), as the targets were given; or a pair of such arrays.

        Raises:
            ValueError: nothing was fitted yet, or an argument is not as described.
        """
        found = self._law(X)
        mean = self._shaped(self.target_mean_ + self.target_scale_ * found.mean)
        if not check_flag("return_std", return_std):
            return mean
        return mean, self._shaped(self.target_scale_ * found.deviation)

    def uncertainty(self, X: ArrayLike) -> Uncertainty:
        """Return the variance of the targets in two parts, in the shape of ``predict``: that of the noise, and that of
        the mean under the distribution of the weights.

        Args:
            X: inputs (samples, features).

        Raises:
            ValueError: nothing was fitted yet, or ``X`` is not as described.
        """
        found = self._law(X)
        parts = (found.aleatoric, found.epistemic)
        return Uncertainty(*(self._shaped(self.target_scale_**2 * part) for part in parts))

    def score_samples(self, X: ArrayLike) -> Array:
        """Return how well the network knows its way about each input, (samples,): lower is more abnormal.

        It is minus ½ Σ log(1 + epistemic/aleatoric variance) over the targets: with Gaussian noise minus the
        information that observing them would give about the weights, in nats.

        Args:
            X: inputs (samples, features).

        Raises:
            ValueError: nothing was fitted yet, or ``X`` is not as described.
        """
        network, x = self._fitted(X)
        return -uncertainty(network.in_double(), x).epistemic

    def export(self, path: str | os.PathLike[str], to: str = "onnx") -> None:
        """Write the most probable weights to a file that predicts means by itself.

        Args:
            path: of the file.
            to: "onnx", a graph of standard operators, with the extra ``onnx``; the other formats have labels only.

        Raises:
            ValueError: nothing was fitted yet, or an argument is not as described.
            ImportError: onnx is missing.
            OSError: the disk refuses.
        """
        check_is_fitted(self, "network_")
        standardization, scale = (self.mean_, self.scale_), (self.target_mean_, self.target_scale_)
        export(Exported(one_network(self.network_, "to be exported").layers, standardization, scale=scale), path, to)

    @property
    def noise_variance_(self) -> Array:
        """Variances of the noise, (targets,); of an ensemble, the means."""
        layers = [member.layers[-1] for member in self.network_.members]
        noise = [getattr(output_of(layer), "noise", np.nan) for layer in layers]
        if self.output != "gaussian":
            raise AttributeError("`noise_variance_` is there with output 'gaussian' only")
        return np.broadcast_to(np.ravel(np.mean(noise, axis=0)), layers[0].plan.outputs) * self.target_scale_**2

    def _law(self, X: ArrayLike) -> Predictive:
        network, x = self._fitted(X)
        return law(network.in_double(), x)

    def _shaped(self, values: Array) -> Array:
        return values[:, 0] if self._single else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.positive_only = self.output == "poisson"
        return tags

    def _config(self, seed: int) -> Config:
        check_choice("output", self.output, numeric())
        return super()._config(seed)

    def _ready(self, X: ArrayLike, y: ArrayLike, sample_weight: Any, *, again: bool) -> tuple[Trained, Config, Samples]:
        """Return a network, new or that which goes on, its settings, and what it is to learn from."""
        config, network = self._begin(again=again)
        inputs, targets = validated(self, X=X, y=y, several=True, reset=network is None)
        weight = weights_of(sample_weight, len(inputs))
        columns = targets.reshape(len(targets), -1)
        if network is None:
            self._single = targets.ndim == 1
            some = slice(None) if weight is None else weight > 0
            self._learn_scales(inputs[some], columns[some])
        elif columns.shape[1] != len(self.target_mean_):
            raise ValueError(f"`y` must have {len(self.target_mean_)} targets, as before, got {columns.shape[1]}")
        if config.noise_variance is not None:
            config = replace(config, noise_variance=config.noise_variance / float(self.target_scale_[0]) ** 2)
        if network is None:
            network = create(config, inputs.shape[1], columns.shape[1])
        else:
            self._check_same(network.config, config)
        x, z = scaled(inputs, self.mean_, self.scale_), (columns - self.target_mean_) / self.target_scale_
        return network, config, Samples(x.astype(np.float32), z.astype(np.float32), weight)

    def _learn_scales(self, X: Array, y: Array) -> None:
        self.mean_, self.scale_ = np.zeros(X.shape[1]), np.ones(X.shape[1])
        self.target_mean_, self.target_scale_ = np.zeros(y.shape[1]), np.ones(y.shape[1])
        if not self.standardize:
            return
        self.mean_, self.scale_ = column_moments("X", X)
        if self.output != "gaussian":
            return
        self.target_mean_, self.target_scale_ = column_moments("y", y)
        if self.noise_variance is not None:  # one number, for targets on one scale
            self.target_scale_ = np.full_like(self.target_scale_, np.sqrt(np.mean(np.square(self.target_scale_))))

    def _loss(self, network: Trained, held: Samples) -> float:
        """That with the noise that suits them best: the one that was learnt is too small where weights are overfitted,
        and its error would hide that of the means."""
        self._calibrate(network, held)
        return super()._loss(network, held)

    def _finish(self, held: Samples | None) -> None:
        """Take the noise from the samples that were held out."""
        if held is not None:
            self._calibrate(self.network_, held)

    def _calibrate(self, network: Trained, held: Samples) -> None:
        if self.output == "gaussian" and self.noise_variance is None:
            for member in network.members:
                calibrate_noise(member.layers, held.x, held.y, member.operations)

    def _error(self, network: Trained, samples: Samples) -> float:
        """Return the root mean square error of targets on the scale of the network."""
        found = law(network.in_double(), samples.x.astype(np.float64))
        return output_of(network.members[0].layers[-1]).error(found.mean, samples.y)

    def _printed(self, error: float) -> str:
        return f"{error:.4g} (root mean square, of scaled targets)"

    def _held_out(self, samples: Samples, count: int, seed: int) -> tuple[Array, Array]:
        order = np.random.default_rng([seed, VALIDATION]).permutation(len(samples.x))
        return order[count:], order[:count]
