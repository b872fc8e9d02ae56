"""The preparation that suits a table, and the one that was kept as JSON."""

from collections.abc import Sequence
from typing import Any

from deepnet.data.columns import Categories, Columns, Numbers
from deepnet.data.files import DataError
from deepnet.data.preparation import Pixels, Preparation
from deepnet.data.table import Table
from factorgraph.interface.arguments import (
    check_fields,
    check_flag,
    check_instance,
    check_name,
    check_number,
    check_shape,
    shown,
)


def fit_preparation(table: Table, train: Any, categorical: Sequence[str]) -> Preparation:
    """Return what is learned from the columns of inputs of a table; arguments and errors as of ``Columns.fit``."""
    if not table.columns:
        raise DataError(f"{table.file} must have a column besides the target, got none")
    if not any(values.ndim > 1 for values in table.columns.values()):
        return Columns.fit(table, train, categorical)
    if len(table.columns) > 1:
        raise DataError(f"{table.file} must hold pictures, or columns, got {', '.join(table.columns)}")
    ((name, pixels),) = table.columns.items()
    return Pixels.fit(name, pixels, train)


def preparation_from_json(values: Any) -> Preparation:
    """Return the reverse of ``to_json``; raise ``ValueError`` that names the field for anything else."""
    where = "preparation"
    kind = check_instance(where, values, dict, "a JSON object").get("kind")
    if kind == "pixels":
        check_fields(where, values, ("kind", "name", "shape", "mean", "scale"))
        return Pixels(
            check_name(f"{where}.name", values["name"]),
            check_shape(f"{where}.shape", check_instance(f"{where}.shape", values["shape"], list, "a list")),
            check_number(f"{where}.mean", values["mean"]),
            check_number(f"{where}.scale", values["scale"], above=0),
        )
    if kind != "columns":
        raise ValueError(f"`{where}.kind` must be 'pixels' or 'columns', got {shown(kind)}")
    check_fields(where, values, ("kind", "numbers", "categories"))
    records = {
        name: check_instance(f"{where}.{name}", values[name], list, "a list") for name in ("numbers", "categories")
    }
    found = Columns(
        tuple(_numbers_from_json(f"{where}.numbers[{i}]", each) for i, each in enumerate(records["numbers"])),
        tuple(_categories_from_json(f"{where}.categories[{i}]", each) for i, each in enumerate(records["categories"])),
    )
    names = [each.name for each in (*found.numbers, *found.categories)]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"`{where}` must have at least one column, all of different names, got {shown(names)}")
    return found


def _numbers_from_json(where: str, record: Any) -> Numbers:
    check_fields(where, record, ("name", "mean", "scale", "missing"))
    return Numbers(
        check_name(f"{where}.name", record["name"]),
        check_number(f"{where}.mean", record["mean"]),
        check_number(f"{where}.scale", record["scale"], above=0),
        check_flag(f"{where}.missing", record["missing"]),
    )


def _categories_from_json(where: str, record: Any) -> Categories:
    check_fields(where, record, ("name", "values"))
    values = check_instance(f"{where}.values", record["values"], list, "a list")
    for value in values:
        check_name(f"{where}.values", value)
    if not values or values != sorted(set(values)):
        raise ValueError(f"`{where}.values` must be different texts, sorted, at least one, got {shown(values)}")
    return Categories(check_name(f"{where}.name", record["name"]), tuple(values))
