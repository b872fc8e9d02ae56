"""Predictions with the most probable weights where sums tie."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from deepnet.config import Config
from deepnet.predict import predict_bayes, predict_pointwise
from deepnet.train import init

_INPUTS, _SAMPLES = 64, 300


@pytest.mark.parametrize("shift", [-0.7071, 0.0])
@pytest.mark.parametrize("density", [0.1, 1.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ties_are_decided_by_the_rule_and_not_by_rounding(dtype, density, shift):
    """Many threads add up in another order than few, which another order of the inputs does too."""
    rng = np.random.default_rng(0)
    network = init(Config(hidden=(102,), density=density, dtype=dtype), _INPUTS, 2)
    first = network.layers[0]
    values = np.array([shift, 0.9271, 3.3333], dtype)  # a background, and two inks
    x = values[rng.choice(3, p=[0.7, 0.2, 0.1], size=(_SAMPLES, _INPUTS))]
    labels = predict_pointwise(network.layers, x)

    W = first.most_probable_weights()
    counts = W @ (x[..., None] == values).astype(float).transpose(2, 1, 0)  # of each value, signs included: integers
    assert (counts == 0).all(axis=0).sum() > 30  # ties, in fact
    units = np.where(np.einsum("vkn,v->kn", counts, values.astype(float)) >= 0, 1, -1)
    units[(counts == 0).all(axis=0)] = 1
    expected = np.where(network.layers[1].most_probable_weights() @ units >= 0, 1, -1)
    np.testing.assert_array_equal(labels, expected.T)

    for _ in range(5):
        order = rng.permutation(_INPUTS)
        mask = None if first.plan.mask is None else first.plan.mask[:, order]
        moved = replace(first, mean=first.mean[:, order], plan=replace(first.plan, mask=mask))
        network.layers[1].below = moved
        np.testing.assert_array_equal(predict_pointwise([moved, network.layers[1]], x[:, order]), labels)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_, np.float32])
def test_inputs_of_any_real_type(dtype):
    """Pixels are integers: they are predicted as the same numbers in floating point are."""
    network = init(Config(hidden=(9,)), 5, 3)
    x = np.random.default_rng(0).integers(0, 2 if dtype is np.bool_ else 7, (20, 5))
    for predict in (predict_pointwise, partial(predict_bayes, operations=network.operations)):
        found = predict(network.layers, x.astype(dtype))
        np.testing.assert_array_equal(found, predict(network.layers, x.astype(np.float64)))
        assert len(np.unique(found)) > 1
