"""Settings, schedules, training, predictions and what is watched meanwhile."""

import numpy as np
import pytest
from scipy.special import ndtr
from tolerances import ERRORS, FLOAT32

from deepnet import state
from deepnet.config import Config
from deepnet.data import load_dataset
from deepnet.observables import overlap_per_unit
from deepnet.predict import error_percent, predict_bayes, predict_pointwise, predict_proba
from deepnet.schedule import Schedule
from deepnet.scores import OF_CLASSES
from deepnet.train import DivergenceError, Evaluation, init, metrics, status, train, train_epoch
from factorgraph.dense.closures import CLOSURES
from factorgraph.dense.numpy_operations import NumpyOperations

SMALL = {"hidden": (31,), "epochs": 2, "batch_size": 32}


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def parity():
    return load_dataset("digits", task="parity")


def trained(dataset, classes=10, **settings):
    network = init(Config(**(SMALL | settings)), dataset.x_train.shape[1], classes)
    history = list(train(network, dataset.x_train, dataset.y_train))
    assert len(history) == network.epoch == network.config.epochs
    return network


# ---- settings --------------------------------------------------------------------------------------------------------


def test_schedule():
    schedule = Schedule.of("beta", "8:1:0.5")
    assert [schedule(epoch, 9) for epoch in (0, 1, 2)] == [8, 4.5, 2.75]
    assert schedule(100, 9) == pytest.approx(1) and schedule(0.5, 9) == pytest.approx(1 + 7 * 0.5**0.5)
    assert Schedule.of("beta", str(schedule)) == schedule and Schedule.of("beta", 0.8)(7, 9) == 0.8
    for wrong in ("a", "1:2", "1:2:3", None, "1/run", "1:2:3/run", "1:2:.5/epoch"):
        with pytest.raises(ValueError, match="`beta` must be a number, 'start:end:rate' or"):
            Schedule.of("beta", wrong)  # pyright: ignore


@pytest.mark.parametrize("epochs", [1, 3, 100])
def test_schedules_of_the_run_do_not_see_its_length(epochs):
    """They are where they are to be after each part of the run, and stay at their last value after it."""
    schedule = Schedule.of("beta", "8:1:0.25/run")
    assert [schedule(part * epochs, epochs) for part in (0, 0.5, 1)] == [8, 4.5, 2.75]
    assert schedule(epochs + 7, epochs) == 2.75 and str(schedule) == "8:1:0.25/run"
    assert Schedule.of("beta", str(schedule)) == schedule != Schedule.of("beta", "8:1:0.25")


@pytest.mark.parametrize(
    ("settings", "rho", "damping"),
    [
        ({"hidden": (101, 101)}, "1.0001 1.0001 0.9", "0.8 0.8 0.8"),
        ({"hidden": (101, 101, 101), "closure": ("mf", "bp", "amp", "bp")}, "1.001 1 1 0.9", "0.8 0.8 0.8 0.8"),
        ({"hidden": (501, 501, 501)}, "1.0001 1.0001 1.0001 0.9", "0.1 0.1 0.1 0.9"),
        ({"preset": "paper-bayesian"}, "0.9999 0.9999 0.9", "0.8 0.8 0.8"),
        ({"preset": "paper-continual"}, "1 1 1", "0.8 0.8 0.8"),
    ],
)
def test_the_papers_settings(settings, rho, damping):
    """[DL, App. B.3, B.4]"""
    config = Config(**{"preset": "paper"} | settings)
    found = {name: " ".join(map(str, config.schedules(name))) for name in ("rho", "damping", "beta")}
    assert found == {"rho": rho, "damping": damping, "beta": " ".join("1" * config.layers)}


def test_settings_are_completed_to_one_value_per_layer():
    config = Config(hidden=(5, 4), preset="paper")
    assert [str(s) for s in config.schedules("rho")] == ["1.0001", "1.0001", "0.9"]
    assert [str(s) for s in config.schedules("damping")] == ["0.8"] * 3
    assert [str(s) for s in config.schedules("beta")] == ["1"] * 3
    assert [str(s) for s in Config(hidden=(5,), beta=["4:1:0.5", 2]).schedules("beta")] == ["4:1:0.5", "2"]


def test_settings_survive_json():
    config = Config(hidden=(5, 4), closure=("bp", "mf", "amp"), beta="8:1:0.7", density=(1.0, 0.5, 1.0), seed=3)
    assert Config.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match=r"`config` must have the fields .*has \['momentum'\]"):
        Config.from_json(config.to_json() | {"momentum": 1})


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"hidden": (0,)}, "`hidden` must be a sequence of integers >= 1"),
        ({"hidden": None}, "`hidden` must be a sequence of integers >= 1, got None"),
        ({"bias": 2}, "`bias` must be True or False, got 2"),
        ({"closure": ["mf", []]}, r"`closure` must be one of .*got \[\]"),
        ({"density": None}, r"`density` must be in \(0, 1\], got None"),
        ({"beta": 0.0}, r"`beta` must be in \(0, inf\), got '0'"),
        ({"eps_init": "a"}, "`eps_init` must be a finite number > 0 or 'critical', got 'a'"),
        ({"eps_init": (1.0, -2.0)}, "`eps_init` must be a finite number > 0 or 'critical', got -2.0"),
        ({"eps_init": (1.0, 2.0, 3.0)}, "`eps_init` must be one value or 2 values"),
        ({"eps_init": "critical", "weights": "continuous"}, "`eps_init` must be a number where weights are not binary"),
        ({"eps_init": "critical", "hidden": ()}, "`eps_init` must be a number for a network without hidden layers"),
        ({"epochs": -1}, "`epochs` must be an integer >= 0, got -1"),
        ({"batch_size": 0}, "`batch_size` must be an integer >= 1, got 0"),
        ({"tau": 0}, "`tau` must be an integer >= 1"),
        ({"closure": "sgd"}, "`closure` must be one of .*got 'sgd'"),
        ({"weights": "quaternary"}, "`weights` must be one of"),
        ({"activation": "tanh"}, "`activation` must be one of"),
        ({"density": 1.5}, r"`density` must be in \(0, 1\], got 1.5"),
        ({"preset": "best"}, "`preset` must be one of"),
        ({"rho": -0.1}, r"`rho` must be in \[0, inf\), got '-0.1'"),
        ({"damping": 1.0}, r"`damping` must be in \[0, 1\), got '1'"),
        ({"beta": [1, 2, 3, 4]}, "`beta` must be one value or 2 values"),
        ({"beta": "1:2"}, "`beta` must be a number, "),
        ({"eps_init": 0.0}, "`eps_init` must be a finite number > 0 or 'critical', got 0.0"),
        ({"reinforcement": -1.0}, "`reinforcement` must be a finite number >= 0"),
        ({"dtype": "float16"}, "`dtype` must be one of"),
        ({"seed": -1}, "`seed` must be an integer >= 0"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Config(**(SMALL | settings))


# ---- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closure", CLOSURES)
@pytest.mark.parametrize("weights", ["binary", "continuous"])
def test_every_closure_learns_digits(digits, closure, weights):
    network = trained(digits, closure=closure, weights=weights, epochs=8, hidden=(51,))
    assert error_percent(predict_pointwise(network.layers, digits.x_test), digits.y_test) < 12
    assert error_percent(predict_bayes(network.layers, digits.x_test, network.operations), digits.y_test) < 12


@pytest.mark.parametrize(
    "settings",
    [
        {"activation": "relu", "weights": "continuous"},
        {"bias": True},
        {"density": 0.5},
        {"tau": 3, "reinforcement": 0.1, "rho": 0.9},
        {"closure": ("bp", "amp")},
        {"dtype": "float64"},
    ],
    ids=str,
)
def test_every_option_learns_digits(digits, settings):
    dataset = digits if settings.get("dtype") != "float64" else load_dataset("digits", dtype=np.float64)
    network = trained(dataset, epochs=8, hidden=(51,), **settings)
    assert network.layers[0].H.dtype == np.dtype(network.config.dtype)
    assert error_percent(predict_pointwise(network.layers, dataset.x_test), dataset.y_test) < 20


def test_two_classes(parity):
    network = trained(parity, classes=2, epochs=6)
    assert error_percent(predict_pointwise(network.layers, parity.x_test), parity.y_test) < 8
    probability = predict_proba(network.layers, parity.x_test, network.operations)
    assert probability.shape == (len(parity.x_test), 1) and np.all((probability >= 0) & (probability <= 1))


def test_same_seed_same_result_and_another_seed_another(digits):
    runs = [trained(digits, seed=seed).arrays() for seed in (1, 1, 2)]
    for name, values in runs[0].items():
        assert np.array_equal(values, runs[1][name])
        assert not np.array_equal(values, runs[2][name])


def test_training_can_be_taken_up_again(digits):
    whole = trained(digits, epochs=3)
    first = init(whole.config, 64, 10)
    for _ in zip(range(2), train(first, digits.x_train, digits.y_train), strict=False):
        pass
    second = init(whole.config, 64, 10)
    second.restore({name: values.copy() for name, values in first.arrays().items()}, first.epoch)
    list(train(second, digits.x_train, digits.y_train))
    assert second.epoch == 3
    for name, values in whole.arrays().items():
        assert np.array_equal(values, second.arrays()[name]), name


def test_restoring_another_network_is_refused(digits):
    network = init(Config(**SMALL), 64, 10)
    arrays = network.arrays()
    with pytest.raises(ValueError, match=r"must have the array 'W0.H'"):
        network.restore({}, 1)
    with pytest.raises(ValueError, match=r"saved 'W0.H' must be float32 of shape \(31, 64\)"):
        network.restore(arrays | {"W0.H": np.zeros((3, 3), np.float32)}, 1)


def test_fast_and_plain_training_coincide(digits):
    errors = []
    for operations in (None, NumpyOperations()):
        network = init(Config(**(SMALL | {"epochs": 3})), 64, 10)
        network.operations = operations or network.operations
        list(train(network, digits.x_train, digits.y_train))
        errors.append(error_percent(predict_bayes(network.layers, digits.x_test, network.operations), digits.y_test))
    assert abs(errors[0] - errors[1]) < 1.0


def test_divergence_names_layer_quantity_and_remedy(digits, monkeypatch):
    network = init(Config(**SMALL), 64, 10)
    network.layers[1].H[0, 0] = np.nan
    with pytest.raises(DivergenceError, match=r"epoch 1: layer W1, quantity H.*Try a smaller `beta`"):
        train_epoch(network, digits.x_train, digits.y_train)
    assert network.epoch == 0
    network = init(Config(**(SMALL | {"beta": 1e12})), 64, 10)
    with pytest.raises(DivergenceError, match="quantity H, largest value"):
        train_epoch(network, digits.x_train, digits.y_train)


def test_progress_counts_every_sample(digits):
    seen = []
    train_epoch(init(Config(**SMALL), 64, 10), digits.x_train, digits.y_train, seen.append)
    assert sum(seen) == len(digits.x_train) and max(seen) == 32


def test_metrics_and_status(digits):
    network = trained(digits, epochs=4)
    evaluation = Evaluation.of(digits.x_train, digits.y_train, digits.x_test, digits.y_test, seed=0)
    values = metrics(network, evaluation)
    errors = {"train_error", "test_error", "bayes_train_error", "bayes_test_error"}
    scores = {f"{part}_{name}" for part in ("train", "test") for name in OF_CLASSES.scores}
    assert errors | scores | {"epoch", "polarization", "overlap"} == set(values)
    assert all(0 <= values[name] < 30 for name in errors)
    assert len(values["polarization"]) == len(values["overlap"]) == 2
    assert status([values], 90.0).startswith("trained: 4 epochs")
    wrong = values | {"train_error": 89.0, "bayes_train_error": 88.0}
    assert status([wrong], 90.0).startswith("not learning: training error 89.00 % is near chance (90.00 %). Try")
    averaged = status([wrong | {"bayes_train_error": 15.0}], 90.0)
    assert averaged.startswith(
        "trained: 4 epochs, training error 89.00 % is near chance (90.00 %) with the most probable"
    )
    assert averaged.endswith("15.00 % with all of them averaged")
    assert status([], 90.0).startswith("nothing trained")


def test_evaluation_takes_a_sample_of_a_large_training_set():
    x, y = np.zeros((90_000, 1)), np.arange(90_000)
    evaluation = Evaluation.of(x, y, x, y, seed=1)
    assert len(evaluation.y_train) == 1500 and len(np.unique(evaluation.y_train)) == 1500
    assert len(Evaluation.of(x[:500], y[:500], x, y, seed=1).y_train) == 500
    assert np.array_equal(evaluation.y_train, Evaluation.of(x, y, x, y, seed=1).y_train)


# ---- predictions and observables -------------------------------------------------------------------------------------


def test_probabilities_are_those_of_sampled_networks(parity):
    """One layer: the pre-activation is a sum over independent weights, Gaussian by the central limit theorem."""
    network = init(Config(**(SMALL | {"hidden": ()})), 64, 2)
    x = parity.x_test[:40]
    layer = network.layers[0]
    rng = np.random.default_rng(0)
    weights = np.where(rng.random((20_000, 64)) < 0.5 * (1 + layer.mean[0]), 1.0, -1.0)
    frequency = (weights @ x.T > 0).mean(axis=0)
    np.testing.assert_allclose(predict_proba(network.layers, x, network.operations)[:, 0], frequency, atol=0.03)


def test_pointwise_predictions_use_signs_and_masks(digits):
    network = trained(digits, density=0.5, bias=True)
    units = digits.x_test.T
    for layer in network.layers:
        units = np.concatenate([units, np.ones_like(units[:1])])
        weights = np.where(layer.mean >= 0, 1.0, -1.0) * layer.plan.mask
        z = weights @ units
        units = np.where(z >= 0, 1.0, -1.0)
    assert np.array_equal(predict_pointwise(network.layers, digits.x_test), z.argmax(axis=0))


def test_binary_probability_is_the_output_marginal(parity):
    network = trained(parity, classes=2)
    probability = predict_proba(network.layers, parity.x_test[:10], network.operations)
    output = network.layers[-1]
    expected = ndtr(output.omega.astype(np.float64) / np.sqrt(output.V.astype(np.float64)))[0]
    np.testing.assert_allclose(probability[:, 0], expected, rtol=10 * FLOAT32)  # a φ(a)/Φ(a) roundings of a, at most


def test_overlap_and_polarization_equal_their_definitions():
    layer = init(Config(**SMALL), 7, 10).layers[0]
    m = layer.mean.astype(float)
    pairs = [m[a] @ m[b] / 7 for a in range(31) for b in range(a)]
    assert layer.overlap() == pytest.approx(np.mean(pairs), rel=1e-5)
    assert overlap_per_unit(layer) == pytest.approx(np.sum(pairs) / 31, rel=1e-5)
    assert layer.polarization() == pytest.approx(np.mean(m**2), rel=1e-5)
    one = init(Config(**(SMALL | {"hidden": ()})), 7, 2).layers[0]
    assert one.overlap() == overlap_per_unit(one) == 0.0


@pytest.mark.parametrize("activation", ["sign", "relu"])
def test_sums_of_continuous_weights_start_with_variance_one_and_means_of_the_given_size(activation):
    """As the channel sees them, over inputs of size 1, whatever the width and the scale."""
    config = Config(hidden=(400, 150), weights="continuous", activation=activation, eps_init=(0.5, 2.0, 1.0))
    for layer, size in zip(init(config, 50, 10).layers, (0.5, 2.0, 1.0), strict=True):
        unit = layer.plan.scale**2 * layer.plan.inputs
        np.testing.assert_allclose(unit * np.mean(layer.mean**2), size**2, rtol=ERRORS * (2.0 / layer.mean.size) ** 0.5)
        np.testing.assert_allclose(unit * layer.sigma, 1.0, rtol=1e-6)


@pytest.mark.parametrize("activation", ["sign", "relu"])
def test_the_initial_size_of_continuous_weights_counts_and_their_unit_does_not(parity, activation):
    """Predictions after an epoch depend on ε, but not on the unit in which a layer's weights are given."""

    def predicted(eps, unit):
        config = Config(hidden=(15, 11), weights="continuous", activation=activation, eps_init=eps, dtype="float64")
        network = init(config, parity.x_train.shape[1], 2)
        for layer in network.layers:
            layer.H /= unit
            layer.G /= unit**2
            layer.mean *= unit
            layer.sigma *= unit**2
        train_epoch(network, parity.x_train[:256].astype(float), parity.y_train[:256])
        return predict_proba(network.layers, parity.x_test[:50].astype(float), network.operations)

    expected = predicted(1.0, 1.0)
    np.testing.assert_allclose(predicted(1.0, 0.25), expected, rtol=1e-6)  # exact but for the floors of V and G
    for eps in (0.25, 4.0):
        assert np.abs(predicted(eps, 1.0) - expected).max() > 0.05


def test_seeds_of_initialisation_and_epochs_are_independent():
    assert len({state.INITIAL, state.EPOCHS, state.EVALUATION}) == 3
