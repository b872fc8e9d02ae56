"""Products by tiles, by the library and by a matrix unit, real or emulated, against NumPy's in double precision."""

import emulated_unit
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from deepnet.kernels.cpu import amx, products
from deepnet.kernels.cpu.tile import AS_IS, POSITIVES, SQUARES, TRANSPOSED, VALUES, VARIANCES

#: Sums of some thousand float32 products, relative to the largest.
ROUNDING = 2e-5

SHAPES = [
    (7, 5, 3),
    (1, 784, 128),
    (10, 501, 128),
    (3, 70, 65),
    (6, 64, 64),
    (13, 200, 96),
    (97, 200, 65),
    (5, 1, 1),
    (40, 2100, 30),  # more than one block, in each product
    (2100, 20, 70),
    (20, 30, 2100),
    (70, 2100, 64),
    (2100, 70, 64),
    (70, 80, 600),
    (70, 80, 800),  # samples for three threads
]


#: Rounding of two factors without a sign to 8 bits, relative to each sum; see ``amx``.
POSITIVE_ROUNDING = 2.0**-7


def assert_products(shape, threads):
    outputs, inputs, samples = shape
    rng = np.random.default_rng(0)
    W, x, g = (
        rng.standard_normal(size).astype(np.float32)
        for size in ((outputs, inputs), (inputs, samples), (outputs, samples))
    )
    filled = np.empty_like(W)
    products.outer(g, x, filled, threads)
    exact = (W.astype(float) @ x, W.T.astype(float) @ g, g.astype(float) @ x.T)
    ours = (products.times(W, x, threads), products.times_transposed(W, g, threads), filled)
    for result, expected in zip(ours, exact, strict=True):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(result, expected, rtol=0, atol=ROUNDING * np.abs(expected).max())


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", [(10, 501, 128), (70, 80, 800), (97, 200, 65)], ids=str)
def test_coarse_products(shape, threads, monkeypatch):
    """Every term is rounded by at most so much of itself, and not at all without a matrix unit."""
    monkeypatch.setattr(products, "_SMALL", 0)
    outputs, inputs, samples = shape
    rng = np.random.default_rng(0)
    sizes = (outputs, inputs), (inputs, samples), (outputs, samples)
    W, x, g = (rng.standard_normal(size).astype(np.float32) for size in sizes)
    filled = np.empty_like(W)
    products.outer(g, x, filled, threads, coarse=True)
    times, back = products.times(W, x, threads, coarse=True), products.times_transposed(W, g, threads, coarse=True)
    for result, left, right in ((times, W, x), (back, W.T, g), (filled, g, x.T)):
        rounding = POSITIVE_ROUNDING if products.uses_amx(*shape) else ROUNDING
        error = np.abs(result - left.astype(float) @ right)
        assert np.all(error <= rounding * (np.abs(left.astype(float)) @ np.abs(right)))
        assert (error.max() > 1e-4) == products.uses_amx(*shape)


@pytest.mark.parametrize("on_amx", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_equal_numpys(shape, threads, on_amx, monkeypatch):
    if on_amx and not amx.AVAILABLE:
        pytest.skip("this processor has no AMX")
    monkeypatch.setattr(amx, "AVAILABLE", on_amx)
    monkeypatch.setattr(products, "_SMALL", 0)
    assert_products(shape, threads)


@pytest.mark.parametrize(
    "shape", [(7, 5, 3), (1, 40, 33), (6, 64, 64), (97, 70, 65), (40, 150, 30), (150, 20, 70), (9, 8, 110)], ids=str
)
def test_products_of_an_emulated_unit_equal_numpys(shape, monkeypatch):
    """Packing, blocks and edges of the tiles, whatever the processor."""
    emulated_unit.install(monkeypatch)
    for name, size in (("_AMX_SIDE", 1), ("BLOCK", 64), ("SAMPLES", 32)):
        monkeypatch.setattr(products, name, size)
    assert products.uses_amx(*shape)
    assert_products(shape, 3)


@pytest.mark.parametrize(("left_kind", "right_kind"), [(VARIANCES, SQUARES), (POSITIVES, SQUARES)])
@pytest.mark.parametrize("transposed", [False, True])
def test_positive_products_of_an_emulated_unit(left_kind, right_kind, transposed, monkeypatch):
    """Sums of (1 - m²) x² and of numbers without a sign, from factors of either layout."""
    emulated_unit.install(monkeypatch)
    rng = np.random.default_rng(1)
    m, x = rng.uniform(0, 1, (21, 50)).astype(np.float32), rng.standard_normal((50, 37)).astype(np.float32)
    panels = amx.panels_of(x.T.copy() if transposed else x, TRANSPOSED if transposed else AS_IS, right_kind, 0,
                           50 if transposed else 37)  # fmt: skip
    left, row, step = (m.T.copy(), 1, 21) if transposed else (m, 50, 1)
    out = np.empty((21, 37), np.float32)
    amx.rows_of_product(left, left_kind, 0, 21, row, step, 0, panels, out, 0, 0)
    first = 1 - m.astype(float) ** 2 if left_kind == VARIANCES else m.astype(float)
    np.testing.assert_allclose(out, first @ x.astype(float) ** 2, rtol=POSITIVE_ROUNDING)


LAYOUT = st.tuples(st.integers(1, 20), st.integers(1, 40), st.sampled_from([VALUES, SQUARES, VARIANCES]))


@settings(max_examples=60)
@given(LAYOUT, st.booleans(), st.booleans(), st.integers(0, 5))
def test_packing(layout, neighbours, flipped, first):
    """Pair (r, p) of a block is at row r and column p of its tile, or the other way round, as h and l; zero beyond."""
    rows, depth, kind = layout
    used_rows, used_depth = min(rows, 16), min(depth, 32)
    row, step = (first + 45, 1) if neighbours else (1, first + 21)
    values = np.random.default_rng(rows).standard_normal(first + 60 * 60).astype(np.float32)
    expected = np.zeros((16, 32), np.float32)
    for r in range(used_rows):
        for p in range(used_depth):
            expected[r, p] = values[first + r * row + p * step]
    with pytest.MonkeyPatch.context() as patch:
        emulated_unit.install(patch)
        found = packed(amx._pack, values, first, row, step, rows, depth, kind, flipped)
        halves = [emulated_unit.number(np.stack([t & 0xFFFF, t >> 16], axis=2)) for t in found.reshape(2, 16, 16)]
    if flipped:
        halves = [half.swapaxes(0, 1) for half in halves]
    h, l = (half.reshape(16, 32) for half in halves)  # noqa: E741
    if kind == VALUES:
        np.testing.assert_allclose(h + l, expected, rtol=2.0**-16)
        np.testing.assert_allclose(h, expected, rtol=2.0**-8)
    else:
        assert np.isnan(l).all()
        expected = expected**2 if kind == SQUARES else (1 - expected) * (1 + expected)
        np.testing.assert_allclose(h, expected, rtol=2.0**-8)
    if amx.AVAILABLE:
        real = packed(compiled_pack, values, first, row, step, rows, depth, kind, flipped)
        np.testing.assert_array_equal(real[:256] if kind != VALUES else real, found[:256] if kind != VALUES else found)


@njit
def compiled_pack(values, first, row, step, rows, depth, kind, tiles, to, layout, block, scratch):
    amx._pack(values, first, row, step, rows, depth, kind, tiles, to, layout, block, scratch)


def packed(pack, values, first, row, step, rows, depth, kind, flipped):
    """A pair of tiles."""
    tiles, block, scratch = (np.full(512, emulated_unit.NAN_PAIR) for _ in range(3))
    layout = TRANSPOSED if flipped else AS_IS
    pack(values, first, row, step, rows, depth, kind, tiles, 0, layout, block.view(np.float32), scratch)
    return tiles
