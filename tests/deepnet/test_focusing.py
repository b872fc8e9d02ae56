"""Coupled replicas: their means against enumeration of the replicated law, and one replica as a plain network."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.special import log_ndtr

from deepnet.config import Config
from deepnet.kernels import CpuOperations
from deepnet.layers.focusing import FocusingLayer, FocusingPlan, attraction
from deepnet.state import init, plans
from deepnet.sweep import initial_layers, train_batch
from deepnet.train import train_epoch, updates

FIELDS = np.linspace(-4.0, 4.0, 9)


def replicated(log_law: np.ndarray, spins: np.ndarray, coupling: float, replicas: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of a replica and of the centre, (weights,) each, by enumeration.

    Args:
        log_law: of the states of one network, (states,).
        spins: the states, (states, weights).
        coupling: γ.
        replicas: y.
    """
    # Given the centre replicas are independent: Z(w*) = Σ_w P(w) e^{γ w*·w}, and the centre has the law Z(w*)^y.
    weights = np.exp(log_law[None] + coupling * spins @ spins.T)
    own = weights.sum(axis=1)
    centre = own**replicas / (own**replicas).sum()
    return (centre / own) @ weights @ spins, centre @ spins


@pytest.mark.parametrize("replicas", [1, 2, 3, 7])
@pytest.mark.parametrize("coupling", [0.0, 0.3, 1.0, 4.0])
def test_one_weight_is_exact(replicas: int, coupling: float) -> None:
    spins = np.array([[1.0], [-1.0]])
    for H in FIELDS:
        c = float(attraction(np.tanh(np.array([H])), coupling, replicas)[0])
        replica, centre = replicated(H * spins[:, 0], spins, coupling, replicas)
        assert np.tanh(H + np.arctanh(c)) == pytest.approx(replica[0], abs=1e-12)
        assert np.tanh(replicas * np.arctanh(np.tanh(coupling) * np.tanh(H))) == pytest.approx(centre[0], abs=1e-12)


#: Errors of the closures in units of what the replicas change: mean field leaves out what a weight itself has caused.
ERRORS = {"bp": 0.02, "amp": 0.02, "mf": 0.2}


@pytest.mark.parametrize("replicas", [2, 3])
@pytest.mark.parametrize("closure", ERRORS)
def test_a_small_network_is_near_enumeration(closure: str, replicas: int) -> None:
    """Five weights and eight noisy labels, whose messages are weak enough for their Gaussian form."""
    inputs, samples, coupling, temperature = 5, 8, 0.6, 8.0
    rng = np.random.default_rng(4)
    x = rng.standard_normal((samples, inputs))
    y = np.where(rng.random(samples) < 0.8, np.sign(x.sum(axis=1)), -1.0)
    config = Config(
        hidden=(), closure=closure, output="probit", temperature=temperature, dtype="float64", batch_size=samples,
        tau=30, rho=1, damping=0.5, beta=1, eps_init=0.2, replicas=replicas, coupling=coupling,
    )  # fmt: skip
    layer = (network := init(config, inputs, 2)).layers[0]
    spins = np.array(list(product([1.0, -1.0], repeat=inputs)))
    labels = log_ndtr(y * layer.plan.scale * (spins @ x.T) / temperature).sum(axis=1)
    log_law = labels + spins @ layer.state()["H"][0]
    train_epoch(network, x, y)
    replica, centre = replicated(log_law, spins, coupling, replicas)
    field = np.arctanh(np.tanh(coupling) * np.tanh(layer.state()["H"][0]))
    effect = np.abs(replicated(log_law, spins, coupling, 1)[0] - replica).max()
    assert effect > 0.05
    assert np.abs(layer.state()["mean"][0] - replica).max() < ERRORS[closure] * effect
    assert np.abs(np.tanh(replicas * field) - centre).max() < ERRORS[closure] * effect


#: Loops of the processor and formulas, in one iteration and in several, with what a layer may have.
PLAIN: list[dict[str, Any]] = [
    {"closure": "mf"},
    {"closure": "amp", "density": 0.6, "bias": True},
    {"closure": "bp", "tau": 3, "dtype": "float64", "reinforcement": 0.2, "rho": 0.9},
]


@pytest.mark.parametrize("settings", PLAIN)
def test_one_replica_is_a_plain_network(settings: dict[str, Any]) -> None:
    config = Config(**{"hidden": (9, 8), "damping": 0.5} | settings)
    plain = plans(config, 7, 3)
    kinds = plain, [FocusingPlan(**vars(plan), replicas=1) for plan in plain]
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((7, 20)).astype(config.dtype), rng.integers(0, 3, 20)
    states = []
    for kind in kinds:
        layers = initial_layers(kind, eps_init=1.0, rng=np.random.default_rng(0), dtype=np.dtype(config.dtype))
        for _ in range(2):
            now = [replace(update, coupling=0.7) for update in updates(config, 0.0)]
            train_batch(layers, x, y, now, operations=CpuOperations(), tau=config.tau)
        states.append([layer.state() for layer in layers])
    for one, other in zip(*states, strict=True):
        for name, values in one.items():
            np.testing.assert_array_equal(other[name], values, err_msg=name)
    assert isinstance(layers[0], FocusingLayer)


@pytest.mark.parametrize("settings", [{}, {"density": 0.5}])
def test_means_are_those_of_the_replicas(settings: dict[str, Any]) -> None:
    """With the loops of the processor, and with a coupling that grows."""
    config = Config(hidden=(9,), damping=0, replicas=4, coupling="0.2:1:0.5", **settings)
    network = init(config, 7, 3)
    rng = np.random.default_rng(1)
    train_epoch(network, rng.standard_normal((20, 7)).astype("float32"), rng.integers(0, 3, 20))
    for layer in network.layers:
        H, m = (layer.state()[name].astype(float) for name in ("H", "mean"))
        free = np.tanh(H)
        expected = np.tanh(H + np.arctanh(attraction(free, 0.2, 4)))
        mask = layer.drawn()
        np.testing.assert_allclose(m, expected if mask is None else expected * mask, atol=1e-6)
        assert np.abs(expected - free).max() > 0.01


def test_a_saturated_weight_stays_one() -> None:
    for coupling in (0.5, 20.0, 1e6):
        free = np.array([-1.0, 0.0, 1.0], np.float32)
        c = attraction(free, coupling, 1000)
        np.testing.assert_allclose(c, np.tanh(coupling) * free, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"replicas": 0}, "`replicas` must be an integer >= 1, got 0"),
        ({"replicas": 2, "coupling": -1}, r"`coupling` must be in \[0, inf\), got '-1'"),
        ({"coupling": 0.5}, "`coupling` must be left alone where no weights have several replicas, got '0.5'"),
        ({"replicas": 2, "weights": "continuous"}, "`weights` must be binary with several replicas, got 'continuous'"),
        ({"replicas": 2, "memory": "sites", "preset": "adf"}, "`memory` must be 'fields' with several replicas"),
        ({"replicas": 2, "algorithm": "ebp"}, "`replicas` must be left alone with algorithm 'ebp'"),
    ],
)
def test_what_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config(**settings)


def test_on_the_processor_only() -> None:
    with pytest.raises(ValueError, match="`device` must be 'cpu' with several replicas, got 'cuda'"):
        init(Config(replicas=2), 4, 3, "cuda")
