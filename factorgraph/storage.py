"""Models in files: arrays as they are, everything else as JSON beside them; nothing that is executed on reading."""

import dataclasses
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from factorgraph import channels, factors, priors
from factorgraph.factors.base import Group
from factorgraph.files import write_bytes_atomic
from factorgraph.graph import Graph
from factorgraph.model import Model, ModelError, Selection, Variable

_FORMAT = 1
_CLASSES = {
    name: getattr(module, name)
    for module in (channels, factors, priors)
    for name in module.__all__
    if dataclasses.is_dataclass(getattr(module, name))
}


def save_model(model: Model | Graph, path: str | os.PathLike[str]) -> None:
    """Write a model to a file, replaced in one step.

    Args:
        model: without ``Function`` factors and numeric channels, which are code.
        path: of the file; ``.npz`` is not added.

    Raises:
        ModelError: a part that is code, or of a class that does not belong to the package.
        OSError: the disk refuses; an old file is untouched.
    """
    model = model.model if isinstance(model, Graph) else model
    arrays: dict[str, Any] = {}
    variables = [_encode(variable, arrays) for variable in model.variables.values()]
    described = [_encode(factor, arrays) for factor in model.factors]
    text = json.dumps({"format": _FORMAT, "plates": dict(model.plates), "variables": variables, "factors": described})
    stream = io.BytesIO()
    np.savez(stream, model=np.frombuffer(text.encode(), dtype=np.uint8), **arrays)
    write_bytes_atomic(Path(path), stream.getbuffer())


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read a model that ``save_model`` wrote.

    Raises:
        ModelError: not such a file, of a newer format, or damaged.
        OSError: the file cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        content = json.loads(arrays.pop("model").tobytes())
    except (ValueError, KeyError, EOFError) as error:
        raise ModelError(f"`path` must be a model file, got {os.fspath(path)!r}: {error}") from error
    if content.get("format") != _FORMAT:
        raise ModelError(f"format of {os.fspath(path)!r} must be {_FORMAT}, got {content.get('format')!r}")
    variables = [_decode(variable, arrays) for variable in content["variables"]]
    return Model.of(content["plates"], variables, [_decode(factor, arrays) for factor in content["factors"]])


def _encode(value: Any, arrays: dict[str, Any]) -> Any:
    """A JSON value for anything a model is made of; arrays go to ``arrays`` under new names."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return {"tuple": [_encode(item, arrays) for item in value]}
    if isinstance(value, (np.ndarray, np.generic)):
        arrays[f"a{len(arrays)}"] = np.asarray(value)
        return {"array": f"a{len(arrays) - 1}"}
    name = type(value).__name__
    if type(value) in (Variable, Selection) or _CLASSES.get(name) is type(value):
        fields = [field for field in dataclasses.fields(value) if field.init or field.name in ("arguments",)]
        return {"class": name, "fields": {field.name: _encode(getattr(value, field.name), arrays) for field in fields}}
    raise ModelError(f"a model in a file must be made of this package's own classes and numbers, got {value!r}")


def _decode(value: Any, arrays: dict[str, Any]) -> Any:
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "tuple" in value:
        return tuple(_decode(item, arrays) for item in value["tuple"])
    known = {"Variable": Variable, "Selection": Selection, **_CLASSES}
    if value.get("class") not in known:
        raise ModelError(f"classes in a model file must be among {sorted(known)}, got {value.get('class')!r}")
    cls = known[value["class"]]
    fields = {name: _decode(item, arrays) for name, item in value["fields"].items()}
    if not issubclass(cls, Group):
        return cls(**fields)
    group = object.__new__(cls)  # its constructor takes selections one by one; the model checks what is read
    for name, item in fields.items():
        object.__setattr__(group, name, item)
    return group
