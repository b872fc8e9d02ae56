"""A network is just a graph: the general engine, edge by edge, against the dense sweep of the same model."""

import numpy as np
import pytest

from deepnet.lower import lower
from deepnet.network import perceptron
from deepnet.sweep import Update, initial_layers, train_batch
from factorgraph import ModelError, infer
from factorgraph.dense.numpy_operations import NumpyOperations

#: Sums of a few dozen float64 terms, fed back through up to four iterations; relative to the largest.
UNROLLED = 1e-12

KINDS = {
    "binary-sign": ({"weights": "binary", "activation": "sign"}, 1.0),
    "binary-relu": ({"weights": "binary", "activation": "relu"}, 0.6),
    "continuous-sign": ({"weights": "continuous", "activation": "sign"}, 1.0),
    "continuous-relu": ({"weights": "continuous", "activation": "relu"}, 0.5),
    "mixed": ({"weights": ["binary", "continuous", "binary"], "activation": ["sign", "relu"]}, 0.8),
}


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


@pytest.mark.parametrize("tau", [1, 2, 4])
@pytest.mark.parametrize("options", [{}, {"bias": True, "density": 0.7}], ids=["full", "bias-mask"])
@pytest.mark.parametrize("kind", KINDS)
def test_messages_equal_those_of_the_dense_sweep(kind, options, tau):
    model, layers, x, y = problem(kind, **options)
    fields, precisions = own_weights(layers)
    train_batch(layers, x, y, [Update()] * 3, operations=NumpyOperations(), tau=tau)
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
    from dataclasses import replace

    from factorgraph.model import Model
    from factorgraph.priors import Binary

    model = perceptron([20, 60], output="sign")
    variables = dict(model.variables)
    variables["x0"] = replace(variables["x0"], prior=Binary(), observed=False)
    variables["W0"] = replace(variables["W0"], prior=None, observed=True)
    known = Model({**model.plates, "samples": 1}, variables, model.factors)
    W, x = rng.normal(size=(60, 20)), rng.choice([-1.0, 1.0], (20, 1))
    result = infer(known, observed={"W0": W, "y": np.sign(W @ x)}, damping=0.2)
    assert np.mean(np.sign(result["x0"].mean) == x) == 1


def test_what_cannot_be_unrolled_is_refused():
    with pytest.raises(ModelError, match="must act on scalars for the general engine, got an Argmax"):
        infer(perceptron([3, 2, 2], output="argmax"), observed={"x0": np.zeros((3, 1)), "y": np.zeros(1)})
    with pytest.raises(ModelError, match="`observed` must contain values of a variable on plate 'samples'"):
        infer(perceptron([3, 1]))
    with pytest.raises(ModelError, match="`observed` must give every value of `y`"):
        infer(perceptron([3, 1]), observed={"x0": np.zeros((3, 2))})
    with pytest.raises(ModelError, match="plate `samples` must have one size, got 2 and 3"):
        infer(perceptron([3, 1]), observed={"x0": np.zeros((3, 2)), "y": np.ones((1, 3))})
