"""Trained models in files of their own, safe to share: numbers and JSON, and nothing that runs when it is read."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepnet.config import Config
from deepnet.estimator import MessagePassingClassifier
from deepnet.export.packed import file_path
from deepnet.schedule import Schedule
from deepnet.sizes import LARGEST
from deepnet.state import Network, check_arrays, check_drawn, drawn_digests, init
from factorgraph.interface.arguments import check_choice, check_instance, check_integer, check_number, shown
from factorgraph.io.archive import pack_archive, unpack_archive
from factorgraph.io.files import parse_json, write_bytes_atomic

#: Version of the format that is written; those before it are read, too.
FORMAT = 1

#: Estimators that can be saved, by the name of their class.
ESTIMATORS = {"MessagePassingClassifier": MessagePassingClassifier}

Model = Network | MessagePassingClassifier


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a network or a fitted estimator to a file, which ``load`` reads.

    Args:
        model: where it is; it is loaded into host memory.
        path: of the file, replaced in one step.

    Raises:
        ValueError: an argument is not as described, or the estimator is not fitted, or has labels that are neither
            texts nor numbers.
        OSError: the disk refuses.
    """
    path = file_path(path)
    need = f"a Network or one of {', '.join(ESTIMATORS)}"
    kind, network = type(check_instance("model", model, (Network, MessagePassingClassifier), need)).__name__, model
    document: dict[str, Any] = {"format": FORMAT, "kind": kind}
    if not isinstance(network, Network):
        if not hasattr(model, "network_"):
            raise ValueError(f"`model` must be fitted before it is saved, got {shown(model)}")
        document["estimator"] = _estimator_to_json(network)
        network = network.network_
    document["network"] = {
        "config": network.config.to_json(),
        "features": network.layers[0].plan.features,
        "classes": _classes(network),
        "epoch": network.epoch,
        "drawn": drawn_digests(network),
    }
    write_bytes_atomic(path, pack_archive(json.dumps(document, allow_nan=False, default=_plain), network.arrays()))


def load(path: str | os.PathLike[str]) -> Model:
    """Read a file that ``save`` has written, in this version or an earlier one.

    Raises:
        ValueError: ``path`` is no name of a file, or the file is damaged or holds no model; names the field.
        OSError: it cannot be read.
    """
    path = file_path(path)
    with open(path, "rb") as file:
        try:
            return _loaded(*unpack_archive(file))
        except Exception as error:  # damaged bytes make the zip and NumPy readers raise nearly anything
            reason = str(error) or type(error).__name__
            raise ValueError(f"`path` must be a saved model, got {shown(str(path))}: {reason}") from error


def _loaded(text: str, arrays: dict[str, NDArray[Any]]) -> Model:
    document = check_instance("document", parse_json(text), dict, "a JSON object")
    check_integer("format", document.get("format"), minimum=1, maximum=FORMAT)
    kind = check_choice("kind", document.get("kind"), ["Network", *ESTIMATORS])
    network = _network(check_instance("network", document.get("network"), dict, "a JSON object"), arrays)
    if kind == "Network":
        return network
    return _estimator(kind, check_instance("estimator", document.get("estimator"), dict, "a JSON object"), network)


def _network(values: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Network:
    config = Config.from_json(check_instance("network.config", values.get("config"), dict, "a JSON object"))
    features = check_integer("network.features", values.get("features"), minimum=1, maximum=LARGEST)
    classes = check_integer("network.classes", values.get("classes"), minimum=2, maximum=LARGEST)
    epoch = check_integer("network.epoch", values.get("epoch"), minimum=0, maximum=LARGEST)
    check_arrays(arrays, config, features, classes)  # before anything is made of this size
    network = init(config, features, classes)
    check_drawn(network, values.get("drawn"))
    network.restore(arrays, epoch)
    return network


def _classes(network: Network) -> int:
    return max(2, network.layers[-1].plan.outputs)


# --- estimators -------------------------------------------------------------------------------------------------------


def _estimator_to_json(estimator: MessagePassingClassifier) -> dict[str, Any]:
    parameters = estimator.get_params(deep=False)
    if isinstance(parameters["random_state"], np.random.RandomState | np.random.Generator):
        parameters["random_state"] = estimator.network_.config.seed  # which fits the same network again
    names = getattr(estimator, "feature_names_in_", None)
    return {
        "parameters": parameters,
        "classes": _labels_to_json(estimator.classes_),
        "mean": estimator.mean_,
        "scale": estimator.scale_,
        "calibration": estimator.calibration_,
        "feature_names": None if names is None else list(names),
    }


def _estimator(kind: str, values: dict[str, Any], network: Network) -> MessagePassingClassifier:
    parameters = check_instance("estimator.parameters", values.get("parameters"), dict, "a JSON object")
    if unknown := sorted(parameters.keys() - ESTIMATORS[kind]().get_params(deep=False).keys()):
        raise ValueError(f"`estimator.parameters` must be those of {kind}, got {shown(unknown)}")
    parameters = {name: tuple(value) if isinstance(value, list) else value for name, value in parameters.items()}
    estimator = ESTIMATORS[kind]().set_params(**parameters)
    fitted: Any = estimator
    fitted.classes_ = _labels(values.get("classes"))
    if len(fitted.classes_) != _classes(network):
        raise ValueError(f"`estimator.classes` must be {_classes(network)} labels, got {len(fitted.classes_)}")
    fitted.mean_ = check_number("estimator.mean", values.get("mean"))
    fitted.scale_ = check_number("estimator.scale", values.get("scale"), above=0)
    fitted.calibration_ = check_number("estimator.calibration", values.get("calibration", 1.0), above=0)
    fitted.network_, fitted.n_iter_ = network, network.epoch
    fitted.n_features_in_ = network.layers[0].plan.features
    if (names := values.get("feature_names")) is not None:
        if not _texts(names) or len(names) != fitted.n_features_in_:
            need = f"null or {fitted.n_features_in_} texts"
            raise ValueError(f"`estimator.feature_names` must be {need}, got {shown(names)}")
        fitted.feature_names_in_ = np.array(names, dtype=object)
    return estimator


def _labels_to_json(labels: NDArray[Any]) -> dict[str, Any]:
    values = labels.tolist()
    if labels.dtype.kind not in "biufUO" or not all(isinstance(each, str | int | float) for each in values):
        raise ValueError(f"`model` must have texts or numbers as labels to be saved, got {shown(labels)}")
    return {"dtype": labels.dtype.str, "values": values}


def _labels(values: Any) -> NDArray[Any]:
    record = check_instance("estimator.classes", values, dict, "a JSON object")
    listed = check_instance("estimator.classes.values", record.get("values"), list, "a list")
    dtype = np.dtype(check_instance("estimator.classes.dtype", record.get("dtype"), str, "the name of a type"))
    if dtype.kind not in "biufUO" or not all(isinstance(each, str | int | float) for each in listed):
        raise ValueError(f"`estimator.classes` must be texts or numbers, got {shown(values)}")
    labels = np.array(listed, dtype=dtype)
    if labels.ndim != 1 or len(np.unique(labels)) != len(labels) or (np.sort(labels) != labels).any():
        raise ValueError(f"`estimator.classes` must be different labels, sorted, got {shown(listed)}")
    return labels


def _texts(values: Any) -> bool:
    return isinstance(values, Sequence) and not isinstance(values, str) and all(isinstance(v, str) for v in values)


def _plain(value: Any) -> Any:
    """Return a setting as JSON can hold it."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Schedule | Path):
        return str(value)
    raise TypeError(f"cannot be stored: {shown(value)}")
