"""What a run is given besides the graph, checked: observations, fields, sizes that the data decide."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.engine.unroll import Potentials, Unrolled
from factorgraph.interface.arguments import check_instance, real_array
from factorgraph.interface.errors import ModelError
from factorgraph.messages.categories import indicators
from factorgraph.messages.natural import Array
from factorgraph.model.description import Model
from factorgraph.model.layout import Layout

Values = Mapping[str, ArrayLike]


def values_of(what: str, given: Any, *, missing: bool = False, infinite: Collection[str] = ()) -> dict[str, Array]:
    """Return what a run is given by names, as arrays of real numbers; nothing for None.

    Args:
        what: the argument.
        given: arrays by name.
        missing: elements that are NaN or masked stay free; they become NaN.
        infinite: names of variables whose values may be infinite.

    Raises:
        ModelError: not arrays of finite numbers by names.
    """
    if given is None:
        return {}
    check_instance(what, given, Mapping, "arrays by names of variables, or None", error=ModelError)
    return {
        name: real_array(f"{what}` of `{name}", values, missing=missing, finite=name not in infinite, error=ModelError)
        for name, values in given.items()
    }


def data_sizes(model: Model, observed: Values, copies: int) -> dict[str, int]:
    """Return the sizes of the plates that have none, from the shapes of the observed values.

    Raises:
        ModelError: unknown variables, values of a wrong shape, or two sizes of one plate.
    """
    sizes: dict[str, int] = {}
    for name, values in observed.items():
        if name not in model.variables:
            raise ModelError(f"`observed` must name variables among {sorted(model.variables)}, got {name!r}")
        shape, plates = model.shape(name), model.variables[name].plates
        if None not in shape:
            continue
        given = np.shape(values)[(1 if copies > 1 and np.ndim(values) > len(shape) else 0) :]
        if len(given) != len(shape):
            raise ModelError(
                f"`observed` values of `{name}` must have {len(shape)} axes {plates}, got {np.ndim(values)}"
            )
        for plate, size, actual in zip(plates, shape, given, strict=True):
            if size is None and sizes.setdefault(plate, actual) != actual:
                raise ModelError(f"plate `{plate}` must have one size, got {sizes[plate]} and {actual}")
    return sizes


def potentials_of(graph: Unrolled, observed: Values, fields: Values | None, precisions: Values | None) -> Potentials:
    """Return the variables' own weights, with what the run adds to them.

    Raises:
        ModelError: unknown names, wrong shapes, values that a variable cannot take, or missing observations.
    """
    layout = graph.layout
    observed = values_of("observed", observed, missing=True)
    categories = [name for name, variable in layout.model.variables.items() if variable.states]
    fields, precisions = values_of("fields", fields, infinite=categories), values_of("precisions", precisions)
    value = np.full(graph.variables, np.nan)
    _fill(graph, value, _indicated(layout, observed, graph.copies), "observed", layout.components, lambda old, new: new)
    own, field, precision = graph.own, graph.field, graph.precision
    if fields:
        own, field = own._replace(field=own.field.copy()), field.copy()
    if precisions:
        own, precision = own._replace(precision=own.precision.copy()), precision.copy()
    for target in (field, own.field):
        _fill(graph, target, fields, "fields", layout.components, np.add)
    for target in (precision, own.precision):
        _fill(graph, target, precisions, "precisions", layout.matrices, np.add)
    if precisions:
        own.precision[~graph.real] = 0.0
    for name, variable in layout.model.variables.items():
        values = layout.components(name, value.reshape(graph.copies, -1))
        if variable.observed and np.isnan(values).any():
            raise ModelError(
                f"`observed` must give every value of `{name}`, got {'some' if name in observed else 'none'}"
            )
        if variable.is_spin and name in observed and not np.all(np.isnan(values) | (np.abs(values) == 1.0)):
            wrong = values[~(np.isnan(values) | (np.abs(values) == 1.0))][0]
            raise ModelError(f"`observed` values of the spins `{name}` must be 1, -1 or NaN (free), got {wrong:g}")
    allowed = np.isfinite(field) | (np.isneginf(field) & (graph.category_of >= 0))
    if not (allowed.all() and np.isfinite(precision).all()):
        raise ModelError(
            "`fields` and `precisions` must be finite with those of the variables added (-inf for states of categories "
            "only), got sums beyond float"
        )
    for vectors in graph.vectors:
        value[vectors[:, :, 1:]] = 0.0  # only the first column of a vector's places is free
    return Potentials(field, precision, value, own)


def _indicated(layout: Layout, observed: Values, copies: int) -> dict[str, Any]:
    """Return the observed values, those of categories as indicators of their states.

    Raises:
        ModelError: values that are no states.
    """
    given = dict(observed)
    for name, values in observed.items():
        states = layout.model.variables[name].states if name in layout.shapes else 0
        if not states:
            continue
        array = np.asarray(values, dtype=np.float64)
        wrong = ~(np.isnan(array) | ((array == np.floor(array)) & (array >= 0.0) & (array < states)))
        if wrong.any():
            raise ModelError(
                f"`observed` values of the categories `{name}` must be integers in 0..{states - 1} or NaN (free), "
                f"got {array[wrong].flat[0]:g}"
            )
        shape = layout.shapes[name]
        if array.shape not in ((), shape, (copies, *shape)):
            batch = f" or {(copies, *shape)}" if copies > 1 else ""
            raise ModelError(f"`observed` of `{name}` must be of shape {shape}{batch}, got {array.shape}")
        given[name] = indicators(array, states)
    return given


def _fill(graph: Unrolled, target: Array, given: Values, what: str, view: Any, update: Any) -> None:
    layout: Layout = graph.layout
    for name, values in given.items():
        if name not in layout.shapes:
            raise ModelError(f"`{what}` must name variables among {sorted(layout.shapes)}, got {name!r}")
        members = view(name, target.reshape(graph.copies, -1))
        shape, own = members.shape[1:], members.shape[1 + len(layout.shapes[name]) :]
        new = np.asarray(values, dtype=np.float64)
        if not new.ndim and len(own) == 2:
            new = new * np.eye(own[0])
        if new.shape not in ((), own, shape, members.shape):
            batch = f" or {members.shape}" if graph.copies > 1 else ""
            raise ModelError(f"`{what}` of `{name}` must be of shape {shape}{batch}, got {np.shape(values)}")
        with np.errstate(over="ignore"):
            members[...] = update(members, new)
