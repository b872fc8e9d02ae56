"""From a model to the layers of a sweep, or a refusal that says why."""

from collections.abc import Sequence
from typing import Any

from deepnet.layers import KINDS, LoweringError, Plan
from deepnet.network import choice, per_layer
from deepnet.outputs import output_kind
from factorgraph.channels import Argmax, Channel
from factorgraph.dense.closures import CLOSURES
from factorgraph.model.description import Model


def lower(model: Model, closure: str | Sequence[str]) -> tuple[Plan, ...]:
    """Plan the sweep of a model that is a chain of layers.

    Args:
        model: observed inputs, factors of ``KINDS`` with free weights, observed output.
        closure: "bp", "bpi", "mf" or "amp", for all layers or one per layer. BP and BPI need the cavity of a scalar
            output; for one value serving all layers, an argmax layer falls to "mf", as in [DL, App. A.9].

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
    plans: list[Plan] = []
    for factor, name in zip(chain, closures, strict=True):
        below = plans[-1].channel if plans else None
        _check_place(model, factor, below, last=len(plans) == len(chain) - 1)
        plans.append(KINDS[type(factor)].of(model, factor, name, below))
    return tuple(plans)


def _chain(model: Model) -> list[Any]:
    """Return the factors in order from the data to the observed output."""
    by_input: dict[str, Any] = {}
    factor: Any
    for factor in model.factors:
        if type(factor) not in KINDS:
            known = " or ".join(kind.__name__ for kind in KINDS)
            raise LoweringError(f"factors must all be {known}, got {type(factor).__name__}: use the general engine")
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


def _check_place(model: Model, factor: Any, input_channel: Channel | Argmax | None, *, last: bool) -> None:
    """Raise ``LoweringError`` unless a layer fits between what is below and above it."""
    output = model.variables[factor.output]
    if output.observed != last:
        raise LoweringError(
            f"`{output.name}` must be {'observed' if last else 'free'}: only the last output is observed"
        )
    if isinstance(input_channel, Argmax):
        raise LoweringError(f"`{factor.inputs}` must not be an argmax: it is an output only")
    if not last and output.prior is not None:
        raise LoweringError(f"`{output.name}` must have no prior of its own: its layer determines it")
