"""Message passing as a scikit-learn classifier."""

import os
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import check_consistent_length, check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ModuleNotFoundError as error:
    remedy = "pip install 'cavity[data]'"
    raise ModuleNotFoundError(
        f"scikit-learn is needed for MessagePassingClassifier ({error}): {remedy}", name=error.name
    ) from error

from deepnet.config import Config, Settings
from deepnet.export.packing import export, pack
from deepnet.kernels.devices import operations_for
from deepnet.layers import Layer
from deepnet.network import choice
from deepnet.outputs import output_of
from deepnet.predict import error_percent, preactivations, predict_pointwise, predict_proba
from deepnet.sizes import check_count
from deepnet.train import Network, init, status, train, train_epoch
from factorgraph.dense.state import Array
from factorgraph.interface.arguments import check_flag, real_array, shown

#: Settings that the state of a network depends on: they change by ``fit`` only, the other ones by ``partial_fit`` too.
_STRUCTURE = (
    "hidden", "closure", "weights", "activation", "output", "bias", "density", "memory", "eps_init", "algorithm",
)  # fmt: skip
_SCHEDULES = ("epochs", "batch_size", "preset", "rho", "damping", "beta", "tau", "reinforcement", "learning_rate")
_SETTINGS = (*_STRUCTURE, *_SCHEDULES)
_LARGEST_INPUT = 1e15  # after scaling; squares must fit into float32, and those of the inverse too
_REPORTED = 1000


class MessagePassingClassifier(ClassifierMixin, BaseEstimator):
    """A multi-layer perceptron with binary or continuous weights, trained by message passing [DL].

    Training computes a distribution over the weights: the posterior after one mini-batch is the prior of the next. Two
    classes give one ±1 output, more classes one output each, of which the largest wins. Inputs are shifted and scaled
    by one mean and one deviation over all features, as in [DL], which suits pixels and the like; put a
    ``StandardScaler`` in front where the features have different units.

    Args:
        hidden: number of units of each hidden layer; an integer stands for one layer.
        closure: "bp", "bpi", "mf" or "amp", for all layers or one per layer. "bp" and "bpi" for all layers mean "mf" in
            the last one if there are more than two classes.
        weights: "binary" or "continuous", for all layers or one per layer.
        activation: "sign" or "relu", for all hidden layers or one per hidden layer.
        output: "auto", or one that serves the number of classes: see ``Config``.
        bias: give every unit the weight of a constant unit; without it, a sign network computes odd functions only.
        density: fraction of the weights kept, for all layers or one per layer.
        epochs: passes over the data in ``fit``.
        batch_size: samples in a mini-batch.
        memory: "fields", or "covariance" for streams, with ``preset="stream"``: see ``Config``.
        preset: "default", "paper" or "stream": where rho, damping and beta come from if they are None.
        rho: weight of the old posterior as the new prior: a number or "start:end:rate", for all layers or one each.
        damping, beta: α in [0, 1) of the means and likelihood weight β > 0, likewise.
        tau: inner iterations a batch.
        reinforcement: r >= 0, weight of the previous inner iteration's field.
        eps_init: size of the random initial fields, for all layers or one per layer, or "critical": see ``Config``.
        algorithm: "message-passing", or a baseline that trains the same network: "binarynet", "binarynet-adam",
            "binarynet-cosine" (with PyTorch) or "ebp": see ``deepnet.baselines``.
        learning_rate: of a baseline trained by gradients; None for its own.
        random_state: None, an integer (then the seed of ``Config``), a NumPy ``RandomState`` or ``Generator``. To the
            last bit, training depends on the number of threads too.
        standardize: shift and scale the inputs; with False they are taken as they are and should be of order 1.
        device: where to train: "cpu", "cuda" or "cuda-tf32", see ``deepnet.kernels.devices``; predictions need none.
        prediction: ``predict`` and ``score`` average over the weights ("bayes") or use the likeliest ("pointwise").
        verbose: print a line after every epoch.

    Attributes:
        classes_: the labels (classes,), sorted.
        n_features_in_, feature_names_in_: of the inputs; the names only if ``X`` was a data frame that has them.
        mean_, scale_: what inputs are shifted and divided by; 0 and 1 without ``standardize``.
        network_, n_iter_: the trained ``deepnet.train.Network`` and the number of epochs done.
    """

    def __init__(
        self,
        hidden: int | Sequence[int] = (101,),
        *,
        closure: str | Sequence[str] = "mf",
        weights: str | Sequence[str] = "binary",
        activation: str | Sequence[str] = "sign",
        output: str = "auto",
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
        eps_init: float | str | Sequence[float] = 1.0,
        algorithm: str = "message-passing",
        learning_rate: float | None = None,
        random_state: int | np.random.RandomState | np.random.Generator | None = None,
        standardize: bool = True,
        device: str = "cpu",
        prediction: str = "bayes",
        verbose: bool | int = False,
    ) -> None:
        self.hidden = hidden
        self.closure = closure
        self.weights = weights
        self.activation = activation
        self.output = output
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
        self.eps_init = eps_init
        self.algorithm = algorithm
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.standardize = standardize
        self.device = device
        self.prediction = prediction
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train a new network for ``epochs`` epochs; whatever was fitted before is forgotten.

        Args:
            X: inputs (samples, features).
            y: labels (samples,) of any type that can be sorted; at least two different ones. Or soft targets, the
                probabilities (samples, K) of the classes 0, 1, ..., K-1: labels seen through noise.

        Raises:
            ValueError: a setting or the data are not as described.
            DivergenceError: training left the range of numbers; the message says what to change.
            DeviceUnavailableError: CuPy or a GPU is missing.
        """
        config = self._config(_seed(self.random_state))
        vars(self).pop("network_", None)  # an error below must not leave a network that does not fit the rest
        inputs, targets = _validated(self, X=X, y=y)
        classes = targets if targets.ndim == 1 else np.arange(targets.shape[1])
        network = self._start(config, inputs, classes=classes, given="y")
        x, labels = self._samples(inputs, targets)
        network = network.to(self.device)
        history = [epoch | self._report(network, x, labels) for epoch in train(network, x, labels)]
        if self.verbose:
            print(status(history, len(self.classes_), config.remedy))
        self.network_, self.n_iter_ = network.to("cpu"), network.epoch
        return self

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Self:
        """Learn online: one pass over the given data, with what was learned before as the prior.

        The first call fixes the labels, and mean and deviation of the inputs (so let it have more than a few samples);
        after ``fit``, those of ``fit`` stay. Schedules of rho, damping and beta count every call as an epoch.

        Args:
            X: inputs (samples, features).
            y: labels (samples,), some or all of ``classes``; or their probabilities (samples, K), in sorted order.
            classes: all labels that will ever occur; needed in the first call only.

        Raises:
            ValueError: as by ``fit``; also for unknown labels, changed ``classes`` and a setting that cannot change.
            DivergenceError: as by ``fit``; the network is of no use then.
        """
        network: Network | None = getattr(self, "network_", None)
        config = self._config(_seed(self.random_state) if network is None else network.config.seed)
        if network is None and classes is None:
            raise ValueError("`classes` must be given in the first call of partial_fit, got None")
        if network:
            self._check_same(network.config, config, classes)
        inputs, targets = _validated(self, X=X, y=y, reset=network is None)
        network = network or self._start(config, inputs, classes=classes, given="classes")
        x, labels = self._samples(inputs, targets)
        network.config = config
        network = network.to(self.device)
        network.settle()
        train_epoch(network, x, labels)
        self._report(network, x, labels)
        self.network_, self.n_iter_ = network.to("cpu"), network.epoch
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
        return _probabilities(*self._fitted(X))

    def export(self, path: str | os.PathLike[str], to: str = "packed") -> None:
        """Write the most probable weights to a file that predicts, as with ``prediction="pointwise"``, by itself.

        Args:
            path: of the file.
            to: "packed", a file of one bit a weight for ``deepnet.load_packed``; or "c", a header in C.

        Raises:
            ValueError: nothing was fitted yet, an argument is not as described, or the network has other weights than
                ±1 or other units than signs.
            OSError: the disk refuses.
        """
        check_is_fitted(self, "network_")
        standardization = (float(self.mean_), float(self.scale_))
        export(pack(self.network_.layers, standardization=standardization, classes=self.classes_), path, to)

    def _config(self, seed: int) -> Config:
        choice("prediction", self.prediction, _PREDICTIONS)
        check_flag("standardize", self.standardize)
        if not isinstance(self.verbose, bool | np.bool_):
            check_count("verbose", self.verbose, 0)
        operations_for(self.device, Config.dtype)
        values: dict[str, Any] = {name: getattr(self, name) for name in _SETTINGS}
        if isinstance(self.hidden, Integral):
            values["hidden"] = (self.hidden,)
        return Config(**values, seed=seed)

    def _start(self, config: Config, X: Array, *, classes: ArrayLike | None, given: str) -> Network:
        """Return a new network, once the labels, of the argument ``given``, and the moments of the inputs are
        learned."""
        self.classes_ = _labels(given, classes)
        self.mean_, self.scale_ = _moments(X) if self.standardize else (0.0, 1.0)
        return init(config, X.shape[1], len(self.classes_))

    def _report(self, network: Network, x: Array, labels: Array) -> dict[str, float]:
        """With ``verbose``, print and return the error in percent on at most ``_REPORTED`` of the samples."""
        if not self.verbose:
            return {}
        some = slice(None, None, -(-len(x) // _REPORTED))
        numbers = output_of(network.layers[-1].plan).likeliest(labels[some])
        error = error_percent(self._predicted(network.to("cpu"), x[some].astype(np.float64)), numbers)
        print(f"epoch {network.epoch}: training error {error:.2f} %", flush=True)
        return {"train_error": error}

    def _predicted(self, network: Network, x: Array) -> Array:
        return choice("prediction", self.prediction, _PREDICTIONS)(network, x)

    def _check_same(self, old: Config, new: Config, classes: ArrayLike | None) -> None:
        for name in _STRUCTURE:
            before, now = getattr(old, name), getattr(new, name)
            if now != before:
                raise ValueError(f"`{name}` must stay {before!r} until fit starts a new network, got {now!r}")
        if classes is not None and not np.array_equal(_labels("classes", classes), self.classes_):
            was, got = self.classes_.tolist(), shown(classes)
            raise ValueError(f"`classes` must be those of the first call, {was}, got {got}")

    def _fitted(self, X: ArrayLike) -> tuple[Network, Array]:
        check_is_fitted(self, "network_")
        return self.network_, self._inputs(_validated(self, X=X, reset=False))

    def _samples(self, X: Array, y: Array) -> tuple[Array, Array]:
        """Return inputs, and labels of data or soft targets, to learn from."""
        soft = y.ndim == 2
        if soft and y.shape[1] != len(self.classes_):
            raise ValueError(f"`y` must be probabilities of the {len(self.classes_)} classes, got shape {y.shape}")
        known = soft or np.isin(y, self.classes_)
        if not np.all(known):
            raise ValueError(f"`y` must be among {self.classes_.tolist()}, got {np.unique(y[~known]).tolist()}")
        x = self._inputs(X)
        if not self.standardize and 0 < (largest := np.abs(x).max()) < 1 / _LARGEST_INPUT:
            raise ValueError(f"`X` must be of order 1 unless `standardize` is True, got values up to {largest:g}")
        numbers = y if soft else np.searchsorted(self.classes_, y)
        return x.astype(np.float32), 2 * numbers - 1 if len(self.classes_) == 2 and not soft else numbers

    def _inputs(self, X: Array) -> Array:
        """Return inputs on the scale of the network."""
        with np.errstate(over="ignore"):
            x = (X - self.mean_) / self.scale_
        if not np.abs(x).max() <= _LARGEST_INPUT:
            reach, got = _LARGEST_INPUT * self.scale_, f"{X.min():g} to {X.max():g}"
            raise ValueError(f"`X` must be within {reach:g} of {self.mean_:g}, got {got}")
        return x


def _seed(random_state: Any) -> int:
    """Return the seed of a run; an integer is its own."""
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    try:
        generator = check_random_state(random_state)  # which checks integers, too
    except ValueError:
        need = f"None, an integer from 0 to {2**32 - 1}, a RandomState or a Generator"
        raise ValueError(f"`random_state` must be {need}, got {shown(random_state)}") from None
    return int(random_state) if isinstance(random_state, Integral) else int(generator.randint(2**31 - 1))


def _validated(estimator: MessagePassingClassifier, *, reset: bool = True, **arrays: Any) -> Any:
    """Return the arrays of a sample ``X``, and ``y`` if it is given, as scikit-learn checks them; errors name them.

    A ``y`` of two columns or more are soft targets, which scikit-learn does not know for a classifier.
    """
    for name, values in arrays.items():
        if masked := _masked(values):
            raise ValueError(f"`{name}` must have no masked elements, got {masked} of them")
    try:
        if "y" in arrays and _columns(arrays["y"]) > 1:
            y = real_array("y", arrays["y"])
            X = _validate(estimator, X=arrays["X"], dtype=np.float64, reset=reset)
            check_consistent_length(X, y)
            return X, y
        return _validate(estimator, **arrays, dtype=np.float64, reset=reset)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:  # the last from a tensor with a gradient
        need = "`X` must be samples of real features" + (", and `y` their labels" if "y" in arrays else "")
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"{need}: {error}") from error


def _columns(y: Any) -> int:
    """Return the number of columns of an array with two axes; 0 for anything else."""
    try:
        shape = np.asarray(y).shape
    except ValueError:  # of lists of different lengths
        return 0
    return shape[1] if len(shape) == 2 else 0


_validate: Any = validate_data  # which has no annotations, and defaults that mislead about its types


def _labels(name: str, values: Any) -> Array:
    """Return the different labels among ``values``, sorted.

    Raises:
        ValueError: no list of labels, or of fewer than two.
    """
    if masked := _masked(values):
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


def _masked(values: Any) -> int:
    """Return the number of masked elements."""
    return int(np.ma.count_masked(values)) if isinstance(values, np.ma.MaskedArray) else 0


def _moments(X: Array) -> tuple[float, float]:
    """Return mean and standard deviation of all entries; 1 for a deviation of zero, which rounding would hide."""
    if X.min() == X.max():
        return float(X.flat[0]), 1.0
    largest = float(np.abs(X).max())
    if largest < 1e-100:  # squares would be zero
        mean, deviation = _moments(X / largest)
        return largest * mean, largest * deviation
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(X.mean()), float(X.std())
    if not np.isfinite(deviation):
        raise ValueError(f"`X` must have a finite variance, got values up to {largest:g}")
    return mean, deviation or 1.0


def _in_double(network: Network) -> list[Layer]:
    """Return float64 copies of the layers: a prediction must not depend on the samples beside it, nor change the
    network."""
    copies: list[Layer] = []
    for layer in network.layers:
        copies.append(layer.copied(_double, network.operations, copies[-1] if copies else None))
    return copies


def _double(values: Array) -> Array:
    return values.astype(np.float64) if values.dtype.kind == "f" else values


def _probabilities(network: Network, x: Array) -> Array:
    """Return (samples, classes), from inputs as the network takes them."""
    layers, baseline = _in_double(network), network.config.baseline
    if baseline is not None and baseline.point:
        p = baseline.probabilities(preactivations(layers, x))
    else:
        p = predict_proba(layers, x, network.operations)
    if p.shape[1] == 1:
        return np.concatenate([1.0 - p, p], axis=1)
    return p / p.sum(axis=1, keepdims=True)  # one quadrature a class: their sum is 1 to its accuracy only


def _bayes(network: Network, x: Array) -> Array:
    """Return class numbers (samples,) of the largest probabilities."""
    return _probabilities(network, x).argmax(axis=1)


def _pointwise(network: Network, x: Array) -> Array:
    """Return class numbers (samples,) by the most probable weights."""
    labels = predict_pointwise(_in_double(network), x)
    return output_of(network.layers[-1].plan).numbers(labels)


_PREDICTIONS = {"bayes": _bayes, "pointwise": _pointwise}
