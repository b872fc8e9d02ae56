"""The GPU path: its own kernels and the sweeps on device arrays, on a processor that stands in for the device."""

import warnings
from dataclasses import replace
from pathlib import Path

import emulated_gpu
import numpy as np
import pytest
from emulated_gpu import EmulatedDevice
from formulas import FORMULAS, arguments
from sweep_problems import FLOAT32_SWEEP, problem

from deepnet import MessagePassingClassifier
from deepnet.app.cli import main
from deepnet.app.run import Run
from deepnet.bench import BenchError, contenders, gpu_limits
from deepnet.bench.case import Case
from deepnet.config import Config
from deepnet.kernels import gpu
from deepnet.kernels.devices import DeviceUnavailableError, _gpu_operations, operations_for
from deepnet.kernels.gpu import DeviceError, GpuOperations
from deepnet.kernels.gpu import source as gpu_source
from deepnet.kernels.gpu.operations import edge_parts
from deepnet.kernels.gpu.source import KERNELS, STRIP, TILE, module_source
from deepnet.outputs import OUTPUTS, numeric
from deepnet.sweep import train_batch
from deepnet.train import DivergenceError, Evaluation, Network, init, metrics, train_epoch
from factorgraph.channels import Argmax
from factorgraph.dense.numpy_operations import NumpyOperations
from factorgraph.dense.state import Message
from factorgraph.runtime.device_arrays import OPTIONS, _compiled, elementwise_source

#: Factors of products rounded to 2^-11, through two batches.
TF32_SWEEP = 5e-2


@pytest.fixture
def operations(monkeypatch):
    if emulated_gpu.COMPILER is None:
        pytest.skip("needs a C++ compiler to run the operations on the processor")
    monkeypatch.setattr("factorgraph.runtime.device_arrays._compiled", emulated_gpu.apply_compiled)
    return GpuOperations(EmulatedDevice())


def polarise(layers, factor):
    for layer in layers:
        layer.H *= factor
        mask = 1 if layer.plan.mask is None else layer.plan.mask
        layer.mean[...] = np.tanh(layer.H) * mask


def compare(operations, kind, closure, *, tau, polarised=1.0, widths=(25, 20, 18), tolerance=FLOAT32_SWEEP, **options):
    """Two batches on the device and on the processor; both layers' quantities, all of float32."""
    layers, batches, updates = problem(kind, closure, widths=widths, dtype=np.float32, **options)
    if polarised != 1.0:
        polarise(layers, polarised)
    ours = Network(Config(), layers, NumpyOperations()).on(operations, "cuda")
    for x, y in batches:
        train_batch(layers, x, y, updates, operations=NumpyOperations(), tau=tau)
        train_batch(ours.layers, operations.array(x), operations.array(y), updates, operations=operations, tau=tau)
    for layer, theirs in zip(ours.layers, layers, strict=True):
        for name in ("H", "mean", "variance", "omega", "V", "g", "gamma"):
            a, b = operations.host(getattr(layer, name)), getattr(theirs, name)
            assert a.dtype == np.float32
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max(), err_msg=name)
        assert np.abs(theirs.g).max() > 1e-3


@pytest.mark.parametrize("polarised", [1.0, 20.0])
@pytest.mark.parametrize("options", [{}, {"bias": True, "density": 0.5}, {"output": "argmax"}, {"bias": True}], ids=str)
@pytest.mark.parametrize("closure, tau", [("bp", 1), ("bp", 2), ("mf", 1), ("mf", 2), ("amp", 1), ("amp", 3)])
def test_sweeps_equal_the_plain_ones(operations, closure, tau, options, polarised):
    compare(operations, "binary-sign", closure, tau=tau, polarised=polarised, **options)


@pytest.mark.parametrize("tau", [1, 2])
@pytest.mark.parametrize("closure", ["bp", "amp", "mf"])
@pytest.mark.parametrize("kind", ["binary-relu", "continuous-sign", "continuous-relu", "mixed-sign"])
def test_other_units_and_weights_equal_the_plain_ones(operations, kind, closure, tau):
    compare(operations, kind, closure, tau=tau, widths=(12, 9, 7))


def trained(config, operations, x, y, epochs, classes):
    network = init(config, x.shape[1], classes)
    network = network.on(NumpyOperations(), "cpu") if operations is None else network.on(operations, "cuda")
    for _ in range(epochs):
        train_epoch(network, x, y)
    return network


def check_epochs(operations, closure, classes, **options):
    """Schedules that change every batch, a last batch of another size, biases, and steps that are only replayed."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 9)).astype(np.float32)
    y = rng.integers(0, 3, 50) if classes > 2 else rng.choice([-1.0, 1.0], 50)
    config = Config(
        hidden=(8, 7), closure=closure, batch_size=16, bias=True, beta="4:1:0.5", rho="0.9:1:0.5", **options
    )
    ours, plain = (trained(config, k, x, y, 3, classes) for k in (operations, None))
    assert ours.epoch == plain.epoch == 3
    for name, values in ours.arrays().items():
        theirs = plain.arrays()[name]
        np.testing.assert_allclose(values, theirs, rtol=0, atol=FLOAT32_SWEEP * np.abs(theirs).max(), err_msg=name)
    ours, plain = (metrics(network, Evaluation(x, y, x[:20], y[:20])) for network in (ours, plain))
    assert {name: pytest.approx(value, abs=1e-3) for name, value in plain.items()} == ours


@pytest.mark.parametrize("options", [{}, {"weights": "continuous", "activation": "relu"}], ids=str)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("closure", ["bp", "mf", "amp"])
def test_replayed_epochs_equal_plain_ones(operations, closure, classes, options):
    check_epochs(operations, closure, classes, **options)
    assert operations.device.captures == 2


def test_state_moves_between_devices(operations):
    network = init(Config(hidden=(5,), density=0.5, weights="continuous"), 4, 2)
    moved = network.on(operations, "cuda")
    back = init(Config(hidden=(5,), density=0.5, weights="continuous", eps_init=0.3), 4, 2).on(operations, "cuda")
    back.restore(moved.arrays(), 7)
    for name, values in back.arrays().items():
        np.testing.assert_array_equal(values, network.arrays()[name])
    assert back.epoch == 7


def test_divergence_is_found_after_the_epoch(operations):
    x, y = np.ones((8, 3), np.float32), np.ones(8)
    x[3, 1] = np.nan
    network = init(Config(hidden=(5,), batch_size=4), 3, 2).on(operations, "cuda")
    with pytest.raises(DivergenceError, match="layer W0"):
        train_epoch(network, x, y)


@pytest.mark.parametrize("outputs, inputs, samples", [(1, 1, 1), (10, 501, 128), (501, 784, 128), (4096, 4096, 1024)])
def test_parts_of_edges_keep_a_device_busy_in_little_memory(outputs, inputs, samples):
    groups, chunks = edge_parts(outputs, inputs, samples)
    tiles = -(-outputs // TILE)
    assert 1 <= groups <= tiles and 1 <= chunks <= samples
    assert groups * chunks * inputs >= min(60_000, tiles * samples * inputs)
    assert 4 * inputs * (groups * samples + chunks * outputs) < 1 << 30


def test_tiles_and_strips_are_those_of_the_operations():
    assert f"const Index STRIP = {STRIP};" in module_source()
    assert f"const Index TILE = {TILE};" in module_source()


def test_edges_in_many_groups_and_chunks(operations, monkeypatch):
    """However the edges are split, the sums are the same."""
    layers, ((x, y), _), updates = problem("binary-sign", "bpi", widths=(40, 30, 20), dtype=np.float32)
    train_batch(layers, x, y, updates, operations=NumpyOperations())
    ours = Network(Config(), layers, NumpyOperations()).on(operations, "cuda").layers[1]
    layer, message = layers[1], layers[2].to_inputs
    for name in ("omega", "V", "x_mean"):
        setattr(ours, name, operations.array(getattr(layer, name)))
    B = NumpyOperations().edge_messages(layer, message)
    for parts in ((1, 1), (3, 4), (2, 1), (1, 3)):
        monkeypatch.setattr("deepnet.kernels.gpu.operations.edge_parts", lambda *sizes, parts=parts: parts)
        theirs = operations.edge_messages(ours, replace(message, B=operations.array(message.B)))
        np.testing.assert_allclose(operations.host(theirs), B, rtol=0, atol=1e-5 * np.abs(B).max())
        H = layer.H_in
        np.testing.assert_allclose(operations.host(ours.H_in), H, rtol=0, atol=1e-5 * np.abs(H).max())
        assert np.abs(H).max() > 1e-3


def test_only_one_form_of_argmax(operations):
    with pytest.raises(ValueError, match="`form` of an argmax must be another one on a GPU, got 'single_jensen'"):
        operations.derivatives(
            Message(Argmax("single_jensen"), 1.0, y=operations.array(np.zeros(3, int))),
            *(operations.array(np.ones((2, 3), np.float32)) for _ in range(2)),
        )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("closure", ["bp", "mf"])
@pytest.mark.parametrize("output", [name for name in OUTPUTS if name not in ("sign", "argmax-single-jensen")])
def test_every_output_equals_the_plain_one(operations, output, closure, weighted):
    """The state after two epochs, the noise that is learnt included; weights and noise of labels on top."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 6)).astype(np.float32)
    counts, classes = output in numeric(), 3 if output.startswith(("argmax", "softmax")) else 2
    y = (
        rng.integers(0, 4, (40, 2))
        if counts
        else rng.integers(0, classes, 40)
        if classes == 3
        else 2 * (x[:, 0] > 0) - 1
    )
    weights = rng.uniform(0, 2, 40).astype(np.float32) if weighted else None
    options = {} if counts else {"label_noise": 0.1 * weighted}
    config = Config(hidden=(8,), output=output, closure=closure, batch_size=16, weights="continuous", activation="relu",
                    bias=True, dtype="float32", **options)  # fmt: skip
    states = []
    for device in (operations, None):
        network = init(config, 6, classes)
        network = network if device is None else network.on(device, "cuda")
        for _ in range(2):
            train_epoch(network, x, y, sample_weight=weights)
        states.append(network.arrays())
    for name, theirs in states[1].items():
        np.testing.assert_allclose(
            states[0][name], theirs, rtol=0, atol=FLOAT32_SWEEP * np.abs(theirs).max(), err_msg=name
        )
    assert ("W1.noise" in states[0]) == (output == "gaussian")


def test_products_of_every_layout(operations):
    """Both factors plain or transposed, single or stacked, alone or as parts of larger arrays."""
    rng = np.random.default_rng(0)
    product = operations.device.product
    for stack in ((), (3,)):
        a, b = (rng.standard_normal((*stack, *shape)).astype(np.float32) for shape in ((4, 5), (5, 6)))
        for transposed_a, transposed_b in ((0, 0), (0, 1), (1, 0), (1, 1)):
            x, y = (
                operations.array(np.ascontiguousarray(np.swapaxes(v, -1, -2))) if transposed else operations.array(v)
                for v, transposed in ((a, transposed_a), (b, transposed_b))
            )
            axes = (0, 2, 1) if stack else (1, 0)
            x, y = (v.transpose(axes) if t else v for v, t in ((x, transposed_a), (y, transposed_b)))
            out = operations.array(np.empty((*stack, 4, 6), np.float32))
            product(x, y, out)
            np.testing.assert_allclose(operations.host(out), a @ b, rtol=0, atol=1e-5)
    wide = operations.array(rng.standard_normal((4, 9)).astype(np.float32))
    part, out = wide[:, :5], operations.array(np.empty((4, 6), np.float32))
    right = operations.array(b[0])
    product(part, right, out)
    np.testing.assert_allclose(operations.host(out), operations.host(part) @ b[0], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="`out` must be the contiguous product"):
        product(right, part, out)
    with pytest.raises(ValueError, match="contiguous in rows or in columns"):
        product(wide[:, ::2], right, out)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_is_used(kernel):
    assert f"KERNEL {kernel}(" in module_source()
    assert any(f'"{kernel}"' in path.read_text() for path in Path(gpu.__file__).parent.glob("operations.py"))


def test_a_device_is_refused_at_the_door(monkeypatch, tmp_path, capsys):
    def nothing(self, *, tf32, number):
        raise DeviceError("no driver")

    monkeypatch.setattr("deepnet.kernels.gpu.CudaDevice.__init__", nothing)
    _gpu_operations.cache_clear()
    with pytest.raises(
        DeviceUnavailableError, match=r"`device` 'cuda' needs CuPy and a GPU: .*cavity\[gpu\].*no driver"
    ):
        operations_for("cuda", "float32")
    with pytest.raises(ValueError, match="`dtype` must be float32 on device 'cuda', got 'float64'"):
        operations_for("cuda", "float64")
    with pytest.raises(ValueError, match="`device` must be one of"):
        operations_for("tpu", "float32")
    out = tmp_path / "run"
    assert main(["train", "digits", "--device", "cuda", "--no-plot", "--out", str(out)]) == 1
    assert "`device` 'cuda' needs CuPy and a GPU" in capsys.readouterr().err
    with pytest.raises(BenchError, match="`device` 'cuda' needs CuPy and a GPU"):
        contenders.make("mf", Case((5, 4, 3), samples=9, device="cuda"))
    assert main(["train", "digits", "--device", "tpu", "--no-plot", "--out", str(out)]) == 2
    assert not out.exists()


def test_a_run_may_change_its_device(monkeypatch, operations, tmp_path, capsys):
    """Trained on the processor, resumed on the device, evaluated on the processor."""
    monkeypatch.setattr("deepnet.kernels.devices._gpu_operations", lambda device: operations)
    options = ["--hidden", "6", "--batch-size", "300", "--no-plot", "--out", str(tmp_path)]
    assert main(["train", "digits", "--epochs", "1", *options]) == 0
    assert main(["train", "digits", "--epochs", "3", "--resume", "--device", "cuda", *options]) == 0
    assert operations.device.captures >= 1
    assert Run.open(tmp_path).description.device == "cuda"
    assert main(["evaluate", str(tmp_path), "digits"]) == 0
    assert "epoch 3" in capsys.readouterr().out


def test_a_benchmark_on_the_device(monkeypatch, operations):
    """Epochs that are cut or whole, as on the processor; one copy of the data, one captured step for each size."""
    monkeypatch.setattr("deepnet.kernels.devices._gpu_operations", lambda device: operations)
    case = Case((9, 8, 3), batch_size=16, samples=50, device="cuda")
    ours, plain = (contenders.make("amp", each) for each in (case, replace(case, device="cpu")))
    for contender in (ours, plain):
        contender.build()
    before = operations.device.captures
    for contender in (ours, plain):
        for samples in (32, 50, 48, 50, 50):
            contender.train(samples)
    assert ours.epoch == plain.epoch == 5
    assert operations.device.captures == before + 2
    for name, values in ours._network.arrays().items():
        theirs = plain._network.arrays()[name]
        np.testing.assert_allclose(values, theirs, rtol=0, atol=FLOAT32_SWEEP * np.abs(theirs).max(), err_msg=name)
    assert ours.polarization() == pytest.approx(plain.polarization(), abs=FLOAT32_SWEEP)
    assert ours.device_memory() == 0 and plain.device_memory() is None
    monkeypatch.setattr(gpu_limits, "SIZE", 16)
    monkeypatch.setattr(gpu_limits, "_SIDE", 16)
    found = ours.limits()
    assert min(found.flops, found.bytes, found.evaluations) > 0


def test_estimator_trains_on_the_device_and_predicts_without(monkeypatch, operations):
    monkeypatch.setattr("deepnet.kernels.devices._gpu_operations", lambda device: operations)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 5))
    y = X[:, 0] > 0
    network = MessagePassingClassifier(hidden=(7,), epochs=4, device="cuda", random_state=0).fit(X, y)
    assert operations.device.captures >= 1
    assert network.network_.device == "cpu"
    again = MessagePassingClassifier(hidden=(7,), epochs=4, random_state=0).fit(X, y)
    np.testing.assert_allclose(network.predict_proba(X), again.predict_proba(X), rtol=0, atol=FLOAT32_SWEEP)
    network.partial_fit(X, y)
    assert network.n_iter_ == 5


# ---- with CuPy's compiler, and with a device -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compile_for():
    """CuPy's NVRTC, which needs no device; skips where either is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = pytest.importorskip("cupy_backends.cuda.libs.nvrtc", reason="needs CuPy")
        try:
            library.getVersion()
        except Exception as error:
            pytest.skip(f"needs NVRTC: {error}")

    def run(text, options, architecture):
        program = library.createProgram(text, "kernels.cu", (), ())
        try:
            library.compileProgram(program, (*options, f"-arch=compute_{architecture}"))
            return library.getPTX(program)
        except library.NVRTCError as error:
            raise AssertionError(library.getProgramLog(program)) from error
        finally:
            library.destroyProgram(program)

    return run


@pytest.mark.parametrize("architecture", ["75", "80", "90"])
def test_kernels_compile_for_gpus(compile_for, architecture):
    text = compile_for(module_source(), gpu_source.OPTIONS, architecture).decode()
    assert all(f".entry {kernel}(" in text for kernel in KERNELS)
    assert ".f64" not in text


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_compile_for_gpus(compile_for, name):
    function = FORMULAS[name]
    definitions, statement = elementwise_source(function._element, function._inputs, function.outputs)
    inputs = ", ".join(f"float a{i}" for i in range(function._inputs))
    outputs = ", ".join(f"double& o{j}" for j in range(function.outputs))
    compile_for(f"{definitions}\n__device__ void formula({inputs}, {outputs}) {{ {statement} }}", OPTIONS, "75")


@pytest.mark.parametrize("name", FORMULAS)
def test_cupy_takes_the_formulas(compile_for, name):
    """Types and names of the arguments, an array and numbers: it reads them before there is a device."""
    function = FORMULAS[name]
    types = ("float32", *["float64"] * (function._inputs - 1))
    kernel = _compiled(function._element, types, function.outputs, "float32")
    assert kernel.nin == function._inputs and kernel.nout == function.outputs
    given = (np.float32, *[None] * (function._inputs - 1))
    assert kernel._decide_params_type(given, ())[:2] == (types, ("float32",) * function.outputs)


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["cuda", "cuda-tf32"])
@pytest.mark.parametrize("kind", ["binary-sign", "continuous-relu"])
@pytest.mark.parametrize("closure", ["bp", "mf", "amp"])
@pytest.mark.parametrize("tau", [1, 2])
def test_sweeps_on_a_gpu_equal_the_plain_ones(device, kind, closure, tau):
    operations = operations_for(device, "float32")
    assert isinstance(operations, GpuOperations)
    with operations.running():
        compare(operations, kind, closure, tau=tau, tolerance=FLOAT32_SWEEP if device == "cuda" else TF32_SWEEP)


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{}, {"weights": "continuous", "activation": "relu"}], ids=str)
@pytest.mark.parametrize("closure", ["bp", "mf", "amp"])
def test_replayed_epochs_on_a_gpu_equal_plain_ones(closure, options):
    check_epochs(operations_for("cuda", "float32"), closure, 3, **options)


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_replayed_baseline_equals_the_eager_one(optimizer):
    torch = pytest.importorskip("torch")
    from deepnet.baselines.binarynet import BinaryNet, Trainer

    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(50, 9, generator=rng).cuda(), torch.randint(3, (50,), generator=rng).cuda()
    networks = [BinaryNet.of((9, 8, 3)).cuda() for _ in range(2)]
    for network, mode in zip(networks, ("graph", "eager"), strict=True):
        trainer = Trainer(network, optimizer=optimizer, mode=mode)
        for epoch in range(3):
            order = torch.randperm(50, generator=torch.Generator().manual_seed(epoch)).cuda()
            trainer.epoch(x, y, order, 16)
    for ours, theirs in zip(*(network.weights for network in networks), strict=True):
        np.testing.assert_allclose(ours.detach().cpu(), theirs.detach().cpu(), rtol=0, atol=1e-5)


@pytest.mark.gpu
def test_formulas_on_a_gpu_equal_the_bodies():
    import cupy  # pyright: ignore[reportMissingImports]

    for name, function in FORMULAS.items():
        args = arguments(function._element, function._inputs, np.random.default_rng(0))
        # The logistic's log Z is the logarithm of a sum: near 1, the sum's rounding is all that is left of it.
        smallest = 1e-15 if name == "logistic._evaluate" else 1e-290
        for our, their in zip(function(*map(cupy.asarray, args)), function(*args), strict=True):
            np.testing.assert_allclose(our.get(), their, rtol=1e-11, atol=smallest)
