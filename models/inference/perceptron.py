"""Learning of a perceptron as inference of its weights: patterns are the known matrix, weights the signal."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from factorgraph.channels import Channel, Identity, Sign
from factorgraph.interface.arguments import check_integer, check_number, real_array, shown
from factorgraph.priors import Binary, Prior
from models.checks import check_channel, check_prior, generator, matrix, vector
from models.inference.chain import Chain
from models.inference.multilayer import GLM, MultiLayerGLM
from models.inference.results import Inference
from models.inference.vamp import VampChain

Array = NDArray[np.float64]


class Perceptron:
    """y = sign(w · x/√N) with weights from a prior: ±1, Gaussian, sparse.

    Args:
        prior: of the weights; ``Binary()`` for ±1.
        channel: of the output ±1; ``Probit`` for labels with noise.
        reinforcement: r > 0 looks for one solution: the field of each iteration adds to the next with weight
            1 - (1 - r)^t, until the most probable weights classify all patterns. 0 gives the posterior.
        iterations: most of them.
        options: further arguments of ``MultiLayerGLM.infer``.

    Attributes:
        result_: outcome of the inference.
        weights_: most probable ones, ±1, or the posterior's mean if the weights are not spins; (N,).
        errors_: number of training patterns that ``weights_`` misclassifies.
    """

    def __init__(
        self,
        prior: Prior | None = None,
        channel: Channel | None = None,
        *,
        reinforcement: float = 0.0,
        iterations: int = 1000,
        **options: Any,
    ) -> None:
        self.prior = Binary() if prior is None else check_prior("prior", prior)
        self.channel = Sign() if channel is None else check_channel("channel", channel)
        self.reinforcement = check_number("reinforcement", reinforcement, minimum=0.0, below=1.0)
        self.iterations = check_integer("iterations", iterations, minimum=1)
        self.options = options
        if not self.channel.spin:
            raise ValueError(f"`channel` must have outputs ±1, got {self.channel}")

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Infer the weights.

        Args:
            X: patterns (samples, N), of entries of order 1.
            y: labels ±1, (samples,).

        Raises:
            ValueError: shapes that do not fit, patterns that are not finite, labels other than ±1.
        """
        patterns = _patterns(X)
        labels = vector("y", y, len(patterns))
        scaled = patterns / patterns.shape[1] ** 0.5
        options: dict[str, Any] = {"damping": 0.0} | self.options if self.reinforcement else self.options

        def solved(iteration: int, chain: Chain | VampChain) -> bool:
            return self._errors(patterns, labels, self._most_probable(chain.means[0][:, 0])) == 0

        self.result_: Inference = GLM(self.prior, scaled, self.channel).infer(
            labels,
            iterations=self.iterations,
            reinforcement=self.reinforcement,
            callback=solved if self.reinforcement else None,
            **options,
        )
        self.weights_: Array = self._most_probable(self.result_.signal.mean)
        self.errors_: int = self._errors(patterns, labels, self.weights_)
        return self

    def predict(self, X: ArrayLike) -> Array:
        """Return most probable labels ±1 under the posterior, (samples,)."""
        return np.where(self.predict_proba(X) >= 0.5, 1.0, -1.0)

    def predict_proba(self, X: ArrayLike) -> Array:
        """Return P(y = +1), averaged over the posterior of the weights, (samples,)."""
        signal = _fitted(self).signal
        scaled = _patterns(X, signal.mean.size) / signal.mean.size**0.5
        V = np.maximum(np.square(scaled) @ signal.variance, 1e-300)
        return np.exp(self.channel.observe(1.0, omega=scaled @ signal.mean, V=V).phi)

    def _most_probable(self, means: Array) -> Array:
        return np.where(means >= 0, 1.0, -1.0) if self.prior.spin else means

    @staticmethod
    def _errors(patterns: Array, labels: Array, weights: Array) -> int:
        return int(np.count_nonzero(labels * (patterns @ weights) <= 0))


class Committee:
    """y = sign(Σ_k s_k sign(w_k · x/√N)), with the second layer s known: K perceptrons that see the same patterns.

    It is the two-layer model whose first matrix repeats the patterns on its diagonal; inference starts at random
    means, since all units are alike. The sum over K units is treated as Gaussian, which is coarse for few units: only
    strong damping leads to solutions in which the units differ, and not always. With 101 inputs and five patterns
    per weight, two of three teachers were found exactly for K = 3; for K = 5 none was, and 77 to 80 % of new labels
    were right.

    Args:
        second: s, (K,) non-zero numbers.
        prior: of the first layer's weights.
        rng: generator or seed of the random start.
        options: further arguments of ``MultiLayerGLM.infer``; the damping is 0.9 unless given.

    Attributes:
        result_: outcome of the inference.
        weights_: posterior means (K, N).
    """

    def __init__(
        self, second: ArrayLike, prior: Prior | None = None, *, rng: np.random.Generator | int = 0, **options: Any
    ) -> None:
        self.second = np.atleast_1d(real_array("second", second))
        if self.second.ndim != 1 or not self.second.size or not np.all(self.second):
            raise ValueError(f"`second` must be non-zero numbers (K,), got {shown(second)}")
        self.prior = Binary() if prior is None else check_prior("prior", prior)
        generator(rng)  # raises for what is none
        self.rng = rng
        self.options = options

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Infer the first layer from patterns (samples, N) and labels ±1, (samples,); raises ValueError as above."""
        patterns, units = _patterns(X), self.second.size
        samples, inputs = patterns.shape
        labels = vector("y", y, samples)
        first = sparse.kron(sparse.eye_array(units), patterns / inputs**0.5, format="csr")
        last = sparse.kron(self.second[None] / units**0.5, sparse.eye_array(samples), format="csr")
        model = MultiLayerGLM(self.prior, [first, last], [Sign(), Sign()])
        self.result_: Inference = model.infer(
            labels, **{"start": "random", "rng": self.rng, "damping": 0.9} | self.options
        )
        self.weights_: Array = self.result_.signal.mean.reshape(units, inputs)
        return self

    def predict(self, X: ArrayLike) -> Array:
        """Return most probable labels ±1 under the posterior, (samples,)."""
        variance = _fitted(self).signal.variance.reshape(self.weights_.shape)
        scaled = _patterns(X, self.weights_.shape[1]) / self.weights_.shape[1] ** 0.5
        V = np.maximum(np.square(scaled) @ variance.T, 1e-300)
        hidden, _ = Sign().moments(B=0.0, A=0.0, omega=scaled @ self.weights_.T, V=V)
        return Sign()(Identity()(hidden @ self.second))


def _fitted(model: Perceptron | Committee) -> Inference:
    if not hasattr(model, "result_"):
        raise ValueError(f"`{type(model).__name__}` must be fitted before it predicts, got a call without `fit`")
    return model.result_


def _patterns(X: ArrayLike, columns: int | None = None) -> Array:
    shape = "of patterns (samples, N)" if columns is None else f"of patterns (samples, {columns}) as in `fit`"
    return matrix("X", X, shape, columns)
