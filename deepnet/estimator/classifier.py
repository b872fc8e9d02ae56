"""Message passing as a scikit-learn classifier."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from deepnet.average import Uncertainty, class_probabilities, mixture_loss, most_probable, uncertainty
from deepnet.config import Config, Settings
from deepnet.ensemble import Trained, create, one_network
from deepnet.estimator.base import VALIDATION, Estimator, Samples
from deepnet.estimator.inputs import count_masked, moments, scaled, validated, weights_of
from deepnet.export.exported import Exported
from deepnet.export.packing import export
from deepnet.network import choice
from deepnet.outputs import AUTO, classifying, output_of
from deepnet.predict import error_percent, output_marginals
from deepnet.train import output_labels, status, train_epoch
from factorgraph.dense.state import Array
from factorgraph.interface.arguments import check_choice, check_flag, shown
from factorgraph.messages.ranges import VARIANCE_FLOOR

#: Held-out samples on which probabilities are calibrated, at most; and parts of the training set that are held out in
#: turn.
_CALIBRATING, _FOLDS = 2000, 3

#: Deviation of the logarithm of the temperature before any sample is seen: few samples must not tell more than they do.
_SPREAD = 0.5


class MessagePassingClassifier(ClassifierMixin, Estimator):
    """A multi-layer perceptron with binary, continuous or sparse weights, trained by message passing [DL].

    Training computes a distribution over the weights: the posterior after one mini-batch is the prior of the next. Two
    classes give one ±1 output, more classes one output each, of which the largest wins. Inputs are shifted and scaled
    by one mean and one deviation over all features, as in [DL], which suits pixels and the like; put a
    ``StandardScaler`` in front where the features have different units.

    Args:
        hidden: number of units of each hidden layer; an integer stands for one layer.
        closure: "bp", "bpi", "mf" or "amp", for all layers or one per layer. "bp" and "bpi" for all layers mean "mf" in
            the last one if there are more than two classes.
        weights: "binary", "continuous", "ternary" or "spike-and-slab", for all layers or one per layer.
        mass: prior probability that a ternary or spike-and-slab weight is 0; None for one that is learnt.
        activation: "sign" or "relu", for all hidden layers or one per hidden layer.
        output: "auto", or one that serves the number of classes: "logistic" or "probit" for two, "softmax" or
            "argmax-probit" for more, ...: see ``Config``.
        temperature: of the noise on the outputs of these: see ``Config``.
        label_noise: share of the labels, in [0, 1), that are taken to be drawn at random.
        bias: give every unit the weight of a constant unit; without it, a sign network computes odd functions only.
        density: fraction of the weights kept, for all layers or one per layer.
        epochs: passes over the data in ``fit``.
        batch_size: samples in a mini-batch.
        memory: "fields", or "covariance" for streams, with ``preset="stream"``: see ``Config``.
        preset: "default", "stream", "adf" or one of the paper's, see ``Config``: where rho, damping and beta come from
            if they are None.
        rho: weight of the old posterior as the new prior: a number or "start:end:rate", for all layers or one each.
        damping, beta: α in [0, 1) of the means and likelihood weight β > 0, likewise.
        tau: inner iterations a batch.
        reinforcement: r >= 0, weight of the previous inner iteration's field.
        replicas, coupling: y networks coupled with strength γ, a number or a schedule, which focus on wide minima: see
            ``Config``.
        eps_init: size of the random initial fields, for all layers or one per layer, or "critical": see ``Config``.
        algorithm: "message-passing", or a baseline that trains the same network: "binarynet", "binarynet-adam",
            "binarynet-cosine" (with PyTorch) or "ebp": see ``deepnet.baselines``.
        learning_rate: of a baseline trained by gradients; None for its own.
        members: networks that are trained on the same batches from other initial fields, and predict by the mean of
            their probabilities, or by votes: see ``deepnet.ensemble.Ensemble``.
        random_state: None, an integer (then the seed of ``Config``), a NumPy ``RandomState`` or ``Generator``. To the
            last bit, training depends on the number of threads too.
        standardize: shift and scale the inputs; with False they are taken as they are and should be of order 1.
        device: where to train: "cpu", "cuda" or "cuda-tf32", see ``deepnet.kernels.devices``; predictions need none.
        prediction: ``predict`` and ``score`` average over the weights ("bayes") or use the likeliest ("pointwise").
        class_weight: powers to which the likelihoods of the classes are taken, relative to each other (their mean over
            the samples is 1): by class, "balanced" for the inverse of their frequencies, None for 1.
        early_stopping: hold ``validation_fraction`` of the samples out, end when their log loss has not improved by
            ``tol`` for ``n_iter_no_change`` epochs, and keep the network that was best for them; ``predict_proba`` is
            then calibrated on them.
        validation_fraction, n_iter_no_change: see there.
        tol: see there; without ``early_stopping``, training ends once the means of no layer's weights change by more
            than this share in an epoch (root mean squares).
        warm_start: ``fit`` goes on with the network that is there, for further ``epochs``.
        calibrate: temper ``predict_proba`` in ``fit`` by cross-validation in three parts, which then takes three times
            as long; two times for 6000 samples or more, of which 2000 are held out once. With ``early_stopping`` there
            are held-out samples, and nothing is trained again.
        verbose: print a line after every epoch.

    Attributes:
        classes_: the labels (classes,), sorted.
        n_features_in_, feature_names_in_: of the inputs; the names only if ``X`` was a data frame that has them.
        mean_, scale_: what inputs are shifted and divided by; 0 and 1 without ``standardize``.
        network_, n_iter_: the trained ``deepnet.train.Network`` and the number of epochs done.
        calibration_: what the means of the outputs are divided by in ``predict_proba``: the temperature under
            which samples are the most probable that the network, or one trained on the other ones, has not seen, given
            that its logarithm is normal about 0 with deviation 1/2. It is 1 before ``fit`` and with a baseline.
        validation_loss_: with ``early_stopping``, the log loss on the held-out samples after every epoch.
    """

    structure = (*Estimator.structure, "algorithm", "temperature")
    schedules = (*Estimator.schedules, "learning_rate", "label_noise")

    def __init__(
        self,
        hidden: int | Sequence[int] = (101,),
        *,
        closure: str | Sequence[str] = "mf",
        weights: str | Sequence[str] = "binary",
        mass: float | Sequence[float] | None = None,
        activation: str | Sequence[str] = "sign",
        output: str = "auto",
        temperature: float = 1.0,
        label_noise: float = 0.0,
        bias: bool = True,
        density: float | Sequence[float] = 1.0,
        epochs: int = 30,
        batch_size: int = 32,
        memory: str = "fields",
        preset: str = "default",
        rho: Settings = None,
        damping: Settings = None,
        beta: Settings = None,
        tau: int = 1,
        reinforcement: float = 0.0,
        replicas: int = 1,
        coupling: Settings = 1.0,
        eps_init: float | str | Sequence[float] = 1.0,
        algorithm: str = "message-passing",
        learning_rate: float | None = None,
        members: int = 1,
        random_state: int | np.random.RandomState | np.random.Generator | None = None,
        standardize: bool = True,
        device: str = "cpu",
        prediction: str = "bayes",
        class_weight: Mapping[Any, float] | str | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 0.0,
        calibrate: bool = True,
        warm_start: bool = False,
        verbose: bool | int = False,
    ) -> None:
        self.hidden = hidden
        self.closure = closure
        self.weights = weights
        self.mass = mass
        self.activation = activation
        self.output = output
        self.temperature = temperature
        self.label_noise = label_noise
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
        self.algorithm = algorithm
        self.learning_rate = learning_rate
        self.members = members
        self.random_state = random_state
        self.standardize = standardize
        self.device = device
        self.prediction = prediction
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.calibrate = calibrate
        self.warm_start = warm_start
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train a new network; whatever was fitted before is forgotten, unless ``warm_start``.

        Args:
            X: inputs (samples, features).
            y: labels (samples,) of any type that can be sorted; at least two different ones. Or soft targets, the
                probabilities (samples, K) of the classes 0, 1, ..., K-1: labels seen through noise.
            sample_weight: powers >= 0 to which the likelihoods of the samples are taken, (samples,); None for 1.

        Raises:
            ValueError: a setting or the data are not as described.
            DivergenceError: training left the range of numbers; the message says what to change.
            DeviceUnavailableError: CuPy or a GPU is missing.
        """
        again = check_flag("warm_start", self.warm_start)
        network, config, samples = self._ready(X, y, sample_weight, None, again=again, given="y")
        anew = network.epoch == 0
        history = self._fit(network, config, samples)
        if self.calibrate and anew and not self.early_stopping and config.baseline is None:
            self.calibration_ = _temperature(self._cross_fitted(config, samples.weighing()))
        if self.verbose:
            print(status(history, 100.0 * (1.0 - 1.0 / len(self.classes_)), config.remedy))
        return self

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Learn online: one pass over the given data, with what was learned before as the prior.

        The first call fixes the labels, and mean and deviation of the inputs (so let it have more than a few samples);
        after ``fit``, those of ``fit`` stay. Schedules of rho, damping and beta count every call as an epoch.

        Args:
            X: inputs (samples, features).
            y: labels (samples,), some or all of ``classes``; or their probabilities (samples, K), in sorted order.
            classes: all labels that will ever occur; needed in the first call only.
            sample_weight: as of ``fit``.

        Raises:
            ValueError: as by ``fit``; also for unknown labels, changed ``classes`` and a setting that cannot change.
            DivergenceError: as by ``fit``; the network is of no use then.
        """
        if classes is None and not hasattr(self, "network_"):
            raise ValueError("`classes` must be given in the first call of partial_fit, got None")
        self._online(*self._ready(X, y, sample_weight, classes, again=True, given="classes"))
        return self

    def predict(self, X: ArrayLike) -> Array:
        """Return the most probable label of every sample, according to ``prediction``.

        Args:
            X: inputs (samples, features).

        Returns:
            Labels (samples,); with "bayes", those of the largest ``predict_proba``.

        Raises:
            ValueError: nothing was fitted yet, or ``X`` or ``prediction`` is not as described.
        """
        numbers = self._predicted(*self._fitted(X))
        return self.classes_[numbers]

    def predict_proba(self, X: ArrayLike) -> Array:
        """Return the probabilities of the labels: the output's marginal, with the weights averaged over their
        posterior.

        Args:
            X: inputs (samples, features).

        Returns:
            (samples, classes), in the order of ``classes_``; the same for both kinds of ``prediction``.

        Raises:
            ValueError: nothing was fitted yet, or ``X`` is not as described.
        """
        return _probabilities(*self._fitted(X), self.calibration_)

    def uncertainty(self, X: ArrayLike) -> Uncertainty:
        """Return the entropy of the label in two parts, (samples,) each, in nats: its mean for known weights, 0 for an
        output without noise, and the information that the label would give about the weights.

        Args:
            X: inputs (samples, features).

        Raises:
            ValueError: nothing was fitted yet, ``X`` is not as described, or the algorithm knows no posterior.
        """
        network, x = self._fitted(X)
        if network.config.baseline is not None and network.config.baseline.point:
            raise ValueError(f"`algorithm` must be one with a posterior, got {network.config.algorithm!r}")
        return uncertainty(network.in_double(), x)

    def score_samples(self, X: ArrayLike) -> Array:
        """Return how well the network knows its way about each input, (samples,): lower is more abnormal.

        It is minus the epistemic part of ``uncertainty``; arguments and errors are the same.
        """
        return -self.uncertainty(X).epistemic

    def export(self, path: str | os.PathLike[str], to: str = "packed") -> None:
        """Write the most probable weights to a file that predicts, as with ``prediction="pointwise"``, by itself.

        Args:
            path: of the file.
            to: "packed", a file of one bit a weight for ``deepnet.load_packed``; "c", a header in C; or "onnx", a
                graph of standard operators, with the extra ``onnx``.

        Raises:
            ValueError: nothing was fitted yet, an argument is not as described, or the network has other weights than
                ±1 or other units than signs, of which only "onnx" takes others.
            ImportError: onnx is missing.
            OSError: the disk refuses.
        """
        check_is_fitted(self, "network_")
        standardization = (float(self.mean_), float(self.scale_))
        export(Exported(one_network(self.network_, "to be exported").layers, standardization, self.classes_), path, to)

    def _config(self, seed: int) -> Config:
        check_choice("prediction", self.prediction, _PREDICTIONS)
        check_choice("output", self.output, (AUTO, *classifying()))
        check_flag("calibrate", self.calibrate)
        return super()._config(seed)

    def _ready(
        self, X: ArrayLike, y: ArrayLike, sample_weight: Any, classes: Any, *, again: bool, given: str
    ) -> tuple[Trained, Config, Samples]:
        """Return a network, new or that which goes on, its settings, and what it is to learn from.

        The labels of a new one are those of ``classes``, or of ``y``; errors name the argument that was ``given``.
        """
        config, network = self._begin(again=again)
        if network:
            self._check_same(network.config, config)
            self._check_classes(classes)
        inputs, targets = validated(self, X=X, y=y, reset=network is None)
        weight = weights_of(sample_weight, len(inputs))
        if network is None:
            own = targets if targets.ndim == 1 else np.arange(targets.shape[1])
            self.classes_ = _labels(given, own if classes is None else classes)
            some = slice(None) if weight is None else weight > 0
            self.mean_, self.scale_ = moments("X", inputs[some]) if self.standardize else (0.0, 1.0)
            network = create(config, inputs.shape[1], len(self.classes_))
            self.calibration_ = 1.0
        return network, config, self._samples(inputs, targets, weight)

    def _finish(self, held: Samples | None) -> None:
        """Calibrate ``predict_proba``, on at most ``_CALIBRATING`` of the held-out samples."""
        if held is None or self.network_.config.baseline is not None:
            return
        some = held[:: -(-len(held.x) // _CALIBRATING)]
        self.calibration_ = _temperature([(self.network_, some)])

    def _cross_fitted(self, config: Config, samples: Samples) -> Iterator[tuple[Trained, Samples]]:
        """Yield parts of the samples, each with a network that has learnt all other ones as the present network all."""
        count = len(samples.x)
        parts = min(count, _FOLDS, -(-_FOLDS * _CALIBRATING // count)) if count > 1 else 0
        size = min(_CALIBRATING, -(-count // _FOLDS))
        _, order = self._held_out(samples, count, config.seed)  # all, class by class
        for part in range(parts):
            held = order[part::_FOLDS][:: -(-len(order[part::_FOLDS]) // size)]
            rest = np.setdiff1d(order, held)
            network = self._taken_up(create(config, samples.x.shape[1], len(self.classes_)), config)
            for _ in range(self.n_iter_):
                train_epoch(network, samples.x[rest], samples.y[rest], sample_weight=samples[rest].weight)
            yield network.to("cpu"), samples[held]

    def _samples(self, X: Array, y: Array, weight: Array | None) -> Samples:
        """Return inputs, and labels of data or soft targets, to learn from."""
        soft = y.ndim == 2
        if soft and y.shape[1] != len(self.classes_):
            raise ValueError(f"`y` must be probabilities of the {len(self.classes_)} classes, got shape {y.shape}")
        known = soft or np.isin(y, self.classes_)
        if not np.all(known):
            raise ValueError(f"`y` must be among {self.classes_.tolist()}, got {np.unique(y[~known]).tolist()}")
        x = scaled(X, self.mean_, self.scale_)
        if not self.standardize and 0 < (largest := np.abs(x).max()) < VARIANCE_FLOOR**0.5:
            raise ValueError(f"`X` must be of order 1 unless `standardize` is True, got values up to {largest:g}")
        numbers = y if soft else np.searchsorted(self.classes_, y)
        labels = 2 * numbers - 1 if len(self.classes_) == 2 and not soft else numbers
        return Samples(x.astype(np.float32), labels, self._weighed(numbers, weight))

    def _weighed(self, numbers: Array, weight: Array | None) -> Array | None:
        """Return the weights of samples times those of their classes, (samples,); of soft targets, the mean ones."""
        if self.class_weight is None:
            return weight
        found = numbers.argmax(axis=1) if numbers.ndim == 2 else numbers
        try:
            each = compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_[found])
        except (ValueError, TypeError, AttributeError) as error:
            need = "None, 'balanced' or a number for each class"
            raise ValueError(f"`class_weight` must be {need}, got {shown(self.class_weight)}: {error}") from error
        own = numbers @ each if numbers.ndim == 2 else each[found]
        own = own / max(own.mean(), 1e-300)
        return weights_of(own if weight is None else own * weight, len(own))

    def _error(self, network: Trained, samples: Samples) -> float:
        """Return the error in percent."""
        output = output_of(network.members[0].layers[-1])
        predicted = self._predicted(network, samples.x.astype(np.float64))
        return error_percent(predicted, output.likeliest(samples.y))

    def _printed(self, error: float) -> str:
        return f"{error:.2f} %"

    def _held_out(self, samples: Samples, count: int, seed: int) -> tuple[Array, Array]:
        """Split every class by itself, as far as the numbers of samples go."""
        y = samples.y.argmax(axis=1) if samples.y.ndim == 2 else samples.y
        rng = np.random.default_rng([seed, VALIDATION])
        order = rng.permutation(len(y))
        by_class = order[np.argsort(y[order], kind="stable")]
        chosen = by_class[np.linspace(0, len(y) - 1, count).round().astype(np.intp)]
        return np.setdiff1d(order, chosen), chosen

    def _predicted(self, network: Trained, x: Array) -> Array:
        return choice("prediction", self.prediction, _PREDICTIONS)(network, x, self.calibration_)

    def _check_classes(self, classes: ArrayLike | None) -> None:
        if classes is not None and not np.array_equal(_labels("classes", classes), self.classes_):
            was, got = self.classes_.tolist(), shown(classes)
            raise ValueError(f"`classes` must be those of the first call, {was}, got {got}")


def _labels(name: str, values: Any) -> Array:
    """Return the different labels among ``values``, sorted.

    Raises:
        ValueError: no list of labels, or of fewer than two.
    """
    if masked := count_masked(values):
        raise ValueError(f"`{name}` must have no masked elements, got {masked} of them")
    try:
        given = np.asarray(values)
        check_classification_targets(given)
        labels = np.unique(given)
    except Exception as error:  # ragged lists, labels that cannot be compared, tensors with a gradient
        raise ValueError(f"`{name}` must be labels that can be sorted, got {shown(values)}: {error}") from error
    if given.ndim != 1:
        raise ValueError(f"`{name}` must be a list of labels, got {shown(values)}")
    if len(labels) < 2:
        raise ValueError(f"`{name}` must have at least 2 classes, got {len(labels)} class: {shown(labels.tolist())}")
    return labels


def _temperature(held: Iterable[tuple[Trained, Samples]]) -> float:
    """Return the most probable ``calibration_`` given samples, each with a network that has not seen them."""
    seen = []
    for network, samples in held:
        members = network.in_double().members
        output = output_of(members[0].layers[-1])
        labels = output_labels(members[0], samples.y)  # with their noise, of which predictions are free
        moments = [output_marginals(each.layers, samples.x, each.operations) for each in members]
        seen.append((output, labels, moments))

    def energy(exponent: float) -> float:
        scale, total = np.exp(-exponent), 0.5 * (exponent / _SPREAD) ** 2
        for output, y, moments in seen:
            each = [output.log_likelihood(y, scale * omega, V) for omega, V in moments]
            total += each[0].shape[-1] * mixture_loss(each)
        return total

    found: Any = minimize_scalar(energy, bounds=(-2.5, 2.5), method="bounded", options={"xatol": 0.01})
    return float(np.exp(found.x))


def _probabilities(network: Trained, x: Array, calibration: float) -> Array:
    """Return (samples, classes), from inputs as the network takes them."""
    return class_probabilities(network.in_double(), x, calibration)


def _bayes(network: Trained, x: Array, calibration: float) -> Array:
    """Return class numbers (samples,) of the largest probabilities."""
    return _probabilities(network, x, calibration).argmax(axis=1)


def _pointwise(network: Trained, x: Array, calibration: float) -> Array:
    """Return class numbers (samples,) by the most probable weights."""
    return most_probable(network.in_double(), x)


_PREDICTIONS = {"bayes": _bayes, "pointwise": _pointwise}
