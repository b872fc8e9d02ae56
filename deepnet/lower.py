"""From a model to the layers of a dense sweep, or a refusal that says why."""

from collections.abc import Sequence

import numpy as np

from deepnet.network import choice, per_layer
from deepnet.outputs import output_kind
from factorgraph.channels import Argmax, Channel
from factorgraph.dense.closures import CLOSURES
from factorgraph.dense.state import LayerPlan
from factorgraph.factors import Bilinear
from factorgraph.model.description import Model, Variable


class LoweringError(ValueError):
    """A model that has no dense sweep; the message says what stands in the way."""


def lower(model: Model, closure: str | Sequence[str]) -> tuple[LayerPlan, ...]:
    """Plan the dense sweep of a model that is a chain of bilinear layers with free weights.

    Args:
        model: observed inputs, free weights, observed output.
        closure: "bp", "bpi", "mf" or "amp", for all layers or one per layer. BP and BPI need the cavity of a scalar
            output; for one value serving all layers, an argmax layer falls to "mf", as in [DL App. A.9].

    Raises:
        LoweringError: for any other model, with the reason.
        ValueError: for an unknown closure or a wrong number of them.
    """
    chain = _chain(model)
    closures = list(per_layer("closure", closure, len(chain)))
    for name in closures:
        choice("closure", name, CLOSURES)
    if output_kind(chain[-1].channel).coupled and CLOSURES[closures[-1]].edgewise:
        if not isinstance(closure, str):
            raise LoweringError(
                f"`closure` of layer {chain[-1].weights} must be 'mf' or 'amp', got {closures[-1]!r}: an argmax output "
                "couples all units of a sample, and the sweep has no cavity of one edge for it"
            )
        closures[-1] = "mf"
    plans: list[LayerPlan] = []
    for factor, name in zip(chain, closures, strict=True):
        plans.append(_plan(model, factor, name, plans[-1].channel if plans else None))
    return tuple(plans)


def _chain(model: Model) -> list[Bilinear]:
    """The factors in order from the data to the observed output."""
    by_input: dict[str, Bilinear] = {}
    for factor in model.factors:
        if not isinstance(factor, Bilinear):
            raise LoweringError(f"factors must all be Bilinear, got {type(factor).__name__}: use the general engine")
        if factor.inputs in by_input:
            raise LoweringError(f"`{factor.inputs}` must feed one layer, got {factor.weights} and others: not a chain")
        by_input[factor.inputs] = factor
    outputs = {factor.output for factor in by_input.values()}
    roots = [name for name in by_input if name not in outputs]
    if len(roots) != 1:
        raise LoweringError(f"the layers must form one chain from one input, got inputs {sorted(roots)}")
    if not model.variables[roots[0]].observed:
        raise LoweringError(f"`{roots[0]}` must be observed: a free input is inference with known weights")
    chain = [by_input.pop(roots[0])]
    while chain[-1].output in by_input:
        chain.append(by_input.pop(chain[-1].output))
    if by_input:
        raise LoweringError(f"the layers must form one chain, got {sorted(by_input)} outside it")
    return chain


def _plan(model: Model, factor: Bilinear, closure: str, input_channel: Channel | Argmax | None) -> LayerPlan:
    weights, output = model.variables[factor.weights], model.variables[factor.output]
    _require_free(weights)
    if factor.bias is not None:
        _require_free(model.variables[factor.bias])
        if model.variables[factor.bias].prior != weights.prior:
            raise LoweringError(f"`{factor.bias}` must have the prior of `{weights.name}`: it is one more column of it")
    last = not any(other.inputs == factor.output for other in model.factors if isinstance(other, Bilinear))
    if output.observed != last:
        raise LoweringError(
            f"`{output.name}` must be {'observed' if last else 'free'}: only the last output is observed"
        )
    if isinstance(input_channel, Argmax):
        raise LoweringError(f"`{factor.inputs}` must not be an argmax: it is an output only")
    if not last and output.prior is not None:
        raise LoweringError(f"`{output.name}` must have no prior of its own: its layer determines it")
    outputs, inputs = model.shape(factor.weights)
    if outputs is None or inputs is None:
        raise LoweringError(f"`{weights.name}` must have plates of known size, got {model.shape(factor.weights)}")
    bias = factor.bias is not None
    mask = factor.mask
    if mask is not None and bias:
        mask = np.concatenate([mask, np.ones((outputs, 1), dtype=bool)], axis=1)
    return LayerPlan(
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


def _require_free(variable: Variable) -> None:
    if variable.observed or variable.prior is None:
        raise LoweringError(
            f"`{variable.name}` must be free, with a prior: a layer of known weights is inference, not training"
        )
