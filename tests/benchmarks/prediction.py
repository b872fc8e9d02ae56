"""Time of predictions by exported networks, beside ONNX Runtime and PyTorch on the same network in single precision.

``python tests/benchmarks/prediction.py`` prints, for one sample and for 10 000 pictures of 784 pixels, on one thread,
the time of each way to compute the labels of a network of ±1 weights, 784-501-501-10, and how many times longer it
takes than the C header; every way is timed in turn, several times, and the least time counts. All labels are compared
first.
"""

import argparse
import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import numpy as np
import onnx
import onnxruntime
import torch

from deepnet import Config
from deepnet.export.c_header import c_header
from deepnet.export.exported import Exported
from deepnet.export.onnx_graph import onnx_model
from deepnet.export.packing import pack
from deepnet.predict import predict_pointwise
from deepnet.train import init, train_epoch

SHIFT, DIVISOR = 33.0, 78.0

_GLUE = """
#include "network.h"
void predict(const int16_t *x, long samples, int64_t *labels)
{
  long n;
  for (n = 0; n < samples; n++) labels[n] = network_predict(x + n * 784);
}
"""

#: A way to predict: labels of pixels (samples, 784), integers.
Predict = Callable[[np.ndarray[Any, Any]], Any]


def exported(hidden: tuple[int, ...]) -> Exported:
    """A network after one epoch on pictures of noise, so that its weights are none of chance alone."""
    network, rng = init(Config(hidden=hidden, epochs=1), 784, 10), np.random.default_rng(0)
    train_epoch(network, rng.standard_normal((2000, 784)), rng.integers(0, 10, 2000))
    return Exported(network.layers, (SHIFT, DIVISOR))


def by_c(network: Exported, folder: Path) -> Predict:
    """The header, compiled for this processor."""
    (folder / "network.h").write_text(c_header(pack(network), "network"))
    (folder / "glue.c").write_text(_GLUE)
    compiler = shutil.which("gcc") or shutil.which("clang") or "cc"
    library = folder / "network.so"
    flags = ["-std=c99", "-O3", "-march=native", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, "-o", str(library), str(folder / "glue.c")], check=True)
    function = ctypes.CDLL(str(library)).predict

    def predict(x: np.ndarray[Any, Any]) -> Any:
        labels = np.empty(len(x), np.int64)
        function(ctypes.c_void_p(x.ctypes.data), ctypes.c_long(len(x)), ctypes.c_void_p(labels.ctypes.data))
        return labels

    return predict


def by_onnx(model: Any, kind: Any) -> Predict:
    """ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x.astype(kind)})[0]


def by_torch(network: Exported) -> tuple[Predict, Any]:
    """PyTorch in single precision, and the same as an ONNX model of single precision."""
    torch.set_num_threads(1)
    weights = [torch.tensor(layer.most_probable_weights().T.copy(), dtype=torch.float32) for layer in network.layers]

    def predict(x: np.ndarray[Any, Any]) -> Any:
        with torch.inference_mode():
            units = (torch.from_numpy(x).to(torch.float32) - SHIFT) / DIVISOR
            for W in weights[:-1]:
                units = torch.where(units @ W >= 0, 1.0, -1.0)
            return (units @ weights[-1]).argmax(dim=1).numpy()

    helper, made = onnx.helper, [onnx.numpy_helper.from_array(W.numpy(), f"W{i}") for i, W in enumerate(weights)]
    scalars = {"shift": SHIFT, "divisor": DIVISOR, "zero": 0.0, "one": 1.0, "minus": -1.0}
    made += [onnx.numpy_helper.from_array(np.float32(value), name) for name, value in scalars.items()]
    nodes = [helper.make_node("Sub", ["x", "shift"], ["s"]), helper.make_node("Div", ["s", "divisor"], ["u0"])]
    for i in range(len(weights) - 1):
        nodes += [
            helper.make_node("MatMul", [f"u{i}", f"W{i}"], [f"z{i}"]),
            helper.make_node("GreaterOrEqual", [f"z{i}", "zero"], [f"p{i}"]),
            helper.make_node("Where", [f"p{i}", "one", "minus"], [f"u{i + 1}"]),
        ]
    last = len(weights) - 1
    nodes.append(helper.make_node("MatMul", [f"u{last}", f"W{last}"], ["z"]))
    nodes.append(helper.make_node("ArgMax", ["z"], ["label"], axis=1, keepdims=0))
    types = onnx.TensorProto
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", types.FLOAT, ["n", 784])],
        [helper.make_tensor_value_info("label", types.INT64, ["n"])],
        made,
    )
    return predict, helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])


def timed(ways: dict[str, Predict], x: np.ndarray[Any, Any], seconds: float, rounds: int) -> dict[str, float]:
    """The least time of a call, each way in turn."""
    least = dict.fromkeys(ways, np.inf)
    for _ in range(rounds):
        for name, predict in ways.items():
            end = perf_counter() + seconds / rounds
            while True:
                start = perf_counter()
                predict(x)
                now = perf_counter()
                least[name] = min(least[name], now - start)
                if now > end:
                    break
    return least


def main() -> None:
    """Compare the labels, then the times."""
    parser = argparse.ArgumentParser(description="Time predictions of exported networks.")
    parser.add_argument("--hidden", type=int, nargs="*", default=[501, 501])
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each way and number of samples")
    arguments = parser.parse_args()
    network = exported(tuple(arguments.hidden))
    # Pixels as pictures have them: dark but for strokes.
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (arguments.samples, 784)) * (rng.random((arguments.samples, 784)) < 0.2)
    x = np.ascontiguousarray(x, np.int16)
    packed = pack(network)
    with tempfile.TemporaryDirectory() as folder:
        by_pytorch, single = by_torch(network)
        ways: dict[str, Predict] = {
            "C header": by_c(network, Path(folder)),
            "packed, NumPy": packed.predict,
            "ONNX Runtime, exported": by_onnx(onnx_model(network), np.float64),
            "ONNX Runtime, float32": by_onnx(single, np.float32),
            "PyTorch, float32": by_pytorch,
        }
        expected = predict_pointwise(network.layers, (x.astype(np.float64) - SHIFT) / DIVISOR)
        for name, predict in ways.items():
            print(f"{name:24} {np.mean(predict(x) != expected):8.2%} other labels than predict_pointwise")
        for part in (x[:1], x):
            found = timed(ways, part, arguments.seconds, 5)
            for name, value in found.items():
                print(f"{len(part):6} {name:24} {1e6 * value:12.1f} µs {value / found['C header']:8.2f}")


if __name__ == "__main__":
    main()
