"""Products by tiles and by the library against NumPy's in double precision."""

import numpy as np
import pytest

from deepnet.kernels.cpu import amx, products

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
]


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_equal_numpys(shape, threads, unit, monkeypatch):
    if unit and not amx.AVAILABLE:
        pytest.skip("this processor has no matrix unit")
    monkeypatch.setattr(amx, "AVAILABLE", unit)
    monkeypatch.setattr(products, "_SMALL", 0)
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
