"""Model descriptions, networks as models, and their lowering."""

import numpy as np
import pytest

from deepnet.lower import LoweringError, lower
from deepnet.network import perceptron
from factorgraph.channels import Argmax, ReLU, Sign
from factorgraph.factors import Bilinear
from factorgraph.interface.errors import ModelError
from factorgraph.model.description import Model, Variable
from factorgraph.priors import Binary, Gaussian

pytestmark = pytest.mark.quick

PLATES = {"in": 3, "out": 2, "n": None}
W = Variable("W", ("out", "in"), Binary())
X = Variable("x", ("in", "n"), observed=True)
Y = Variable("y", ("out", "n"), observed=True)


def test_a_network_prints_as_its_equations():
    text = str(perceptron([784, 501, 10], output="argmax", bias=True))
    assert "units0=784" in text and "samples=*" in text
    assert "W0[units1, units0] ~ Binary" in text
    assert "x1 ~ Sign()(W0 · x0 + b0)" in text
    assert "y[samples] observed" in text


def test_relu_units_are_scaled_and_sign_units_are_not():
    factors = perceptron([16, 9, 4, 1], activation=["relu", "sign"]).factors
    assert [factor.scale for factor in factors] == [0.25, 1.0, 1.0]
    assert [type(factor.channel) for factor in factors] == [ReLU, Sign, Sign]


def test_masks_are_random_fixed_and_as_dense_as_asked():
    masks = [perceptron([200, 100, 1], density=[0.3, 1.0], rng=5).factors[0].mask for _ in range(2)]
    assert np.array_equal(*masks) and abs(masks[0].mean() - 0.3) < 0.02
    assert perceptron([200, 100, 1], density=[0.3, 1.0], rng=5).factors[1].mask is None


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"widths": [5]}, "`widths` must be at least two integers >= 1"),
        ({"widths": [5, 0, 1]}, "`widths` must be at least two integers >= 1"),
        ({"widths": [5, 1], "output": "argmax"}, "`widths` must end with at least 2 outputs"),
        ({"widths": [5, 4, 1], "weights": "quaternary"}, "`weights` must be one of .*got 'quaternary'"),
        ({"widths": [5, 4, 1], "activation": "tanh"}, "`activation` must be one of"),
        ({"widths": [5, 4, 1], "output": "softplus"}, "`output` must be one of"),
        ({"widths": [5, 4, 1], "output": "softmax"}, "`widths` must end with at least 2 outputs"),
        ({"widths": [5, 4, 1], "density": 0.0}, r"`density` must be in \(0, 1\], got 0.0"),
        ({"widths": [5, 4, 1], "weights": ["binary"] * 3}, "`weights` must be one value or 2 values"),
    ],
)
def test_networks_that_are_none(arguments, message):
    with pytest.raises(ValueError, match=message):
        perceptron(**arguments)


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: Model.of({"in": 0}, [], []), "plate `in` must have a size >= 1"),
        (lambda: Model.of(PLATES, [W, W], []), "names of variables must differ"),
        (lambda: Model.of({"in": 3}, [W], []), "plates of `W` must be among"),
        (lambda: Model(PLATES, {"V": W}), "must be listed under its own name"),
        (lambda: Model.of(PLATES, [W, X], [Bilinear("y", "W", "x", Sign())]), "must be among .*got 'y'"),
        (lambda: Model.of(PLATES, [W, X, Y], [Bilinear("x", "W", "y", Sign())]), "plates of `y` must be"),
        (lambda: Model.of(PLATES, [W, X, Y], [Bilinear("y", "W", "x", Argmax())]), "plates of `y` must be"),
        (lambda: Model.of(PLATES, [W, X, Y], [Bilinear("y", "W", "x", Sign(), scale=0.0)]), "`scale` must be"),
        (
            lambda: Model.of(PLATES, [W, X, Y], [Bilinear("y", "W", "x", Sign(), mask=np.ones((3, 2), bool))]),
            r"`mask` must be a boolean array of shape \(2, 3\)",
        ),
    ],
)
def test_models_that_do_not_fit(build, message):
    with pytest.raises(ModelError, match=message):
        build()


def chain(*variables, channel=None, **options):
    return Model.of(PLATES, variables, [Bilinear("y", "W", "x", channel or Sign(), **options)])


@pytest.mark.parametrize(
    "model, reason",
    [
        (chain(Variable("W", ("out", "in"), observed=True), X, Y), "`W` must be free"),
        (chain(W, Variable("x", ("in", "n"), Gaussian()), Y), "`x` must be observed: a free input is inference"),
        (chain(W, X, Variable("y", ("out", "n"))), "`y` must be observed"),
        (
            chain(W, X, Y, Variable("b", ("out",), Gaussian()), bias="b"),
            "`b` must have the prior of `W`",
        ),
        (
            Model.of(
                PLATES,
                [W, X, Y, Variable("U", ("out", "in"), Binary()), Variable("v", ("out", "n"), observed=True)],
                [Bilinear("y", "W", "x", Sign()), Bilinear("v", "U", "x", Sign())],
            ),
            "not a chain",
        ),
    ],
)
def test_what_is_not_lowerable_is_refused_with_the_reason(model, reason):
    with pytest.raises(LoweringError, match=reason):
        lower(model, "mf")


def test_closures_fall_to_mean_field_below_an_argmax_or_are_refused():
    model = perceptron([5, 4, 3], output="argmax")
    assert [plan.closure for plan in lower(model, "bp")] == ["bp", "mf"]
    assert [plan.closure for plan in lower(model, ["bp", "amp"])] == ["bp", "amp"]
    with pytest.raises(LoweringError, match="`closure` of layer W1 must be 'mf' or 'amp', got 'bpi'"):
        lower(model, ["mf", "bpi"])
    with pytest.raises(ValueError, match="`closure` must be one of"):
        lower(model, "vamp")


def test_a_bias_is_one_more_column_and_never_masked():
    plans = lower(perceptron([5, 4, 1], bias=True, density=0.5, rng=0), "mf")
    assert [plan.inputs for plan in plans] == [6, 5]
    assert all(plan.mask is not None and plan.mask[:, -1].all() for plan in plans)
