"""Models in files: arrays as they are, everything else as JSON beside them; nothing that is executed on reading.

A file is a zip archive as ``numpy.savez`` writes it: ``model.npy`` with the text and ``a0.npy``, ``a1.npy``, ... with
the arrays, none of them compressed, so that nothing in it can be larger than the file. What is read goes through the
constructors of the parts, as what a program gives does.
"""

import dataclasses
import io
import json
import math
import os
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from factorgraph import channels, factors, priors
from factorgraph.factors.base import Group
from factorgraph.interface.arguments import shown
from factorgraph.interface.errors import ModelError
from factorgraph.io.files import write_bytes_atomic
from factorgraph.io.paths import checked_path, checked_target, opened
from factorgraph.model.description import Model, Selection, Variable
from factorgraph.model.graph import Graph, model_of

_FORMAT = 1
_CLASSES = {
    name: getattr(module, name)
    for module in (channels, factors, priors)
    for name in module.__all__
    if dataclasses.is_dataclass(getattr(module, name))
}
#: Fields that files of earlier versions have not, and what they are then.
_LATER: dict[str, dict[str, Any]] = {"Argmax": {"noise": 0.0}, "Variable": {"states": 0}}
_KNOWN: dict[str, Any] = {"Variable": Variable, "Selection": Selection, **_CLASSES}


def save_model(model: Model | Graph, path: str | os.PathLike[str]) -> None:
    """Write a model to a file, replaced in one step.

    Args:
        model: without ``Function`` factors and numeric channels, which are code.
        path: of the file; ``.npz`` is not added.

    Raises:
        ModelError: a part that is code, or of a class that does not belong to the package; or no path.
        OSError: there is no such folder, or the disk refuses; an old file is untouched.
    """
    model, target = model_of(model), checked_target(path)
    arrays: dict[str, Any] = {}
    variables = [_encode(variable, arrays) for variable in model.variables.values()]
    described = [_encode(factor, arrays) for factor in model.factors]
    text = json.dumps({"format": _FORMAT, "plates": dict(model.plates), "variables": variables, "factors": described})
    stream = io.BytesIO()
    np.savez(stream, model=np.frombuffer(text.encode(), dtype=np.uint8), **arrays)
    write_bytes_atomic(target, stream.getbuffer())


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read a model that ``save_model`` wrote.

    Raises:
        ModelError: not such a file, of a newer format, or damaged: an array or another part that does not fit.
        OSError: the file cannot be opened.
    """
    source = checked_path(path)
    with opened(source) as stream:
        # Bytes that somebody changed raise whatever zipfile, NumPy and JSON meet in them, which none of them lists.
        try:
            arrays = _read_arrays(stream)
            content = json.loads(arrays.pop("model").tobytes())
        except Exception as error:
            cause = f"{type(error).__name__}: {shown(str(error))}"
            raise ModelError(f"`path` must be a model file, got {str(source)!r}: {cause}") from error
    try:
        return _model(content, arrays)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"`path` must be a whole model file, got {str(source)!r}: {error}") from error


# ---- writing ---------------------------------------------------------------------------------------------------------


def _encode(value: Any, arrays: dict[str, Any]) -> Any:
    """Return a JSON value for anything a model is made of; arrays go to ``arrays`` under new names."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return {"tuple": [_encode(item, arrays) for item in value]}
    if isinstance(value, (np.ndarray, np.generic)):
        arrays[f"a{len(arrays)}"] = np.asarray(value)
        return {"array": f"a{len(arrays) - 1}"}
    if type(value) in (Variable, Selection) or _CLASSES.get(type(value).__name__) is type(value):
        fields = {name: _encode(getattr(value, name), arrays) for name in _fields(type(value))}
        return {"class": type(value).__name__, "fields": fields}
    raise ModelError(f"a model in a file must be made of this package's own classes and numbers, got {shown(value)}")


def _fields(cls: Any) -> list[str]:
    """Return the attributes that say everything about an object."""
    return [field.name for field in dataclasses.fields(cls) if field.init or field.name == "arguments"]


# ---- reading ---------------------------------------------------------------------------------------------------------


def _read_arrays(stream: Any) -> dict[str, Any]:
    """Return the arrays of an archive by name; a claimed size is compared with what is there before it is allocated."""
    arrays: dict[str, Any] = {}
    size = os.fstat(stream.fileno()).st_size
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        if len({member.filename for member in members}) < len(members):
            raise ValueError("members must have different names")
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
                raise ValueError(f"{member.filename} must be stored without compression")
            size -= member.file_size
            if size < 0:
                raise ValueError(f"{member.filename} must be inside the file, got a size of {member.file_size}")
            name = member.filename.removesuffix(".npy")
            try:
                with archive.open(member) as file:
                    arrays[name] = _read_array(file, member.file_size)
            except Exception as error:
                raise ValueError(f"array {name}: {type(error).__name__}: {error}") from error
    return arrays


def _read_array(file: Any, size: int) -> np.ndarray[Any, Any]:
    """Return one array of numbers from its bytes, of which there are ``size``."""
    version = npy.read_magic(file)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"versions of array files must be among {list(readers)}, got {version}")
    shape, fortran, dtype = readers[version](file)
    if dtype.kind not in "biufc" or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"arrays must be of numbers, got {dtype} of shape {shape}")
    wanted, rest = math.prod(shape) * dtype.itemsize, size - file.tell()
    if wanted != rest:
        raise ValueError(f"an array of {dtype} of shape {shape} must have {wanted} bytes, got {rest}")
    data = file.read(wanted)
    if file.read(1):  # which also compares the checksum
        raise ValueError("an array must be as long as its header says, got more")
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran else "C").copy()


class _Reader(NamedTuple):
    """The arrays of a file, and the names of those that its text has used."""

    arrays: Mapping[str, Any]
    used: set[str]

    def decode(self, value: Any) -> Any:
        """Return what ``_encode`` made this from.

        Raises:
            ValueError: unknown classes, names or arrays, or what a constructor refuses.
        """
        if not isinstance(value, dict):
            if isinstance(value, list):
                raise ModelError(f"values in a model file must not be lists, got {shown(value)}")
            return value
        if set(value) == {"array"}:
            return self.array(value["array"])
        if set(value) == {"tuple"} and isinstance(value["tuple"], list):
            return tuple(self.decode(item) for item in value["tuple"])
        name = value.get("class")
        if not isinstance(name, str) or name not in _KNOWN:
            raise ModelError(f"classes in a model file must be among {sorted(_KNOWN)}, got {shown(name)}")
        cls, fields = _KNOWN[name], value.get("fields")
        fields = _LATER.get(name, {}) | fields if isinstance(fields, dict) else fields
        if set(value) != {"class", "fields"} or not isinstance(fields, dict) or set(fields) != set(_fields(cls)):
            raise ModelError(f"fields of {name} must be {_fields(cls)}, got {shown(fields)}")
        if issubclass(cls, Group):
            return self.group(cls, fields)
        return self.made(name, lambda: cls(**{field: self.decode(item) for field, item in fields.items()}), fields)

    def group(self, cls: type[Group], fields: Mapping[str, Any]) -> Group:
        """Return a group of factors, of arrays with a row for each."""
        values = {field: self.decode(item) for field, item in fields.items()}
        arguments = values.pop("arguments")
        if not isinstance(arguments, tuple) or not all(isinstance(a, Selection) for a in arguments) or not arguments:
            raise ModelError(f"`arguments` of {cls.__name__} must be selections, got {shown(fields['arguments'])}")
        shape = arguments[0].shape
        rows = {}
        for field in cls.parameter_names:
            value, count = values.pop(field), math.prod(shape)
            if not isinstance(value, np.ndarray) or not value.ndim or len(value) != count:
                got = f"shape {value.shape}" if isinstance(value, np.ndarray) else shown(value)
                raise ModelError(
                    f"`{field}` of {cls.__name__}{_origin(fields[field])} must have {count} rows, got {got}"
                )
            rows[field] = value.reshape((*shape, *value.shape[1:]))
        return self.made(cls.__name__, lambda: cls.from_rows(arguments, rows, values), fields)

    def made(self, name: str, make: Any, fields: Mapping[str, Any]) -> Any:
        """Return what ``make`` constructs, in whose errors the arrays of its fields are named."""
        try:
            return make()
        except (ValueError, TypeError) as error:
            places = ", ".join(f"`{field}`{_origin(item)}" for field, item in fields.items() if _origin(item))
            where = f" with {places}" if places else ""
            raise ModelError(f"{name}{where}: {error}") from error

    def array(self, name: Any) -> Any:
        """Return an array by its name in the file."""
        if not isinstance(name, str) or name not in self.arrays:
            raise ModelError(f"arrays must be among {sorted(self.arrays)}, got {shown(name)}")
        self.used.add(name)
        return self.arrays[name]


def _origin(item: Any) -> str:
    """Where a field's value is in the file, if it is an array."""
    return f" (array {item['array']})" if isinstance(item, dict) and isinstance(item.get("array"), str) else ""


def _model(content: Any, arrays: Mapping[str, Any]) -> Model:
    """Return the model that a text describes.

    Raises:
        ValueError: it does not describe one.
    """
    if not isinstance(content, dict) or "format" not in content:
        raise ModelError(f"the text must have a format, got {shown(content)}")
    if type(content["format"]) is not int or content["format"] != _FORMAT:
        raise ModelError(f"format must be {_FORMAT}, got {shown(content['format'])}")
    if set(content) != {"format", "plates", "variables", "factors"}:
        raise ModelError(f"entries must be format, plates, variables and factors, got {sorted(content)}")
    for what in ("variables", "factors"):
        if not isinstance(content[what], list):
            raise ModelError(f"`{what}` must be a list, got {shown(content[what])}")
    reader = _Reader(arrays, set())
    variables = [reader.decode(variable) for variable in content["variables"]]
    described = [reader.decode(factor) for factor in content["factors"]]
    if unused := sorted(set(arrays) - reader.used):
        raise ModelError(f"arrays must be those of the model, got others too: {shown(unused)}")
    return Model.of(content["plates"], variables, described)
