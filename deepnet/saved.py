"""Trained models in files of their own, safe to share: numbers and JSON, and nothing that runs when it is read."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepnet.config import Config
from deepnet.ensemble import Ensemble, Trained, check_drawn, create, drawn_digests, one_network
from deepnet.estimator import MessagePassingClassifier, MessagePassingRegressor
from deepnet.estimator.base import Estimator
from deepnet.export.packed import file_path
from deepnet.export.posterior import pack_posterior, unpack_posterior
from deepnet.outputs import numeric, output_of
from deepnet.schedule import Schedule
from deepnet.sizes import LARGEST
from deepnet.state import Network, check_arrays
from factorgraph.interface.arguments import (
    check_choice,
    check_flag,
    check_instance,
    check_integer,
    check_number,
    shown,
)
from factorgraph.io.archive import pack_archive, unpack_archive
from factorgraph.io.files import parse_json, write_bytes_atomic

#: Version of the format that is written; those before it are read, too.
FORMAT = 2

#: Estimators that can be saved, by the name of their class.
ESTIMATORS: dict[str, type[MessagePassingClassifier] | type[MessagePassingRegressor]] = {
    "MessagePassingClassifier": MessagePassingClassifier,
    "MessagePassingRegressor": MessagePassingRegressor,
}

#: What can be saved without an estimator around it.
_TRAINED, _NAMES = (Network, Ensemble), ("Network", "Ensemble")

Model = Network | Ensemble | MessagePassingClassifier | MessagePassingRegressor


def save(model: Model, path: str | os.PathLike[str], *, packed: bool = False) -> None:
    """Write a network, an ensemble or a fitted estimator to a file, which ``load`` reads.

    Args:
        model: where it is; it is loaded into host memory.
        path: of the file, replaced in one step.
        packed: write means and variances of the weights in 8 bits each: see ``deepnet.export.posterior``. What is read
            then predicts nearly the same.

    Raises:
        ValueError: an argument is not as described, or the estimator is not fitted, or has labels that are neither
            texts nor numbers; or there is more than a posterior that is to be packed.
        OSError: the disk refuses.
    """
    path = file_path(path)
    check_flag("packed", packed)
    need = f"a Network, an Ensemble or one of {', '.join(ESTIMATORS)}"
    kind, network = type(check_instance("model", model, (*_TRAINED, *ESTIMATORS.values()), need)).__name__, model
    document: dict[str, Any] = {"format": FORMAT, "kind": kind}
    if not isinstance(network, _TRAINED):
        if not hasattr(model, "network_"):
            raise ValueError(f"`model` must be fitted before it is saved, got {shown(model)}")
        document["estimator"] = _estimator_to_json(network)
        network = network.network_
    document["network"] = {
        "config": network.config.to_json(),
        "features": network.members[0].layers[0].plan.features,
        "classes": _classes(network),
        "epoch": network.epoch,
        "drawn": drawn_digests(network),
        "packed": packed,
    }
    arrays = pack_posterior(one_network(network, "with packed").to("cpu").layers) if packed else network.arrays()
    write_bytes_atomic(path, pack_archive(json.dumps(document, allow_nan=False, default=_plain), arrays))


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
    kind = check_choice("kind", document.get("kind"), [*_NAMES, *ESTIMATORS])
    network = _network(check_instance("network", document.get("network"), dict, "a JSON object"), arrays)
    if kind in _NAMES:
        check_choice("kind", kind, [type(network).__name__])
        return network
    return _estimator(kind, check_instance("estimator", document.get("estimator"), dict, "a JSON object"), network)


def _network(values: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Trained:
    config = Config.from_json(check_instance("network.config", values.get("config"), dict, "a JSON object"))
    features = check_integer("network.features", values.get("features"), minimum=1, maximum=LARGEST)
    least = 1 if config.output in numeric() else 2
    classes = check_integer("network.classes", values.get("classes"), minimum=least, maximum=LARGEST)
    epoch = check_integer("network.epoch", values.get("epoch"), minimum=0, maximum=LARGEST)
    if check_flag("network.packed", values.get("packed", False)):  # not in format 1
        arrays = unpack_posterior(arrays, config.dtype)
    check_arrays(arrays, config, features, classes)  # before anything is made of this size
    network = create(config, features, classes)
    check_drawn(network, values.get("drawn"))
    network.restore(arrays, epoch)
    return network


def _classes(network: Trained) -> int:
    """Return how many there are; of numbers, how many each sample has."""
    output = output_of(network.members[0].layers[-1])
    return output.units if output.numeric else output.classes


# --- estimators -------------------------------------------------------------------------------------------------------


def _estimator_to_json(estimator: Estimator) -> dict[str, Any]:
    parameters = estimator.get_params(deep=False)
    if isinstance(parameters["random_state"], np.random.RandomState | np.random.Generator):
        parameters["random_state"] = estimator.network_.config.seed  # which fits the same network again
    names = getattr(estimator, "feature_names_in_", None)
    return {
        "parameters": parameters,
        "mean": estimator.mean_,
        "scale": estimator.scale_,
        "feature_names": None if names is None else list(names),
        **(_classifier_to_json if isinstance(estimator, MessagePassingClassifier) else _regressor_to_json)(estimator),
    }


def _classifier_to_json(estimator: Any) -> dict[str, Any]:
    return {"classes": _labels_to_json(estimator.classes_), "calibration": estimator.calibration_}


def _regressor_to_json(estimator: Any) -> dict[str, Any]:
    return {
        "target_mean": estimator.target_mean_,
        "target_scale": estimator.target_scale_,
        "single": estimator._single,
    }


def _estimator(
    kind: str, values: dict[str, Any], network: Trained
) -> MessagePassingClassifier | MessagePassingRegressor:
    parameters = check_instance("estimator.parameters", values.get("parameters"), dict, "a JSON object")
    if unknown := sorted(parameters.keys() - ESTIMATORS[kind]().get_params(deep=False).keys()):
        raise ValueError(f"`estimator.parameters` must be those of {kind}, got {shown(unknown)}")
    parameters = {name: tuple(value) if isinstance(value, list) else value for name, value in parameters.items()}
    estimator: Any = ESTIMATORS[kind]().set_params(**parameters)
    estimator.network_, estimator.n_iter_ = network, network.epoch
    estimator.n_features_in_ = network.members[0].layers[0].plan.features
    (_restore_classifier if kind == "MessagePassingClassifier" else _restore_regressor)(estimator, values, network)
    if (names := values.get("feature_names")) is not None:
        if not _texts(names) or len(names) != estimator.n_features_in_:
            need = f"null or {estimator.n_features_in_} texts"
            raise ValueError(f"`estimator.feature_names` must be {need}, got {shown(names)}")
        estimator.feature_names_in_ = np.array(names, dtype=object)
    return estimator


def _restore_classifier(estimator: Any, values: dict[str, Any], network: Trained) -> None:
    estimator.classes_ = _labels(values.get("classes"))
    if len(estimator.classes_) != _classes(network):
        raise ValueError(f"`estimator.classes` must be {_classes(network)} labels, got {len(estimator.classes_)}")
    estimator.mean_ = check_number("estimator.mean", values.get("mean"))
    estimator.scale_ = check_number("estimator.scale", values.get("scale"), above=0)
    estimator.calibration_ = check_number("estimator.calibration", values.get("calibration", 1.0), above=0)


def _restore_regressor(estimator: Any, values: dict[str, Any], network: Trained) -> None:
    features, targets = estimator.n_features_in_, network.members[0].layers[-1].plan.outputs
    if not output_of(network.members[0].layers[-1]).numeric:
        raise ValueError("`network` must have an output of numbers for a regressor")
    estimator.mean_ = _numbers("mean", values, features)
    estimator.scale_ = _numbers("scale", values, features, above=0)
    estimator.target_mean_ = _numbers("target_mean", values, targets)
    estimator.target_scale_ = _numbers("target_scale", values, targets, above=0)
    estimator._single = check_flag("estimator.single", values.get("single"))
    if estimator._single and targets > 1:
        raise ValueError(f"`estimator.single` must be false for {targets} targets, got true")


def _numbers(name: str, values: dict[str, Any], count: int, above: float = -np.inf) -> NDArray[np.float64]:
    """Return a list of so many numbers as an array."""
    listed = check_instance(f"estimator.{name}", values.get(name), list, "a list")
    if len(listed) != count:
        raise ValueError(f"`estimator.{name}` must be {count} numbers, got {len(listed)}")
    return np.array([check_number(f"estimator.{name}[{i}]", each, above=above) for i, each in enumerate(listed)])


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
