"""Tables in Parquet files, by PyArrow."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from deepnet.data.files import DataError
from deepnet.data.table import Column, Table, texts


def read_parquet(path: Path, size: int) -> Iterator[Table]:
    """Yield pieces of at most ``size`` rows."""
    try:
        import pyarrow.parquet as parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DataError(f"PyArrow is needed for {path} ({error}): pip install 'cavity[parquet]'") from error
    start = 0
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=size):
            columns, categorical = {}, set()
            for name, values in zip(batch.schema.names, batch.columns, strict=True):
                columns[name], is_category = _column(path, name, values)
                categorical |= {name} if is_category else set()
            yield Table(path, columns, np.arange(start, start + len(batch)), categorical=frozenset(categorical))
            start += len(batch)


def _column(path: Path, name: str, values: Any) -> tuple[Column, bool]:
    """Return a column, and whether it holds categories."""
    import pyarrow  # pyright: ignore[reportMissingImports]

    types = pyarrow.types
    if types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if types.is_string(values.type) or types.is_large_string(values.type):
        return texts(["" if value is None else value for value in values.to_pylist()]), True
    if types.is_boolean(values.type):
        values = values.cast("int8")
    if types.is_null(values.type):
        values = values.cast("float64")
    if types.is_integer(values.type) and not values.null_count:
        return values.to_numpy(zero_copy_only=False), False
    if types.is_integer(values.type) or types.is_floating(values.type) or types.is_decimal(values.type):
        found = values.cast("float64", safe=False).to_numpy(zero_copy_only=False)
        return np.array(found, dtype=np.float64), False
    raise DataError(f"{path}, column {name}: must hold numbers or texts, got {values.type}; leave it out by --ignore")
