"""Dense sweeps against the edge-by-edge reference, and fused kernels against plain ones."""

import tracemalloc
from unittest import mock

import edge_reference as ref
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from sweep_problems import FLOAT32_SWEEP, KINDS, problem

from deepnet.kernels import CpuOperations
from deepnet.kernels.cpu import amx
from deepnet.kernels.cpu import fused_loops as loops
from deepnet.kernels.cpu.tile import SAMPLES
from deepnet.sweep import Update, train_batch
from factorgraph.dense.closures import CLOSURES
from factorgraph.dense.numpy_operations import NumpyOperations

#: Sums of a few hundred float64 terms, fed back through up to five iterations.
FLOAT64_SWEEP = 1e-9

#: The same in float32 where variances are sums of some 60 terms that are rounded by up to 2^-8 of themselves.
UNIT_SWEEP = 1e-2

#: What is smaller in its natural units (√V g, V Γ, inputs and weights of size 1) is zero in float32, to some roundings.
SMALL = 1e-4

#: Variances of pre-activations that are made of more than the last digits of 1 - m², in narrow layers too.
CLEAR_VARIANCE = 1e-3

#: Fields are compared only where they are this large at least (root mean square): agreement on zeros proves nothing.
NOT_SMALL = 1e-3

MIXED = [*CLOSURES, ["mf", "bp", "amp"], ["bp", "amp", "mf"]]


def reference_of(layers, output, kind):
    """The same network and state for the reference."""
    plans = [layer.plan for layer in layers]
    network = ref.EdgeNetwork(
        widths=[plans[0].inputs - plans[0].bias, *(plan.outputs for plan in plans)],
        weights=["binary" if plan.spin_weights else "continuous" for plan in plans],
        closure=[plan.closure for plan in plans],
        activation=KINDS[kind]["activation"],
        output=output,
        scale=[plan.scale for plan in plans],
        bias=[plan.bias for plan in plans],
        mask=[plan.mask for plan in plans],
    )
    zeros = [np.zeros_like(layer.H) for layer in layers]
    state = [
        ref.LayerState(
            layer.H.copy(), zero if layer.G is None else layer.G.copy(), layer.mean.copy(), layer.variance.copy()
        )
        for layer, zero in zip(layers, zeros, strict=True)
    ]
    return network, state


def assert_close(ours, theirs, name, tolerance):
    scale = np.abs(theirs).max()
    assert name[0] != "H" or np.sqrt(np.mean(np.square(theirs))) > NOT_SMALL, f"{name} is too small to tell anything"
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale, err_msg=name)


def compare(kind, closure, tau, updates=None, assert_close=assert_close, **options):
    layers, batches, usual = problem(kind, closure, **options)
    updates = usual if updates is None else updates
    output = options.get("output", "sign")
    network, state = reference_of(layers, output, kind)
    parameters = {
        name: [getattr(update, attribute) for update in updates]
        for name, attribute in (("rho", "rho"), ("alpha", "damping"), ("beta", "beta"), ("r", "reinforcement"))
    }
    for number, (x, y) in enumerate(batches):
        train_batch(layers, x, y, updates, operations=NumpyOperations(), tau=tau)
        state, record = ref.train_batch(network, state, x, y, tau=tau, **parameters)
        for layer, theirs, messages in zip(layers, state, record, strict=True):
            edges = slice(None) if layer.plan.mask is None else layer.plan.mask
            where = f"{layer.plan.name}, batch {number}"
            assert_close(layer.H[edges], theirs.H[edges], f"H of {where}", FLOAT64_SWEEP)
            assert_close(layer.H_in[edges], messages.H_in[edges], f"H_in of {where}", FLOAT64_SWEEP)
            assert_close(layer.mean, theirs.m, f"m of {where}", FLOAT64_SWEEP)
            assert_close(layer.variance, theirs.sigma, f"sigma of {where}", FLOAT64_SWEEP)
            assert_close(layer.omega, messages.omega, f"omega of {where}", FLOAT64_SWEEP)
            assert_close(layer.V, messages.V, f"V of {where}", FLOAT64_SWEEP)
            assert_close(layer.g, messages.g, f"g of {where}", FLOAT64_SWEEP)
            assert_close(layer.gamma, messages.Gamma, f"Gamma of {where}", FLOAT64_SWEEP)
            if layer.to_inputs is not None:
                units = layer.plan.inputs - layer.plan.bias
                assert_close(layer.to_inputs.B, messages.B[:units], f"B of {where}", FLOAT64_SWEEP)
                if layer.to_inputs.A is not None:
                    usable = np.vectorize(ref.usable)(messages.A[:units])
                    assert_close(layer.to_inputs.A, usable, f"A of {where}", FLOAT64_SWEEP)
            if layer.G is not None:
                assert_close(layer.G[edges], theirs.G[edges], f"G of {where}", FLOAT64_SWEEP)


@pytest.mark.parametrize("tau", [1, 5])
@pytest.mark.parametrize("closure", MIXED, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_dense_sweep_equals_edge_by_edge(kind, closure, tau):
    compare(kind, closure, tau)


@pytest.mark.parametrize("tau", [1, 3])
@pytest.mark.parametrize("closure", ["bp", "amp", "mf"])
@pytest.mark.parametrize("kind", ["binary-sign", "continuous-relu"])
@pytest.mark.parametrize(
    "options", [{"bias": True}, {"density": 0.6}, {"bias": True, "density": 0.7, "output": "argmax"}]
)
def test_dense_sweep_equals_edge_by_edge_with_bias_mask_and_classes(kind, closure, tau, options):
    compare(kind, closure, tau, **options)


def assert_close_or_small(ours, theirs, name, tolerance):
    """Of drawn networks, whose fields may vanish; those of the fixed ones above do not."""
    scale = max(np.abs(theirs).max(initial=0.0), 1.0)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale, err_msg=name)


@settings(max_examples=100, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    closures=st.lists(st.sampled_from(list(CLOSURES)), min_size=3, max_size=3),
    tau=st.integers(1, 4),
    updates=st.lists(
        st.builds(
            Update,
            rho=st.floats(0.8, 1.0),
            damping=st.floats(0.0, 0.9),
            beta=st.floats(0.3, 2.0),
            reinforcement=st.sampled_from([0.0, 0.2]),
        ),
        min_size=3,
        max_size=3,
    ),
    widths=st.tuples(*[st.integers(1, 6)] * 3),
    samples=st.integers(1, 4),
    output=st.sampled_from(["sign", "argmax"]),
    bias=st.booleans(),
    density=st.sampled_from([1.0, 0.7]),
    seed=st.integers(0, 10**6),
)
def test_any_dense_sweep_equals_edge_by_edge(kind, closures, tau, updates, output, **options):
    if output == "argmax" and closures[-1] in ("bp", "bpi"):
        closures[-1] = "mf"
    layers, batches, _ = problem(kind, closures, output=output, **options)
    for x, y in batches:
        train_batch(layers, x, y, updates, operations=NumpyOperations(), tau=tau)
        # Units without inputs, and those whose variance polarised weights leave to rounding, have a floor in V, which
        # the reference has not.
        assume(all(layer.V.min() > CLEAR_VARIANCE for layer in layers))
    compare(kind, closures, tau, updates, assert_close_or_small, output=output, **options)


def largest_difference(closure_a, closure_b, tau, kind="binary-sign", **options):
    """Root mean square difference of H_in of the middle layer over its root mean square."""
    fields = []
    for closure in (closure_a, closure_b):
        layers, batches, _ = problem(kind, closure, **options)
        updates = [Update()] * 3
        train_batch(layers, *batches[0], updates, operations=NumpyOperations(), tau=tau)
        fields.append(layers[1].H_in)
    return np.sqrt(np.mean((fields[0] - fields[1]) ** 2) / np.mean(fields[1] ** 2))


@pytest.mark.parametrize("kind", KINDS)
def test_bp_is_bpi_at_the_first_iteration(kind):
    assert largest_difference("bp", "bpi", 1, kind) == 0
    assert largest_difference("bp", "bpi", 3, kind) > 1e-3


def test_amp_tends_to_bp_as_the_network_grows():
    """AMP drops terms of relative order (own term)² ~ 1/N in g and in the means: the difference falls like 1/N."""
    sizes = (16, 64, 256)
    distances = []
    for size in sizes:
        draws = [largest_difference("amp", "bp", 2, seed=s, widths=(size, size, size)) for s in range(3)]
        distances.append(float(np.mean(draws)))
    exponents = -np.diff(np.log(distances)) / np.log(4)
    assert distances[0] > 1e-4
    assert np.all(exponents > 0.7), (distances, exponents)


@given(
    closure=st.sampled_from(list(CLOSURES)),
    tau=st.sampled_from([1, 3]),
    polarised=st.sampled_from([1.0, 5.0, 20.0]),
    widths=st.tuples(*[st.integers(1, 70)] * 3),
    samples=st.integers(1, 70),
    options=st.sampled_from([{}, {"bias": True, "density": 0.5}, {"output": "argmax"}]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
@example("mf", 1, 1.0, (784, 101, 64), 128, {}, 0)
@example("amp", 1, 5.0, (70, 69, 68), 67, {}, 0)
@example("amp", 1, 5.0, (1100, 1090, 8), 20, {}, 0)  # more than one block of inputs, and of outputs,
@example("amp", 1, 5.0, (40, 80, 30), 300, {}, 0)  # and of samples
def test_fused_kernels_equal_plain_ones(closure, tau, polarised, widths, samples, options, seed):
    """More polarised, the variance of a narrow layer is made of the last bits of 1 - m²."""
    polarised = polarised if min(widths) >= 20 else min(polarised, 2.0)
    with mock.patch.object(amx, "AVAILABLE", False):
        compare_fused(closure, tau, {"widths": widths, "samples": samples, "seed": seed, **options}, polarised)


@pytest.mark.skipif(not amx.AVAILABLE, reason="this processor has no AMX")
@given(
    closure=st.sampled_from(["mf", "amp"]),
    tau=st.sampled_from([1, 3]),
    polarised=st.sampled_from([1.0, 2.0, 5.0]),
    widths=st.tuples(*[st.integers(60, 90)] * 3),
    samples=st.integers(60, 90),
    options=st.sampled_from([{}, {"output": "argmax"}]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=30, deadline=None)
@example("bp", 1, 5.0, (70, 69, 68), 67, {}, 0)
@example("mf", 1, 20.0, (784, 300, 100), 128, {}, 0)
@example("amp", 1, 20.0, (300, 200, 70), 128, {}, 0)
@example("amp", 1, 5.0, (1100, 1090, 70), 66, {}, 0)  # more than one block of inputs, and of outputs,
@example("amp", 1, 5.0, (70, 150, 66), 300, {}, 0)  # and of samples
def test_the_matrix_unit_equals_plain_operations(closure, tau, polarised, widths, samples, options, seed):
    """More polarised, reactions are differences of large terms, and narrow layers feel what rounding leaves of them."""
    options = {"widths": widths, "samples": samples, "seed": seed, **options}
    compare_fused(closure, tau, options, polarised, UNIT_SWEEP)


@pytest.mark.skipif(not amx.AVAILABLE, reason="this processor has no AMX")
def test_variances_by_the_matrix_unit():
    """Factors of bfloat16, each rounded by at most 2^-9 of itself."""
    rng = np.random.default_rng(0)
    m, x = (np.tanh(3 * rng.standard_normal(shape)).astype(np.float32) for shape in ((101, 70), (70, 97)))
    omega, V = np.empty((2, 101, 97), np.float32)
    loops.preactivations(m, x, x[:0], np.float32(0), omega, V, omega[:0], V[:0], True, 2)
    error = V / ((1 - m.astype(float) ** 2) @ np.square(x.astype(float))) - 1
    assert 1e-5 < np.abs(error).max() < 2.0**-8


@pytest.mark.parametrize("polarised", [1.0, 20.0])
@pytest.mark.parametrize("options", [{}, {"bias": True, "density": 0.5}, {"output": "argmax"}])
@pytest.mark.parametrize("tau", [1, 3])
@pytest.mark.parametrize("closure", CLOSURES)
def test_fused_kernels_equal_plain_ones_in_every_setting(closure, tau, options, polarised):
    compare_fused(closure, tau, options, polarised)


@pytest.mark.parametrize("closure", ["mf", "amp"])
def test_more_threads_than_outputs(closure, monkeypatch):
    monkeypatch.setattr("deepnet.kernels.cpu.products.threads_worth", lambda *_: 3)
    compare_fused(closure, 1, {}, 1.0)


@pytest.mark.parametrize("on_amx", [False, amx.AVAILABLE])
@pytest.mark.parametrize("kind", ["binary-sign", "continuous-relu"])
@pytest.mark.parametrize("closure", ["mf", "amp"])
def test_threads_that_share_samples(closure, kind, on_amx, monkeypatch):
    """Of which there are enough for each of two to have a block and a part of one."""
    monkeypatch.setattr("deepnet.kernels.cpu.products.threads_worth", lambda *_: 2)
    monkeypatch.setattr(amx, "AVAILABLE", on_amx)
    options = {"widths": (80, 70, 66), "samples": 2 * int(SAMPLES) + 77}
    compare_fused(closure, 1, options, 1.0, UNIT_SWEEP if on_amx else FLOAT32_SWEEP, kind)


@pytest.mark.parametrize("polarised", [1.0, 4.0])
@pytest.mark.parametrize("closure, tau", [("mf", 1), ("mf", 3), ("amp", 1), ("bp", 1), ("bpi", 2)])
def test_loops_over_few_edges_equal_plain_ones(closure, tau, polarised):
    """More polarised, the variance of a unit of three inputs is made of the last bits of 1 - m²."""
    compare_fused(closure, tau, {"bias": True, "density": 0.1}, polarised)


#: Kinds of networks that the loops of sign units and ±1 weights do not serve alone.
OTHER_KINDS = [kind for kind in KINDS if kind != "binary-sign"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"bias": True, "density": 0.5}, {"output": "argmax"}], ids=str)
@pytest.mark.parametrize("closure, tau", [(closure, tau) for closure in CLOSURES for tau in (1, 3)])
@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_compiled_loops_equal_plain_operations(kind, closure, tau, options, dtype):
    """Every activation, kind of weights, closure and floating type."""
    options = {"widths": (25, 20, 15), "dtype": np.dtype(dtype), **options}
    compare_fused(closure, tau, options, 1.0, FLOAT32_SWEEP if dtype == "float32" else 0.0, kind)


@given(
    kind=st.sampled_from(OTHER_KINDS),
    closure=st.sampled_from(["mf", "amp", "bpi"]),
    widths=st.tuples(*[st.integers(1, 90)] * 3),
    samples=st.integers(1, 90),
    options=st.sampled_from([{}, {"bias": True, "density": 0.5}, {"output": "argmax"}]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=30, deadline=None)
@example("continuous-relu", "mf", (300, 200, 70), 300, {}, 0)  # more than one block of samples,
@example("continuous-relu", "amp", (1100, 1090, 70), 66, {}, 0)  # of inputs, and of outputs
def test_compiled_loops_of_any_layers_equal_plain_operations(kind, closure, widths, samples, options, seed):
    """Also on the matrix unit, where the processor has one."""
    options = {"widths": widths, "samples": samples, "seed": seed, **options}
    compare_fused(closure, 1, options, 1.0, UNIT_SWEEP if amx.AVAILABLE else FLOAT32_SWEEP, kind)


def compare_fused(closure, tau, options, polarised, tolerance=FLOAT32_SWEEP, kind="binary-sign"):
    results = []
    for operations in (CpuOperations(), NumpyOperations()):
        options = {"widths": (40, 30, 20), "dtype": np.float32, **options}
        layers, batches, updates = problem(kind, closure, **options)
        for layer in layers if polarised != 1.0 else []:
            layer.H *= polarised
            layer.mean[...] = np.tanh(layer.H) if layer.plan.mask is None else np.tanh(layer.H) * layer.plan.mask
        for x, y in batches:
            train_batch(layers, x, y, updates, operations=operations, tau=tau)
        results.append(layers)
    for fused, plain in zip(*results, strict=True):
        assert fused.H.dtype == plain.H.dtype == options["dtype"]
        edges = ... if fused.plan.mask is None else fused.plan.mask
        for name in ("H", "G", "mean", "variance", "omega", "V", "g", "gamma"):
            ours, theirs = getattr(fused, name), getattr(plain, name)
            if ours is theirs is None:
                continue
            if name in ("H", "G", "mean", "variance"):
                ours, theirs = ours[edges], theirs[edges]
            natural = {"g": plain.V.min() ** -0.5, "gamma": 1.0 / plain.V.min()}.get(name, 1.0)
            scale = max(np.abs(theirs).max(initial=0.0), SMALL * natural)
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize("closure, tau", [("bpi", 1), ("bp", 2)])
def test_edges_are_streamed_over(closure, tau):
    """The largest layer has 2 million edges times samples: an array of them takes 15 MB, and a sweep needs a dozen."""
    layers, _, updates = problem("binary-sign", closure, widths=(300, 200, 4), dtype=np.float64)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((300, 32)), np.ones((2, 32))
    tracemalloc.start()
    train_batch(layers, x, y, updates, operations=NumpyOperations(), tau=tau)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30e6
