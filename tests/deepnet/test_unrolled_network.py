"""A network is just a graph: the general engine, edge by edge, against the dense sweep of the same model."""

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepnet.lower import lower
from deepnet.network import ACTIVATIONS, perceptron
from deepnet.sweep import Update, initial_layers, train_batch
from factorgraph import ModelError, infer
from factorgraph.channels import Argmax, Numeric
from factorgraph.dense.numpy_operations import NumpyOperations
from factorgraph.model.description import Model
from factorgraph.priors import Binary

#: Sums of a few dozen float64 terms, fed back through up to four iterations; relative to the largest.
UNROLLED = 1e-12

KINDS = {
    "binary-sign": ({"weights": "binary", "activation": "sign"}, 1.0),
    "binary-relu": ({"weights": "binary", "activation": "relu"}, 0.6),
    "continuous-sign": ({"weights": "continuous", "activation": "sign"}, 1.0),
    "continuous-relu": ({"weights": "continuous", "activation": "relu"}, 0.5),
    "mixed": ({"weights": ["binary", "continuous", "binary"], "activation": ["sign", "relu"]}, 0.8),
}


@st.composite
def networks(draw, activations=("sign", "relu"), widths=6, depth=3, tau=4):
    """A network with ρ of each layer, its state, data and the number of iterations."""
    layers = draw(st.integers(1, depth))
    output = draw(st.sampled_from(["sign", "argmax"]))
    sizes = [draw(st.integers(1, widths)) for _ in range(layers)]
    sizes.append(draw(st.integers(2 if output == "argmax" else 1, 3)))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    model = perceptron(
        sizes,
        weights=[draw(st.sampled_from(["binary", "continuous"])) for _ in range(layers)],
        activation=[draw(st.sampled_from(activations)) for _ in range(layers - 1)],
        output=output,
        bias=draw(st.booleans()),
        density=draw(st.sampled_from([1.0, 0.7])),
        rng=rng,
    )
    eps = draw(st.floats(0.3, 1.0))
    layers = initial_layers(lower(model, "bp"), eps_init=eps, rng=rng, dtype=np.float64)
    samples = draw(st.integers(1, 4))
    y = rng.integers(0, sizes[-1], samples) if output == "argmax" else rng.choice([-1.0, 1.0], (sizes[-1], samples))
    rho = [draw(st.sampled_from([1.0, 0.9])) for _ in layers]
    return model, layers, rho, rng.standard_normal((sizes[0], samples)), y, draw(st.integers(1, tau))


def problem(kind, **options):
    rng = np.random.default_rng(3)
    keywords, eps = KINDS[kind]
    model = perceptron([6, 5, 4, 2], rng=rng, **keywords, **options)
    layers = initial_layers(lower(model, "bp"), eps_init=eps, rng=rng, dtype=np.float64)
    return model, layers, rng.standard_normal((6, 4)), rng.choice([-1.0, 1.0], (2, 4))


def own_weights(layers):
    """Fields and precisions of all weights and biases, by name."""
    fields, precisions = {}, {}
    for number, layer in enumerate(layers):
        inputs = layer.plan.inputs - layer.plan.bias
        for target, values in ((fields, layer.H), (precisions, layer.G)):
            if values is not None:
                target[f"W{number}"] = values[:, :inputs].copy()
                if layer.plan.bias:
                    target[f"b{number}"] = values[:, inputs].copy()
    return fields, precisions


def compare(ours, theirs, what):
    scale = np.abs(theirs).max()
    assert scale > 1e-4, f"{what} is too small to tell anything"
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=UNROLLED * scale, err_msg=what)


def compare_any(ours, theirs, what):
    """Drawn networks may have no edges, and messages that vanish; that fixed ones do not is tested below."""
    scale = max(np.abs(theirs).max(initial=0.0), 1.0)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=UNROLLED * scale, err_msg=what)


@pytest.mark.parametrize("tau", [1, 2, 4])
@pytest.mark.parametrize("options", [{}, {"bias": True, "density": 0.7}], ids=["full", "bias-mask"])
@pytest.mark.parametrize("kind", KINDS)
def test_messages_equal_those_of_the_dense_sweep(kind, options, tau):
    model, layers, x, y = problem(kind, **options)
    assert_unrolled_is_dense(model, layers, [1.0] * 3, x, y, tau, compare)


@settings(max_examples=200, deadline=None)
@given(networks())
def test_every_network_is_a_graph(network):
    assert_unrolled_is_dense(*network, compare_any)


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_every_network_of_any_units_is_a_graph(data):
    """Units whose averages are found by quadrature; one row in a table makes them units of a network."""
    with mock.patch.dict(ACTIVATIONS, {"tanh": Numeric(np.tanh)}):
        network = data.draw(networks(activations=["tanh"], widths=3, depth=2, tau=2))
        assert_unrolled_is_dense(*network, compare_any)


def discount(layers, rho):
    """Let means follow ρH, as a graph has them; in training ρ acts on the fields only, and the means stay tanh(H)."""
    for layer, r in zip(layers, rho, strict=True):
        mean, variance = layer.plan.prior.moments(H=r * layer.H, G=0.0 if layer.G is None else r * layer.G)
        mask = 1.0 if layer.plan.mask is None else layer.plan.mask
        layer.mean[...] = mean * mask
        if layer.sigma is not None:
            layer.sigma[...] = variance * mask


def assert_unrolled_is_dense(model, layers, rho, x, y, tau, compare):
    discount(layers, rho)
    fields, precisions = own_weights(layers)
    train_batch(layers, x, y, [Update(rho=r) for r in rho], operations=NumpyOperations(), tau=tau)
    for target in (fields, precisions):
        target.update({name: rho[int(name[1:])] * values for name, values in target.items()})
    result = infer(
        model,
        schedule="forward-backward",
        max_sweeps=tau,
        tolerance=0,
        observed={"x0": x, "y": y},
        fields=fields,
        precisions=precisions,
    )
    for number, layer in enumerate(layers):
        inputs, name = layer.plan.inputs - layer.plan.bias, f"W{number}"
        edges = np.ones(layer.H.shape, bool) if layer.plan.mask is None else layer.plan.mask
        kept, block = edges[:, :inputs], result.graph.layout.slice(name)
        compare(result.beliefs.H[block].reshape(kept.shape)[kept], layer.H[:, :inputs][kept], f"H of {name}")
        compare(result[name].mean[kept], layer.mean[:, :inputs][kept], f"m of {name}")
        compare(result[name].variance[kept], layer.variance[:, :inputs][kept], f"sigma of {name}")
        if layer.G is not None:
            compare(result.beliefs.G[block].reshape(kept.shape)[kept], layer.G[:, :inputs][kept], f"G of {name}")
        if layer.plan.bias:
            compare(result[f"b{number}"].mean, layer.mean[:, inputs], f"b{number}")
        if layer.to_inputs is not None:
            compare(result.beliefs.mean[result.graph.layout.slice(f"x{number}")], *_units(layer, number))


def _units(layer, number):
    """The inputs' means given the messages of the whole iteration, which the dense sweep would use next."""
    mean, _ = NumpyOperations().moments(layer.to_inputs, layer.below.omega, layer.below.V)
    return mean.ravel(), f"x{number}"


def test_known_weights_make_an_inference_problem_of_the_same_graph():
    """With W observed and x0 free the description is a generalized linear model; the engine runs it as it is."""
    rng = np.random.default_rng(0)
    model = perceptron([20, 60], output="sign")
    variables = dict(model.variables)
    variables["x0"] = replace(variables["x0"], prior=Binary(), observed=False)
    variables["W0"] = replace(variables["W0"], prior=None, observed=True)
    known = Model({**model.plates, "samples": 1}, variables, model.factors)
    W, x = rng.normal(size=(60, 20)), rng.choice([-1.0, 1.0], (20, 1))
    result = infer(known, observed={"W0": W, "y": np.sign(W @ x)}, damping=0.2)
    assert np.mean(np.sign(result["x0"].mean) == x) == 1


def test_what_cannot_be_unrolled_is_refused():
    model = perceptron([3, 2, 2], output="argmax")
    free = model.variables | {"y": replace(model.variables["y"], observed=False)}
    with pytest.raises(ModelError, match="labels `y` of an argmax must be observed"):
        Model(model.plates, free, model.factors)
    last = replace(model.factors[1], channel=Argmax("single_jensen"))
    sampled = Model(model.plates, model.variables, (model.factors[0], last))
    with pytest.raises(ModelError, match="must be one without random numbers, got 'single_jensen'"):
        infer(sampled, observed={"x0": np.zeros((3, 1)), "y": np.zeros(1)})
    with pytest.raises(ModelError, match="`observed` must contain values of a variable on plate 'samples'"):
        infer(perceptron([3, 1]))
    with pytest.raises(ModelError, match="`observed` must give every value of `y`"):
        infer(perceptron([3, 1]), observed={"x0": np.zeros((3, 2))})
    with pytest.raises(ModelError, match="plate `samples` must have one size, got 2 and 3"):
        infer(perceptron([3, 1]), observed={"x0": np.zeros((3, 2)), "y": np.ones((1, 3))})
