"""The dense layer: z_kn = scale · Σ_i W_ki x_in with a weight of its own on every edge, ±1 or continuous."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from deepnet.cost import Cost
from deepnet.layers.base import Layer, LoweringError, Update
from deepnet.layers.noise import LearntNoise
from deepnet.sums import sums
from factorgraph.channels import Channel
from factorgraph.dense import state as dense
from factorgraph.dense.closures import CLOSURES
from factorgraph.dense.operations import Backward, Forward, Operations, Step
from factorgraph.dense.state import Array, LayerPlan, Message
from factorgraph.factors import Bilinear
from factorgraph.model.description import Model, Variable

if TYPE_CHECKING:
    from models.preactivation import StochasticWeights

#: Fields beyond this have no digits left for the message of a batch: the run has diverged.
LARGEST_FIELD = 1e12

#: Probability that a learnt prior leaves to 0, and to other values.
SMALLEST_MASS = 1e-4

_BYTES = 4  # of a float32


def _printed(prior: Any) -> Any:
    """Return a prior as it is printed: with numbers of six digits, of which those that are learnt have more."""
    given = {each.name: getattr(prior, each.name) for each in fields(prior)} if is_dataclass(prior) else {}
    short = {name: float(f"{value:.6g}") for name, value in given.items() if isinstance(value, float)}
    return replace(prior, **short) if short else prior  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class DensePlan(LayerPlan):
    """What a dense layer is, and what one with free weights takes."""

    def __str__(self) -> str:
        bias = ", bias in the last column" if self.bias else ""
        edges = "" if self.mask is None else f", {self.mask.mean():.1%} of the edges"
        shape = f"{self.outputs} x {self.inputs}"
        return f"{self.name}: {shape} {_printed(self.prior)}, {self.channel}, {self.closure}{bias}{edges}"

    @classmethod
    def of(cls, model: Model, factor: Bilinear, closure: str, input_channel: Channel | None) -> "DensePlan":
        """Return the plan of a factor; errors as of ``lower``."""
        weights = model.variables[factor.weights]
        _require_free(weights)
        if factor.bias is not None:
            _require_free(model.variables[factor.bias])
            if model.variables[factor.bias].prior != weights.prior:
                raise LoweringError(
                    f"`{factor.bias}` must have the prior of `{weights.name}`: it is one more column of it"
                )
        outputs, inputs = model.shape(factor.weights)
        if outputs is None or inputs is None:
            raise LoweringError(f"`{weights.name}` must have plates of known size, got {model.shape(factor.weights)}")
        bias, mask = factor.bias is not None, factor.mask
        if mask is not None and bias:
            mask = np.concatenate([mask, np.ones((outputs, 1), dtype=bool)], axis=1)
        return cls(
            name=weights.name,
            inputs=inputs + bias,
            outputs=outputs,
            prior=weights.prior,  # pyright: ignore[reportArgumentType]
            channel=factor.channel,
            closure=closure,
            scale=factor.scale,
            bias=bias,
            input_channel=input_channel,
            mask=mask,
        )

    @property
    def features(self) -> int:
        """Number of inputs without the constant unit."""
        return self.inputs - self.bias

    @property
    def weights(self) -> int:
        """Elements of the weight array, masked ones included."""
        return self.outputs * self.inputs

    @property
    def sparse_weights(self) -> bool:
        """The prior has an atom at 0."""
        return self.prior is not None and self.prior.mass > 0.0

    @property
    def slab_precision(self) -> float:
        """Of the prior where weights are continuous and may be 0; that of others is among the natural parameters."""
        assert self.prior is not None
        return (
            min(deviation**-2.0 for _, deviation in self.prior.components if deviation) if self.sparse_weights else 0.0
        )

    @property
    def whole_weights(self) -> bool:
        """The most probable weights are integers."""
        support = None if self.prior is None else self.prior.support
        return support is not None and all(value == int(value) for value in support)

    @property
    def on_gpu(self) -> bool:
        """Implement ``deepnet.layers.base.Plan.on_gpu``."""
        return self.channel.on_gpu and self.prior is not None and self.prior.on_gpu

    def state_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Implement ``deepnet.layers.base.Plan.state_shapes``: one number an edge in each array, and of outputs the
        noise if it is learnt."""
        names = ("H", "mean") if self.spin_weights else ("H", "mean", "G", "variance")
        shapes = dict.fromkeys(names, (self.outputs, self.inputs))
        shapes |= {"noise": (self.outputs, 1)} if isinstance(self.channel, LearntNoise) else {}
        return shapes | ({"mass": (1, 1)} if self.sparse_weights else {})

    def initial_layer(
        self, size: float, rng: np.random.Generator, dtype: np.dtype[Any] | type, below: Layer | None
    ) -> "DenseLayer":
        """Implement ``deepnet.layers.base.Plan.initial_layer``.

        ±1 weights start with H ~ size · N(0, 1) [DL, App. B.1], and likewise those that may be 0, whose
        prior restricts them; continuous ones with m ~ size · N(0, 1) and σ = 1 in units of 1/(scale √inputs), where the
        variance of the scaled sum over inputs of size 1 starts at 1. Only the ratio of m to √σ counts: the size of both
        is a matter of units below sign, ReLU or argmax outputs.
        """
        noise = rng.standard_normal((self.outputs, self.inputs))
        if self.spin_weights:
            H, G = size * noise, None
        elif self.sparse_weights:
            H, G = size * noise, np.zeros_like(noise)
        else:
            deviation = 1.0 / (self.scale * self.inputs**0.5)
            H, G = size * noise / deviation, np.full(noise.shape, deviation**-2.0)
        assert self.prior is not None
        mean, sigma = self.prior.moments(H=H, G=0.0 if G is None else G)
        if self.mask is not None:
            mean, sigma = mean * self.mask, sigma * self.mask
        return DenseLayer(
            plan=self,
            H=H.astype(dtype),
            G=None if G is None else G.astype(dtype),
            mean=mean.astype(dtype),
            sigma=None if self.spin_weights else sigma.astype(dtype),
            below=below,
            noise=self._initial_noise(dtype),
            mass=np.full((1, 1), self.prior.mass, dtype) if self.sparse_weights else None,
        )

    def _initial_noise(self, dtype: np.dtype[Any] | type) -> Array | None:
        if not isinstance(self.channel, LearntNoise):
            return None
        return np.full((self.outputs, 1), self.channel.noise, dtype)

    def cost(self) -> Cost:
        """Implement ``deepnet.layers.base.Plan.cost``, of the weights that are kept.

        A batch reads m (and σ) forwards, and renews H and m (and G and σ) backwards.
        """
        edges = float(self.weights if self.mask is None else self.mask.sum())
        read, renewed = (1, 2) if self.spin_weights else (2, 4)
        return Cost(
            flops=2.0 * edges * self._products(),
            evaluations=edges if CLOSURES[self.closure].edgewise else 0.0,
            bytes=_BYTES * edges * (read + 2 * renewed),
        )

    def _products(self) -> int:
        """Return matrix products: omega and V; H and B, unless they sum g of every edge; Onsager terms; G and A.

        V, G and A are sums of two products, or of one where weights or inputs are ±1; AMP has half of G and A already.
        """
        messages, first, real = CLOSURES[self.closure].products, self.is_first, not (self.is_first or self.spin_inputs)
        pair = 2 if real and not self.full_spins else 1
        count = 1 + pair + messages * (1 if first else 2)
        if not self.spin_weights:
            count += pair - (messages == 2 and (first or pair == 2))
        if real:
            count += pair - (messages == 2 and pair == 2)
        return count


@dataclass
class DenseLayer(dense.Layer):
    """A dense layer in training, whose steps are those of ``Operations``.

    Attributes:
        noise: variances of the outputs' Gaussian noise, (outputs, 1), where they are learnt.
        mass: prior probability of 0, (1, 1), where there is one: that of the prior in the plan.
    """

    plan: DensePlan  # pyright: ignore[reportIncompatibleVariableOverride]
    noise: Array | None = None
    mass: Array | None = None

    def state(self) -> dict[str, Array]:
        """Return H and the damped m; G and σ as well for weights that are not ±1; the noise, if it is learnt; and the
        mass at 0."""
        arrays = {"H": self.H, "mean": self.mean}
        if self.G is not None:
            arrays |= {"G": self.G, "variance": self.sigma}
        return arrays | {name: own for name in ("noise", "mass") if (own := getattr(self, name)) is not None}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Implement ``deepnet.layers.base.Layer.restore``: masked weights are 0."""
        if self.plan.mask is not None and bool((state["mean"] * ~self.plan.mask != 0).sum() > 0):
            raise ValueError(f"{self.plan.name} must have weights where `seed` and `density` draw edges only")
        if self.noise is not None and not bool((state["noise"] > 0).sum() == self.plan.outputs):
            raise ValueError(f"{self.plan.name} must have noise of variances > 0")
        if self.mass is not None:
            self._restore_mass(float(state["mass"][0, 0]))
        for name, own in self.state().items():
            own[...] = state[name]
        if self.plan.spin_weights and self.sigma is not None:
            self.sigma[...] = self.spin_variance()

    def drawn(self) -> Array | None:
        """Return the mask."""
        return self.plan.mask

    def copied(self, convert: Callable[[Array], Array], operations: Operations, below: Layer | None) -> Self:
        """Implement ``deepnet.layers.base.Layer.copied``; σ of ±1 weights, where it is kept, is for ``place`` to make
        anew."""

        def optional(values: Array | None) -> Any:
            return None if values is None else convert(values)

        plan = replace(self.plan, mask=optional(self.plan.mask))
        sigma = None if plan.spin_weights else convert(self.sigma)
        layer = type(self)(
            plan=plan,
            H=convert(self.H),
            G=optional(self.G),
            mean=convert(self.mean),
            sigma=sigma,
            below=below,
            noise=optional(self.noise),
            mass=optional(self.mass),
        )
        operations.place(layer)
        return layer

    def watched(self) -> dict[str, tuple[Array, float]]:
        """Return H, which must not outgrow the messages, and m, omega, V and g; G as H for weights that may be 0, to
        whose odds it is a field."""
        infinite = float("inf")
        found = {"H": (self.H, LARGEST_FIELD), "m": (self.mean, infinite)}
        if self.mass is not None and self.G is not None:
            found["G"] = (self.G, LARGEST_FIELD)
        return found | {name: (getattr(self, name), infinite) for name in ("omega", "V", "g") if hasattr(self, name)}

    def settle(self) -> None:
        """Implement ``deepnet.layers.base.Layer.settle``: nothing is kept of single batches."""

    def learn_prior(self) -> bool:
        """Implement ``deepnet.layers.base.Layer.learn_prior``: the mean of the posterior probabilities of 0 becomes the
        prior one."""
        if self.mass is None:
            return False
        assert self.plan.prior is not None and self.G is not None
        zero, mask = self.plan.prior.zero_probability(H=self.H, G=self.G), self.plan.mask
        count = self.H.size if mask is None else float(mask.sum())
        mass = float((zero if mask is None else zero * mask).sum()) / max(1.0, count)
        self._set_mass(min(max(mass, SMALLEST_MASS), 1.0 - SMALLEST_MASS))  # room for both
        return True

    def _restore_mass(self, mass: float) -> None:
        """Take up a mass that was learnt; one that is given stays as it is, to the last digit."""
        assert self.mass is not None
        if mass == float(self.mass[0, 0]):
            return
        if not 0.0 < mass < 1.0:
            raise ValueError(f"{self.plan.name} must have a mass at 0 in (0, 1)")
        self._set_mass(mass)

    def _set_mass(self, mass: float) -> None:
        """Change the prior."""
        assert self.mass is not None and self.plan.prior is not None
        self.mass[...] = mass
        prior = self.plan.prior.with_mass(float(self.mass[0, 0]))
        self.plan = replace(self.plan, prior=prior)  # pyright: ignore[reportIncompatibleVariableOverride]

    def start(self, update: Update | None) -> None:
        """Implement ``deepnet.layers.base.Layer.start``."""
        self.memory = None
        if update is not None:
            self.beta, self.damping = update.beta, update.damping

    def base(self, *, copied: bool) -> tuple[Array, Array | None]:
        """Return H and G."""
        return (self.H.copy(), None if self.G is None else self.G.copy()) if copied else (self.H, self.G)

    def receive(self, mean: Array, variance: Array | None) -> None:
        """Implement ``deepnet.layers.base.Layer.receive``, with the constant unit below."""
        self.x_mean = self._with_constant_unit(mean, 1)
        if variance is not None:
            self.x_variance = self._with_constant_unit(variance, 0)

    def forward(self, operations: Operations, *, last: bool, free_moments: bool) -> Forward:
        """Implement ``deepnet.layers.base.Layer.forward``."""
        return operations.forward(self, last=last, free_moments=free_moments)

    def backward(self, operations: Operations, above: Message, base: Any, update: Update, *, last: bool) -> Backward:
        """Implement ``deepnet.layers.base.Layer.backward``; nobody waits for what is sent to the constant unit."""
        field, precision = base
        step = Step(field, precision, update.rho, update.reinforcement)
        return self._without_constant_unit(operations.backward(self, above, step, last=last))

    def _without_constant_unit(self, sent: Backward) -> Backward:
        """Return what is sent to the units below, without the constant one."""
        if not self.plan.bias or sent.B is None:
            return sent
        A = None if sent.A is None else sent.A[: self.plan.features]
        return sent._replace(B=sent.B[: self.plan.features], A=A)

    def most_probable_weights(self) -> Array:
        """Return sign(m) for ±1 weights (+1 where m = 0), m for continuous ones; zero where there is no edge.

        Those that may be 0 are so where that is more probable than the others: than each for ternary ones; than all of
        them for continuous ones, which otherwise are their mean.
        """
        if self.plan.sparse_weights:
            return self._without_zeros()
        if not self.plan.spin_weights:
            return self.mean
        weights = np.where(self.mean >= 0, self.mean.dtype.type(1), self.mean.dtype.type(-1))
        return weights if self.plan.mask is None else weights * self.plan.mask

    def most_probable(self) -> Callable[[Array], Array]:
        """Implement ``deepnet.layers.base.Layer.most_probable``.

        A sum of inputs of which as many enter with +1 as with -1 is a tie where these are all alike, as pixels of a
        background are: it is 0, and the unit decides by its rule for 0, not by how the sum was rounded.
        """
        W = self.most_probable_weights()
        whole = self.plan.whole_weights and self.plan.spin_inputs

        def preactivations(units: Array) -> Array:
            x = self._with_constant_unit(units, 1)
            z = W @ x if whole else sums(W, x)  # those of integers are exact
            z *= self.plan.scale
            return z

        return preactivations

    def _without_zeros(self) -> Array:
        prior = self.plan.prior
        assert prior is not None and self.G is not None
        zero = prior.zero_probability(H=self.H, G=self.G)
        if prior.support is None:
            mean, _ = prior.moments(H=self.H, G=self.G)
            weights = np.where(zero < 0.5, mean / np.maximum(1.0 - zero, 0.5), 0.0)
        else:  # the odds of -1 and 1 are e^{2H}
            weights = np.sign(self.H) * ((1.0 - zero) / (1.0 + np.exp(-2.0 * np.abs(self.H))) > zero)
        weights = weights.astype(self.mean.dtype, copy=False)
        return weights if self.plan.mask is None else weights * self.plan.mask

    def polarization(self) -> float:
        """Implement ``deepnet.layers.base.Layer.polarization``, over the edges."""
        edges = self.mean.size if self.plan.mask is None else int(np.count_nonzero(self.plan.mask))
        return self._total_square() / max(1, edges)

    def overlap(self) -> float:
        """Implement ``deepnet.layers.base.Layer.overlap``: Σ_{a<b} m_a·m_b = (|Σ_a m_a|² - Σ_a |m_a|²)/2 needs no
        product of all pairs."""
        units, inputs = self.mean.shape
        if units == 1:
            return 0.0
        total = np.square(self.mean.sum(axis=0, dtype=np.float64)).sum() - self._total_square()
        return float(total) / (units * (units - 1) * inputs)

    def stochastic_weights(self) -> "StochasticWeights":
        """Implement ``deepnet.layers.base.Layer.stochastic_weights``: m, σ, scale and mask."""
        from models.preactivation import StochasticWeights

        plan = self.plan
        return StochasticWeights(self.mean, self.variance, plan.spin_weights, scale=plan.scale, mask=plan.mask)

    def _total_square(self) -> float:
        """Return Σ m², summed in double precision."""
        return float(np.einsum("ki,ki->", self.mean, self.mean, dtype=np.float64))

    def _with_constant_unit(self, values: Array, constant: float) -> Array:
        """Return inputs with the value of the constant unit below them, if the layer has a bias."""
        if not self.plan.bias:
            return values
        return np.concatenate([values, np.full_like(values, constant, shape=(1, values.shape[1]))])


def _require_free(variable: Variable) -> None:
    if variable.observed or variable.prior is None:
        raise LoweringError(
            f"`{variable.name}` must be free, with a prior: a layer of known weights is inference, not training"
        )
