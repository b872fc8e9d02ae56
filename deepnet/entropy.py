"""How many networks about a trained one have all labels right: the local entropy, from the messages of AMP.

[DL] leaves "the algorithmic computation of the (local) entropy of the model from the messages" to the future. The law
here is that of ±1 weights w with all labels right, in fields θ:

    P(w) = 1[labels right] e^{θ·w} / Z,   entropy S = log Z - θ·m

since a constraint has no mean logarithm. With θ = γ w* it is one about the solution w*: the larger γ, the nearer to it.
The labels are those of the samples that w* has right.
At a fixed point of AMP over all samples at once, the Bethe free entropy log Σ_factors - Σ_edges of the graph is

    log Z = Σ φ_out(ω, V) + Σ φ(B, A, ω, V) + Σ log 2cosh(H) - Σ H_in m - Σ [B x̂ - A (x̂² + Δ)/2]
            + ½ Σ g² [V - Σ_i σ Δ]

The factors and the variables give the first three sums, with the full messages, and the edges the others: of an edge
log Z_e = ψ(H) - ψ(H - h) = h m - h²σ/2, of which Σ_n h m = H_in m, and with h = x̂ g of the weights and h = m g of the
units, Σ h² σ = Σ g² Σ_i (σ x̂² + m² Δ).

It is exact where units sum many independent terms, and an estimate elsewhere. Without hidden layers it is within 5 %
of enumeration already for 16 weights, with few samples (a third of the weights) and weak fields (γ <= 0.3), where no
weight decides alone; with more of either the error is 5 to 35 %. With a hidden layer of a few units it is off by 0 to
50 % for weak fields (γ <= 0.3), too small or too large: samples that share their weights have correlated hidden
units, and messages take them for independent. That is an error of Bethe's, since exact messages have it too; strong
fields (γ >= 1) bring that of AMP's Gaussian sums of so few weights (``tests/benchmarks/entropies.py`` has a table of
both). Messages of an argmax are those of the double-Jensen form, its φ is exact.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np

from deepnet.layers import DenseLayer, DensePlan, Update
from deepnet.layers.dense import LARGEST_FIELD
from deepnet.outputs import output_of
from deepnet.outputs.base import Labels, Output
from deepnet.predict import check_inputs, predict_pointwise
from deepnet.state import Network
from deepnet.sweep import backward, forward, start_batch
from factorgraph.channels import Argmax, Channel, Sign
from factorgraph.dense.operations import Operations
from factorgraph.dense.state import Array
from factorgraph.interface.arguments import check_instance, check_number, real_array, shown
from factorgraph.iteration import DampingLevels, Report, Status, Turn, iterate
from factorgraph.numerics.special import log_2cosh_array

#: α of the means of the weights: what follows is tried where messages do not settle.
_DAMPING = (0.5, 0.8, 0.95)


class Entropy(NamedTuple):
    """The entropy of a law of ±1 weights, and what it is about.

    Attributes:
        overlap: mean of w* m over the weights, w* being the most probable ones; 1 - 2 times the share of flipped ones.
        entropy: S, in nats a weight.
        independent: that of independent weights of the same means, which is never smaller: in nats a weight.
        status: of the iteration of the messages; ``entropy`` is of a fixed point only where it has converged.
    """

    overlap: float
    entropy: float
    independent: float
    status: Status


def local_entropy(
    network: Network,
    x: Array,
    y: Labels,
    couplings: Sequence[float],
    *,
    tolerance: float = 1e-5,
    iterations: int = 300,
) -> list[Entropy]:
    """Return the entropies of the networks with all labels right about the most probable weights, θ = γ w*.

    Args:
        network: trained, of ±1 weights and an output without noise, by any algorithm.
        x: inputs (samples, features).
        y: labels (samples,).
        couplings: γ, from 0 to the largest field that leaves the messages some digits.
        tolerance: largest change of the means of the weights at which the messages have converged.
        iterations: most of them for each γ.

    Raises:
        ValueError: the network has other weights or another output, or an argument is not as described.
    """
    check_instance("couplings", couplings, (list, tuple, np.ndarray), "a sequence of numbers")
    chosen = [check_number("couplings", coupling, minimum=0.0, maximum=LARGEST_FIELD) for coupling in couplings]
    solution = [layer.most_probable_weights() for layer in _spin_layers(network)]
    return [
        entropy(network, x, y, [c * w for w in solution], tolerance=tolerance, iterations=iterations) for c in chosen
    ]


def posterior_entropy(
    network: Network, x: Array, y: Labels, *, tolerance: float = 1e-5, iterations: int = 300
) -> Entropy:
    """Return the entropy of the trained posterior, with all labels right: θ are the trained fields of the weights.

    Arguments as of ``local_entropy``.
    """
    return entropy(
        network, x, y, [layer.H for layer in _spin_layers(network)], tolerance=tolerance, iterations=iterations
    )


def entropy(
    network: Network,
    x: Array,
    y: Labels,
    fields: Sequence[Array],
    *,
    tolerance: float = 1e-5,
    iterations: int = 300,
) -> Entropy:
    """Return the entropy of the networks with all labels right in fields θ, one array for each layer.

    Other arguments, and errors, as of ``local_entropy``.
    """
    solution = [layer.most_probable_weights() for layer in _spin_layers(network)]
    x, y = check_inputs(network.layers, real_array("x", x)), real_array("y", y)
    fields = _fields(fields, solution)
    output_of(network.layers[-1]).check(y, len(x))
    messages = _Messages(network, *_right(network, x, y), fields)
    run = iterate(
        messages.step,
        limit=iterations,
        tolerance=tolerance,
        policy=DampingLevels(*_DAMPING),
        begin=messages.begin,
    )
    edges = [np.ones_like(w, bool) if w.all() else w != 0 for w in solution]
    count = sum(int(edge.sum()) for edge in edges)
    means = [layer.mean.astype(np.float64) for layer in messages.layers]
    overlap = sum(float((w * m).sum()) for w, m in zip(solution, means, strict=True))
    independent = sum(float(_binary_entropy(m[edge]).sum()) for m, edge in zip(means, edges, strict=True))
    S = messages.log_partition(edges) - sum(float((f * m).sum()) for f, m in zip(fields, means, strict=True))
    return Entropy(overlap / count, S / count, independent / count, run.status)


def _fields(fields: Sequence[Array], solution: Sequence[Array]) -> list[Array]:
    """Return fields of the weights; raise ``ValueError`` unless there is one for each that leaves messages digits."""
    need = f"{len(solution)} arrays, one for each layer"
    if len(check_instance("fields", fields, (list, tuple), need)) != len(solution):
        raise ValueError(f"`fields` must be {need}, got {len(fields)}")
    found = [real_array(f"fields[{i}]", H, shape=solution[i].shape) for i, H in enumerate(fields)]
    for i, H in enumerate(found):
        if (largest := float(np.abs(H).max())) > LARGEST_FIELD:
            raise ValueError(f"`fields[{i}]` must be at most {LARGEST_FIELD:g} in size, got {largest:g}")
    return found


def _spin_layers(network: Network) -> list[DenseLayer]:
    """Return the layers in host memory; raise ``ValueError`` unless all have ±1 weights."""
    layers = network.to("cpu").layers
    for layer in layers:
        if not isinstance(layer, DenseLayer) or not layer.plan.spin_weights:
            raise ValueError(f"`weights` must be binary in all layers to be counted, got {layer.plan}")
    return cast(list[DenseLayer], layers)


def _right(network: Network, x: Array, y: Labels) -> tuple[Array, Labels]:
    """Return the samples that the most probable weights have right; raise ``ValueError`` if there are none."""
    output = output_of(network.layers[-1])
    right = output.numbers(predict_pointwise(network.to("cpu").layers, x)).reshape(y.shape) == output.numbers(y)
    if not right.any():
        raise ValueError("`network` must have some labels right, got none")
    return x[right], y[right]


def _constraint(channel: Channel | Argmax) -> Channel | Argmax:
    """Return an output that known weights decide, of messages without sampling; raise ``ValueError`` for others."""
    if type(channel) is Sign:
        return channel
    if isinstance(channel, Argmax) and channel.noise == 0.0:
        return Argmax()
    raise ValueError(f"`output` must be sign or argmax, whose labels the weights decide, got {shown(channel)}")


def _binary_entropy(m: Array) -> Array:
    """Return the entropies of ±1 variables of means m: log 2cosh(H) - H m with m = tanh H."""
    H = np.arctanh(np.clip(m, -1.0 + 1e-15, 1.0 - 1e-15))
    return log_2cosh_array(H) - H * m


class _Messages:
    """The messages of AMP on the network of all samples, with the weights in fields."""

    def __init__(self, network: Network, x: Array, y: Labels, fields: Sequence[Array]) -> None:
        host = network.to("cpu")
        self.operations: Operations = host.operations
        self.layers = self._layers(host, fields, float(np.mean(np.square(x, dtype=np.float64))) or 1.0)
        self.output: Output = output_of(self.layers[-1])
        self.y = self.output.encode(y, host.config.dtype)
        self.x = np.ascontiguousarray(x.astype(host.config.dtype, copy=False).T)
        self.bases = [layer.base(copied=True) for layer in self.layers]
        self.updates = [Update()] * len(self.layers)
        self.begin()

    def _layers(self, network: Network, fields: Sequence[Array], square: float) -> list[DenseLayer]:
        """Return layers in the fields, whose least variances are in units of the mean square of their inputs."""
        layers: list[DenseLayer] = []
        for layer, H in zip(_spin_layers(network), fields, strict=True):
            last, plan = len(layers) == len(fields) - 1, layer.plan
            channel = _constraint(plan.channel) if last else plan.channel
            plan = DensePlan(
                plan.name, plan.inputs, plan.outputs, plan.prior, channel, "amp", plan.scale, plan.bias,
                plan.input_channel, plan.mask, plan.min_variance * (1.0 if layers else square),
            )  # fmt: skip
            below = layers[-1] if layers else None
            layers.append(DenseLayer(plan, H.astype(layer.H.dtype), None, np.zeros_like(layer.H), below=below))
        return layers

    def begin(self) -> None:
        """Start with the means in the fields alone."""
        for layer, (H, _) in zip(self.layers, self.bases, strict=True):
            layer.mean[...] = np.tanh(H) * (1 if layer.plan.mask is None else layer.plan.mask)
        start_batch(self.layers, self.x, [None] * len(self.layers))

    def step(self, turn: Turn) -> Report:
        """Send every message once."""
        before = [layer.mean.copy() for layer in self.layers]
        for layer in self.layers:
            layer.damping = turn.damping
        self._forward()
        backward(self.layers, self.bases, self.updates, self.y, self.operations, last=False, rng=None, power=None)
        change = max(float(np.abs(layer.mean - old).max()) for layer, old in zip(self.layers, before, strict=True))
        return turn.judge(change / (1.0 - turn.damping))

    def _forward(self) -> None:
        forward(self.layers, self.operations, last=False)

    def log_partition(self, edges: Sequence[Array]) -> float:
        """Return the Bethe free entropy: see the module."""
        self._forward()
        total, top = 0.0, self.layers[-1]
        for layer, (field, _), edge in zip(self.layers, self.bases, edges, strict=True):
            H, g = layer.H.astype(np.float64), layer.g.astype(np.float64)
            total += float((log_2cosh_array(H) - (H - field) * layer.mean)[edge].sum())
            spread = 0.0 if layer.x_variance is None else layer.variance @ layer.x_variance
            total += 0.5 * float((np.square(g) * (layer.V - spread)).sum())
            total += _units(layer)
        scale = top.plan.scale
        seen = self.output.log_likelihood(self.y, scale * top.omega, scale * scale * top.V)
        return total + float(np.sum(seen, dtype=np.float64))


def _units(layer: DenseLayer) -> float:
    """Return Σ φ - Σ [B x̂ - A (x̂² + Δ)/2] of the units below a layer."""
    message, below = layer.to_inputs, layer.below
    if message is None or message.B is None or below is None:
        return 0.0
    scale, A = message.scale, 0.0 if message.A is None else message.A
    channel = cast(Channel, message.channel)
    values = channel.evaluate(B=message.B, A=A, omega=scale * below.omega, V=scale * scale * below.V)
    return float(np.sum(values.phi - message.B * values.mean + 0.5 * A * (values.mean**2 + values.variance)))
