"""The most probable weights of a network as a graph of standard ONNX operators.

Inputs are numbers in double precision, and so is every sum of real numbers, as ``deepnet.predict.predict_pointwise``
has them. Sums of ±1 units with ±1 weights are integers, exact in single precision. What of another sum is no more than
rounding counts as zero, as in ``deepnet.sums``: labels then do not depend on the order of summation.
"""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepnet.export.exported import Exported
from deepnet.export.packed import file_path
from deepnet.layers import DenseLayer, Layer
from deepnet.outputs import output_of
from deepnet.outputs.argmax import ArgmaxOutput
from deepnet.outputs.binary import BinaryOutput
from deepnet.outputs.poisson import PoissonOutput
from factorgraph.channels import ReLU, Sign
from factorgraph.io.files import write_bytes_atomic

#: Version of the operators, which ONNX Runtime knows since 1.14, and of the format of the file.
_OPSET, _IR = 18, 8

_EPSILON = float(np.finfo(np.float64).eps)

#: Largest number of ±1 terms whose sum is exact in single precision.
_EXACT = 1 << 24


def write_onnx(network: Exported, path: str | os.PathLike[str]) -> None:
    """Write a model with the input "x", double (samples, features), and the output "label", or "mean" of numbers.

    Raises:
        ValueError: ``path`` is no name of a file, or a layer is not dense or of other units than signs and ReLU.
        ImportError: onnx is missing.
        OSError: the disk refuses.
    """
    path = file_path(path)
    write_bytes_atomic(path, onnx_model(network).SerializeToString())


def onnx_model(network: Exported) -> Any:
    """Return the same as an ``onnx.ModelProto``; errors as of ``write_onnx``."""
    graph = _Graph(_onnx())
    features = network.layers[0].plan.features
    value = graph.input("x", features)
    if network.standardization is not None:
        shift, divisor = (np.asarray(each, np.float64) for each in network.standardization)
        value = graph.node("Div", graph.node("Sub", value, shift), divisor)
    signs = False
    for layer in network.layers[:-1]:
        value, signs = _units(graph, layer, value, signs), isinstance(layer.plan.channel, Sign)
    last = network.layers[-1]
    z = _sums(graph, last, value, signs)
    return graph.model(*_result(graph, network, z))


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f"onnx is needed to write its files ({error}): pip install 'cavity[onnx]'") from error
    return onnx


def _units(graph: "_Graph", layer: Layer, value: str, signs: bool) -> str:
    """Return the units of a hidden layer: ±1 in single precision, or real numbers in double."""
    channel = layer.plan.channel
    if type(channel) is Sign:
        positive = graph.node("GreaterOrEqual", _sums(graph, layer, value, signs), np.float64(0.0))
        return graph.node("Where", positive, np.float32(1.0), np.float32(-1.0))
    if type(channel) is not ReLU:
        raise ValueError(f"`{layer.plan.name}` must have sign or ReLU units for ONNX, got {channel}")
    return graph.node("Relu", _sums(graph, layer, value, signs))


def _sums(graph: "_Graph", layer: Layer, value: str, signs: bool) -> str:
    """Return the scaled sums into a layer, in double precision."""
    if not isinstance(layer, DenseLayer):
        raise ValueError(f"`{layer.plan.name}` must be a dense layer for ONNX, got {layer.plan}")
    plan, W = layer.plan, layer.most_probable_weights().astype(np.float64)
    exact = plan.spin_weights and signs and plan.inputs < _EXACT
    weights, constant = W[:, : plan.features].T, W[:, plan.features :].sum(axis=1)
    if exact:
        z = graph.node("MatMul", value, graph.node("Cast", weights.astype(np.int8), to="FLOAT"))
        if plan.bias:
            z = graph.node("Add", z, constant.astype(np.float32))
        z = graph.node("Cast", z, to="DOUBLE")
    else:
        x = graph.node("Cast", value, to="DOUBLE") if signs else value
        small = graph.node("Cast", weights.astype(np.int8), to="DOUBLE") if plan.spin_weights else weights
        z = graph.node("MatMul", x, small)
        if plan.bias:
            z = graph.node("Add", z, constant)
        z = _without_rounding(graph, plan, W, x, z)
    return graph.node("Mul", z, np.float64(plan.scale))


def _without_rounding(graph: "_Graph", plan: Any, W: NDArray[np.float64], x: str, z: str) -> str:
    """Return sums, 0 where nothing but rounding is left of the terms: see ``deepnet.sums.sums``."""
    sizes = graph.node("ReduceSum", graph.node("Abs", x), np.array([1], np.int64), keepdims=1)
    if plan.bias:
        sizes = graph.node("Add", sizes, np.float64(1.0))
    bound = graph.node("Mul", sizes, np.float64(plan.inputs * _EPSILON * max(W.max(), -W.min())))
    return graph.node("Where", graph.node("Greater", graph.node("Abs", z), bound), z, np.float64(0.0))


def _result(graph: "_Graph", network: Exported, z: str) -> tuple[str, str, Any, list[Any]]:
    """Return what comes out: the name of the value, what it is called, its type and its shape."""
    output, labels = output_of(network.layers[-1]), network.labels()
    if output.numeric:
        mean = graph.node("Exp", z) if isinstance(output, PoissonOutput) else z
        if network.scale is not None:
            shift, factor = (np.asarray(each, np.float64) for each in network.scale)
            mean = graph.node("Add", graph.node("Mul", mean, factor), shift)
        return mean, "mean", np.float64, [None, output.units]
    if isinstance(output, ArgmaxOutput):
        numbers = graph.node("ArgMax", z, axis=1, keepdims=0)
    elif isinstance(output, BinaryOutput):
        positive = graph.node("GreaterOrEqual", z, np.float64(0.0))
        if labels is None:
            return graph.node("Where", positive, np.int64(1), np.int64(-1)), "label", np.int64, [None, output.units]
        numbers = graph.node("Squeeze", graph.node("Cast", positive, to="INT64"), np.array([1], np.int64))
    else:
        raise ValueError(f"`{network.layers[-1].plan.name}` must have labels or numbers for ONNX, got {output.channel}")
    if labels is None:
        return numbers, "label", np.int64, [None]
    names = np.array(labels) if all(not isinstance(label, str) for label in labels) else np.array([*map(str, labels)])
    return graph.node("Gather", names, numbers), "label", names.dtype.type, [None]


class _Graph:
    """A graph that grows node by node; constants are given as arrays."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []

    def input(self, name: str, features: int) -> str:
        """Add an input of real numbers (samples, features)."""
        helper, types = self._onnx.helper, self._onnx.TensorProto
        self._inputs.append(helper.make_tensor_value_info(name, types.DOUBLE, ["samples", features]))
        return name

    def node(self, operator: str, *inputs: Any, **attributes: Any) -> str:
        """Add a node with one output; return its name."""
        name = f"{operator.lower()}{len(self._nodes)}"
        if "to" in attributes:
            attributes["to"] = getattr(self._onnx.TensorProto, attributes["to"])
        names = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        self._nodes.append(self._onnx.helper.make_node(operator, names, [name], name=name, **attributes))
        return name

    def model(self, value: str, name: str, kind: Any, shape: list[Any]) -> Any:
        """Return the model, with one output."""
        helper = self._onnx.helper
        self._nodes.append(helper.make_node("Identity", [value], [name], name=name))
        types = self._onnx.TensorProto
        types = types.STRING if issubclass(kind, np.str_) else helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        result = helper.make_tensor_value_info(name, types, ["samples", *shape[1:]])
        graph = helper.make_graph(self._nodes, "network", self._inputs, [result], self._constants)
        model = helper.make_model(
            graph, producer_name="cavity", ir_version=_IR, opset_imports=[helper.make_opsetid("", _OPSET)]
        )
        self._onnx.checker.check_model(model, full_check=True)
        return model

    def _constant(self, values: Any) -> str:
        name = f"constant{len(self._constants)}"
        array = np.array(values, order="C")
        if array.dtype.kind == "U":
            array = array.astype(object)
        self._constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name
