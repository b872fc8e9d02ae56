"""The local entropy: against enumeration and the theory of large networks, its ends, and the command."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from deepnet import Config
from deepnet.app.cli import main
from deepnet.app.flatness import entropy_table
from deepnet.entropy import entropy, local_entropy, posterior_entropy
from deepnet.predict import predict_pointwise
from deepnet.state import Network, init
from factorgraph.channels import Sign
from factorgraph.iteration import Status
from factorgraph.priors import Binary
from models.asymptotics.ensembles import Ensemble
from models.asymptotics.free_entropy import fixed_point_free_entropy
from models.asymptotics.state_evolution import state_evolution

#: Of the entropy by messages to that of enumeration, and of finite networks to the theory.
NEAR, FINITE = 0.05, 0.06


def solved(
    seed: int, weights: int, samples: int, **settings: object
) -> tuple[Network, np.ndarray, np.ndarray, np.ndarray]:
    """Return a network without hidden layers, its weights, and data of which it has all labels right."""
    rng = np.random.default_rng(seed)
    network = init(Config(hidden=(), seed=seed, dtype="float64", **settings), weights, 2)  # pyright: ignore[reportArgumentType]
    w = network.layers[0].most_probable_weights()[0]  # pyright: ignore[reportAttributeAccessIssue]
    x = rng.standard_normal((samples, weights))
    return network, w, x, np.where(x @ w >= 0, 1, -1)


def enumerated(x: np.ndarray, y: np.ndarray, field: np.ndarray) -> float:
    """Return the entropy of the weights that have all labels right, in a field."""
    weights = np.array(list(itertools.product([-1.0, 1.0], repeat=len(field))))
    logs = np.where(((x @ weights.T) * y[:, None] > 0).all(axis=0), weights @ field, -np.inf)
    p = np.exp(logs - logs.max())
    p /= p.sum()
    return -float((p[p > 0] * np.log(p[p > 0])).sum())


@pytest.mark.parametrize("samples", [3, 5])
@pytest.mark.parametrize("coupling", [0.0, 0.1, 0.3])
def test_it_is_that_of_enumeration(samples: int, coupling: float) -> None:
    for seed in range(6):
        network, w, x, y = solved(seed, 16, samples)
        (found,) = local_entropy(network, x, y, [coupling], tolerance=1e-8)
        exact = enumerated(x, y, coupling * w) / 16
        assert found.status.converged and exact < 0.95 * np.log(2)
        assert found.entropy == pytest.approx(exact, rel=NEAR)
        assert found.entropy < found.independent


def test_fields_of_any_kind_and_the_posterior() -> None:
    network, _, x, y = solved(1, 16, 5)
    field = 0.3 * np.random.default_rng(0).standard_normal(16)
    assert 16 * entropy(network, x, y, [field[None]]).entropy == pytest.approx(enumerated(x, y, field), rel=NEAR)
    network.layers[0].restore({"H": field[None], "mean": np.tanh(field[None])})
    right = np.where(x @ np.sign(field) >= 0, 1, -1) == y  # the labels of the others do not count
    assert 0 < right.sum() < len(y)
    found = posterior_entropy(network, x, y)
    assert 16 * found.entropy == pytest.approx(enumerated(x[right], y[right], field), rel=NEAR)


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_large_networks_have_the_entropy_of_the_theory(load: float) -> None:
    """All solutions, γ = 0, of a perceptron whose labels one of them gives: state evolution knows their number."""
    ensemble = Ensemble(Binary(), [Sign()], [load])
    expected = fixed_point_free_entropy(ensemble, state_evolution(ensemble)) + np.log(2)
    network, _, x, y = solved(2, 601, int(load * 601))
    (found,) = local_entropy(network, x, y, [0.0])
    assert found.status.converged and found.entropy == pytest.approx(expected, rel=FINITE)
    assert found.independent > 1.1 * found.entropy


@pytest.mark.parametrize("settings", [{}, {"density": 0.8}, {"bias": True}, {"activation": "relu"}], ids=str)
def test_next_to_the_solution_there_is_nothing_else(settings: dict) -> None:
    """S falls to 0 with growing γ, and is never more than that of independent weights."""
    network = init(Config(hidden=(31,), **settings), 20, 3)
    x = np.random.default_rng(0).standard_normal((12, 20))
    y = predict_pointwise(network.layers, x)
    before = {name: values.copy() for name, values in network.arrays().items()}
    curve = local_entropy(network, x, y, [1.0, 2.0, 6.0])
    assert all(each.status.converged and each.entropy < each.independent + 1e-6 for each in curve)
    assert curve[0].entropy > curve[1].entropy > 0.03
    assert abs(curve[2].entropy) < 0.01  # sums of ±1 that are 0 count as right with probability 1/2
    assert curve[2].overlap == pytest.approx(np.tanh(6.0), abs=1e-4)
    assert all(np.array_equal(values, before[name]) for name, values in network.arrays().items())


@pytest.mark.parametrize("settings", [{"weights": "continuous"}, {"output": "probit"}], ids=str)
def test_what_has_no_such_entropy(settings: dict) -> None:
    network, _, x, y = solved(0, 5, 8) if "output" in settings else (None, None, np.ones((4, 5)), np.ones(4, int))
    network = init(Config(hidden=(), dtype="float64", **settings), 5, 2)
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}` must be"):
        local_entropy(network, x, y, [1.0])


@pytest.mark.parametrize("wrong", [-1.0, 1e13, 1e300])
def test_a_wrong_coupling(wrong: float) -> None:
    network, _, x, y = solved(0, 5, 8)
    with pytest.raises(ValueError, match=r"`couplings` must be a finite number >= 0 and <= 1e\+12, got"):
        local_entropy(network, x, y, [1.0, wrong])


def test_wrong_arguments_are_named() -> None:
    network, _, x, y = solved(0, 5, 8)
    shape = network.layers[0].mean.shape
    with pytest.raises(ValueError, match=r"`couplings` must be a sequence of numbers, got 0\.5"):
        local_entropy(network, x, y, 0.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"`x` must be finite numbers, got nan at \(0, 0\)"):
        local_entropy(network, np.full_like(x, np.nan), y, [1.0])
    for fields, message in (
        ([], "`fields` must be 1 arrays, one for each layer, got 0"),
        ([np.ones((2, 99))], r"`fields\[0\]` must be a number or of shape"),
        ([np.full(shape, np.nan)], r"`fields\[0\]` must be finite numbers"),
        ([np.full(shape, 1e300)], r"`fields\[0\]` must be at most 1e\+12 in size, got 1e\+300"),
    ):
        with pytest.raises(ValueError, match=message):
            entropy(network, x, y, fields)


@pytest.mark.parametrize("scale", [1e-9, 1e-5, 1e6])
def test_units_of_the_inputs_are_of_no_account(scale: float) -> None:
    network, _, x, y = solved(0, 16, 5)
    (found,), (scaled,) = (local_entropy(network, a * x, y, [0.3], tolerance=1e-8) for a in (1.0, scale))
    assert found.status.converged and scaled.status.converged
    assert scaled.entropy == pytest.approx(found.entropy, rel=1e-6)


def test_only_a_fixed_point_has_an_entropy() -> None:
    network, _, x, y = solved(0, 5, 8)
    (found,) = local_entropy(network, x, y, [2.0])
    assert found.status.converged and f"{found.entropy:.5f}" in entropy_table({"2": found})
    shown = entropy_table({"2": found._replace(status=Status.NOT_CONVERGED)}).splitlines()[1].split()
    assert shown[:3] == ["2", f"{found.overlap:.4f}", "-"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "run")
    assert main(["train", "digits", "--hidden", "15", "--epochs", "2", "--out", folder, "--no-plot"]) == 0
    capsys.readouterr()
    options = ["--points", "2", "--repeats", "2", "--samples", "60"]
    assert main(["flatness", folder, *options, "--entropy", "2", "4"]) == 0
    printed = capsys.readouterr().out.splitlines()
    content = json.loads((tmp_path / "run" / "flatness.json").read_text())
    assert list(content["entropy"]) == ["2", "4", "posterior"] and "γ" in printed[4] and len(printed) == 8
    assert content["entropy"]["4"]["overlap"] == pytest.approx(np.tanh(4), abs=2e-3)
    assert all((tmp_path / "run" / name).stat().st_size > 10_000 for name in ("flatness.png", "magnetizations.png"))
    for wrong in (["-1"], ["1e300"], ["1", "1"], ["0.12345678", "0.12345679"]):
        assert main(["flatness", folder, *options, "--entropy", *wrong]) == 2
        assert "`entropy` must be" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "flatness.json").read_text()) == content
