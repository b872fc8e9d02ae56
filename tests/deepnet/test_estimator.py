"""The scikit-learn classifier: scikit-learn's own checks, learning, online learning, labels, settings and errors."""

import io
import pickle
import re
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_moons
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from deepnet.config import Config
from deepnet.estimator import MessagePassingClassifier, MessagePassingRegressor
from deepnet.train import DivergenceError, init, train

Data = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]

#: Checks of scikit-learn that fail, with the reason. Two are skipped by scikit-learn itself in this environment:
#: check_array_api_input without SCIPY_ARRAY_API=1, and the half of check_classifier_data_not_an_array for data frames
#: without pandas.
EXPECTED_FAILED_CHECKS: dict[str, str] = {
    "check_sample_weight_equivalence_on_dense_data": "copies of a sample fall into several mini-batches in random order"
}


@parametrize_with_checks(
    [
        MessagePassingClassifier(),
        MessagePassingClassifier(hidden=(31,), epochs=10, closure="bp", calibrate=False),
        MessagePassingRegressor(hidden=(30,), epochs=30),
    ],
    expected_failed_checks=lambda _: EXPECTED_FAILED_CHECKS,
)
def test_scikit_learn_checks(estimator: MessagePassingClassifier, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def digits() -> Data:
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)
    return X, X_test, y, y_test


@pytest.fixture(scope="module")
def fitted(digits: Data) -> MessagePassingClassifier:
    X, _, y, _ = digits
    return MessagePassingClassifier(epochs=8, random_state=0).fit(X, y)


def small(**settings: Any) -> MessagePassingClassifier:
    return MessagePassingClassifier(**({"hidden": 15, "epochs": 2, "calibrate": False, "random_state": 0} | settings))


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", ["bayes", "pointwise"])
@pytest.mark.parametrize("closure", ["mf", "bp"])
def test_learns_digits(digits: Data, closure: str, prediction: str) -> None:
    X, X_test, y, y_test = digits
    options: dict[str, Any] = {"epochs": 10, "calibrate": False, "random_state": 0}
    model = MessagePassingClassifier(closure=closure, prediction=prediction, **options).fit(X, y)
    assert model.score(X_test, y_test) > 0.92


@pytest.mark.parametrize("closure", ["mf", "bp"])
def test_probabilities_sum_to_one_and_are_calibrated_better_than_chance(digits: Data, closure: str) -> None:
    X, X_test, y, y_test = digits
    model = MessagePassingClassifier(epochs=10, closure=closure, calibrate=False, random_state=0).fit(X, y)
    probabilities = model.predict_proba(X_test)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)
    assert probabilities.min() >= 0
    assert log_loss(y_test, probabilities) < 0.2 * np.log(10)
    sure = probabilities.max(axis=1) > 0.9
    assert 0.3 < sure.mean() < 1.0
    correct = model.predict(X_test) == y_test
    assert correct[sure].mean() > 0.97 > correct[~sure].mean()


@pytest.mark.parametrize("settings", [{}, {"weights": "continuous"}, {"activation": "relu"}, {"hidden": (31, 31)}])
def test_learns_what_no_linear_network_can(settings: dict[str, Any]) -> None:
    X, y = make_moons(600, noise=0.1, random_state=0)
    model = MessagePassingClassifier(random_state=1, **settings).fit(X[:400], y[:400])
    assert model.score(X[400:], y[400:]) > 0.92  # a line: 0.89
    assert log_loss(y[400:], model.predict_proba(X[400:])) < 0.5 * np.log(2)


def test_partial_fit_learns_from_chunks_seen_once(digits: Data) -> None:
    X, X_test, y, y_test = digits
    model = MessagePassingClassifier(random_state=0)
    scores = []
    for chunk in np.array_split(np.arange(len(X)), 6):
        model.partial_fit(X[chunk], y[chunk], classes=np.arange(10))
        scores.append(model.score(X_test, y_test))
    assert scores[-1] > 0.88 and scores[-1] > scores[0]
    assert model.n_iter_ == 6


def test_partial_fit_on_all_data_repeats_the_epochs_of_fit(digits: Data) -> None:
    X, X_test, y, _ = digits
    constant = {"preset": "paper"}  # others depend on the number of epochs
    whole, parts = small(epochs=3, **constant).fit(X, y), small(**constant)
    for _ in range(3):
        parts.partial_fit(X, y, np.unique(y))
    np.testing.assert_array_equal(whole.predict_proba(X_test), parts.predict_proba(X_test))


def test_partial_fit_goes_on_after_fit(digits: Data) -> None:
    X, X_test, y, y_test = digits
    model = small(epochs=1).fit(X[:300] / 16, y[:300])
    before, moments = model.score(X_test / 16, y_test), (model.mean_, model.scale_)
    for _ in range(4):
        model.partial_fit(X[300:] / 16, y[300:])
    assert model.score(X_test / 16, y_test) > before
    assert (model.mean_, model.scale_) == moments
    assert model.n_iter_ == 5


def test_a_chunk_may_lack_classes() -> None:
    X, y = load_iris(return_X_y=True)
    model = small().partial_fit(X[:50], y[:50], classes=[2, 0, 1])
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])
    assert model.predict_proba(X).shape == (150, 3)


def test_equals_the_functional_interface(digits: Data) -> None:
    X, _, y, _ = digits
    model = small(random_state=5).fit(X, y)
    config = Config(hidden=(15,), bias=True, epochs=2, batch_size=32, seed=5)
    network = init(config, X.shape[1], 10)
    list(train(network, ((X - X.mean()) / X.std()).astype(np.float32), y))
    for name, array in network.arrays().items():
        np.testing.assert_array_equal(model.network_.arrays()[name], array)


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names", [["b", "a"], ["b", "a", "c"], [30, -10], [30, -10, 20], [2.0, 1.0], [2.0, 1.0, 3.0], [True, False]]
)
def test_labels_of_any_type(names: list[Any]) -> None:
    X, y = load_iris(return_X_y=True)
    count = len(names)
    X, y = X[y < count], y[y < count]
    labels = np.array(names)[y]
    model = small(epochs=30, hidden=31).fit(X, labels)
    np.testing.assert_array_equal(model.classes_, np.unique(labels))
    assert model.predict(X).dtype == labels.dtype
    assert model.score(X, labels) > 0.9
    assert model.predict_proba(X).shape == (len(X), count)
    assert model.network_.layers[-1].plan.outputs == (1 if count == 2 else 3)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_bayes_labels_are_the_most_probable_ones(digits: Data, count: int) -> None:
    X, X_test, y, _ = digits
    model = small(hidden=3, epochs=1).fit(X[y < count], y[y < count])
    probabilities = model.predict_proba(X_test)
    assert 0.3 < probabilities.max(axis=1).min() < 0.6 or count == 10  # some are near a tie
    np.testing.assert_array_equal(model.predict(X_test), model.classes_[probabilities.argmax(axis=1)])


def test_pointwise_labels_come_from_the_likeliest_weights(digits: Data, fitted: MessagePassingClassifier) -> None:
    X = digits[1]
    pointwise = clone(fitted).set_params(prediction="pointwise")
    pointwise.fit(digits[0], digits[2])
    np.testing.assert_array_equal(pointwise.predict_proba(X), fitted.predict_proba(X))
    units = z = (X - fitted.mean_) / fitted.scale_
    for layer in fitted.network_.layers:
        weights = np.where(layer.mean >= 0, 1.0, -1.0)
        z = np.column_stack([units, np.ones(len(X))]) @ weights.T
        units = np.where(z >= 0, 1.0, -1.0)
    np.testing.assert_array_equal(pointwise.predict(X), z.argmax(axis=1))
    differ = np.mean(pointwise.predict(X) != fitted.predict(X))
    assert 0 < differ < 0.2


# --- state ------------------------------------------------------------------------------------------------------------


def test_refit_forgets(digits: Data) -> None:
    X, X_test, y, _ = digits
    model = small().fit(X[:, :30], y == 3)
    model.partial_fit(X[:, :30], y == 3)
    model.fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X_test), small().fit(X, y).predict_proba(X_test))
    assert model.n_features_in_ == 64 and model.n_iter_ == 2


def test_a_failed_refit_leaves_nothing_half_fitted(digits: Data) -> None:
    X, _, y, _ = digits
    model = small().fit(X, y)
    with pytest.raises(ValueError, match="1 class"):
        model.fit(X[:, :5], np.zeros(len(X)))
    with pytest.raises(NotFittedError):
        model.predict(X[:, :5])


def test_predictions_change_nothing_and_do_not_depend_on_their_neighbours(digits: Data) -> None:
    X, X_test, y, _ = digits
    model = small().fit(X, y)
    before = pickle.dumps(model)
    probabilities = model.predict_proba(X_test)
    model.set_params(prediction="pointwise").predict(X_test)
    assert pickle.dumps(model.set_params(prediction="bayes")) == before
    alone = np.concatenate([model.predict_proba(row[None]) for row in X_test[:20]])
    np.testing.assert_allclose(alone, probabilities[:20], rtol=1e-8, atol=1e-12)


def test_pickled_models_predict_and_learn_alike(digits: Data) -> None:
    X, X_test, y, _ = digits
    model = small().fit(X, y)
    copy = pickle.loads(pickle.dumps(model))
    for each in (model, copy):
        each.partial_fit(X, y)
    np.testing.assert_array_equal(copy.predict_proba(X_test), model.predict_proba(X_test))


def random_states() -> list[Any]:
    return [3, np.int64(3), np.random.RandomState(3), np.random.default_rng(3)]


@pytest.mark.parametrize("kind", range(4))
def test_same_random_state_same_run(digits: Data, kind: int) -> None:
    X, X_test, y, _ = digits
    first, second = (small(random_state=random_states()[kind]).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(first.predict_proba(X_test), second.predict_proba(X_test))
    assert first.network_.config.seed == second.network_.config.seed
    assert kind > 1 or first.network_.config.seed == 3


def test_generators_go_on_and_none_is_random() -> None:
    X, y = load_iris(return_X_y=True)
    for state in (np.random.RandomState(3), np.random.default_rng(3), None):
        model = small(random_state=state)
        seeds = {model.fit(X, y).network_.config.seed for _ in range(3)}
        assert len(seeds) == 3
        seed = model.network_.config.seed
        assert model.partial_fit(X, y).network_.config.seed == seed


def test_settings_are_stored_as_given_and_cloned() -> None:
    settings: dict[str, Any] = {"hidden": [7, 5], "rho": [1.0, 0.9, "0.8:1:0.5"], "closure": ["bp", "mf", "mf"]}
    model = MessagePassingClassifier(**settings)
    for each in (model, clone(model)):
        for name, value in settings.items():
            assert each.get_params()[name] == value
    X, y = load_iris(return_X_y=True)
    assert model.fit(X, y).network_.config.hidden == (7, 5)
    assert model.get_params()["hidden"] is settings["hidden"]


@pytest.mark.parametrize("hidden", [9, [9], np.array([9]), np.int64(9)])
def test_forms_of_hidden(hidden: Any) -> None:
    X, y = load_iris(return_X_y=True)
    assert small(hidden=hidden).fit(X, y).network_.config.hidden == (9,)


def test_works_in_pipelines_and_searches() -> None:
    X, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), MessagePassingClassifier(hidden=31, random_state=0))
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.9
    search = GridSearchCV(pipeline, {"messagepassingclassifier__rho": [0.0, 1.0]}, cv=2).fit(X, y)
    assert search.best_params_["messagepassingclassifier__rho"] == 1.0


# --- inputs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "shift"), [(1e-30, 0.0), (1e30, 0.0), (1.0, 1e6)])
def test_standardised_inputs_have_no_scale(digits: Data, scale: float, shift: float) -> None:
    X, X_test, y, _ = digits
    plain = small().fit(X, y).predict_proba(X_test)
    np.testing.assert_allclose(
        small().fit(scale * X + shift, y).predict_proba(scale * X_test + shift), plain, atol=0.02
    )


def test_standardize_false_takes_inputs_as_they_are(digits: Data) -> None:
    X, X_test, y, _ = digits
    model = small(standardize=False).fit((X - X.mean()) / X.std(), y)
    assert (model.mean_, model.scale_) == (0.0, 1.0)
    expected = small().fit(X, y).predict_proba(X_test)
    np.testing.assert_array_equal(model.predict_proba((X_test - X.mean()) / X.std()), expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e10])
def test_constant_inputs(value: float, bias: bool) -> None:
    X, y = np.full((30, 4), value), np.arange(30) % 3
    model = small(bias=bias).fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()
    assert (model.mean_, model.scale_) == (value, 1.0)
    assert np.isfinite(model.predict_proba(X + np.arange(4))).all()


def test_constant_features_do_not_disturb(digits: Data) -> None:
    X, X_test, y, y_test = digits
    X, X_test = (np.column_stack([each, np.full((len(each), 5), 7.0)]) for each in (X, X_test))
    assert MessagePassingClassifier(epochs=8, random_state=0).fit(X, y).score(X_test, y_test) > 0.93


@pytest.mark.parametrize("settings", [{}, {"standardize": False}])
def test_inputs_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    X, y = load_iris(return_X_y=True)
    model = small(**settings).fit(X, y)
    with pytest.raises(ValueError, match=r"`X` must be within .* of .*, got .* to 1e\+20"):
        model.predict(np.full((2, 4), 1e20))
    with pytest.raises(ValueError, match="`X` must"):
        model.fit(X * 1e300, y)


# --- progress and errors ----------------------------------------------------------------------------------------------


def printed(model: MessagePassingClassifier, X: NDArray[Any], y: NDArray[Any]) -> tuple[str, str]:
    with redirect_stdout(io.StringIO()) as fit:
        model.fit(X, y)
    with redirect_stdout(io.StringIO()) as partial_fit:
        model.partial_fit(X, y)
    return fit.getvalue(), partial_fit.getvalue()


@pytest.mark.parametrize("prediction", ["bayes", "pointwise"])
def test_verbose_prints_a_line_an_epoch(digits: Data, prediction: str) -> None:
    X, y = digits[0][:500], digits[2][:500]
    model = small(verbose=True, epochs=4, prediction=prediction)
    fit, partial_fit = printed(model, X, y)
    lines = fit.splitlines()
    assert len(lines) == 5
    for epoch, line in enumerate(lines[:4], start=1):
        assert re.fullmatch(rf"epoch {epoch}: training error \d+\.\d\d %", line)
    assert lines[-1].startswith("trained: 4 epochs, training error")
    error = 100 * (1 - model.score(X, y))
    assert partial_fit == f"epoch 5: training error {error:.2f} %\n"


def test_quiet_by_default_and_verbosity_changes_no_result(digits: Data) -> None:
    X, y = digits[0][:500], digits[2][:500]
    quiet, loud = small(), small(verbose=1)
    assert printed(quiet, X, y) == ("", "")
    assert all(printed(loud, X, y))
    np.testing.assert_array_equal(quiet.predict_proba(X), loud.predict_proba(X))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden", (0,)),
        ("closure", "tap"),
        ("weights", "quaternary"),
        ("activation", "tanh"),
        ("density", 0.0),
        ("epochs", -1),
        ("batch_size", 2.5),
        ("preset", "best"),
        ("rho", "1:2"),
        ("damping", 1.0),
        ("beta", -1.0),
        ("tau", 0),
        ("reinforcement", -0.5),
        ("eps_init", 0.0),
        ("prediction", "map"),
    ],
)
def test_wrong_settings_are_named_when_fitting(name: str, value: Any) -> None:
    X, y = load_iris(return_X_y=True)
    model = small(**{name: value})
    for fit in (model.fit, lambda X, y: model.partial_fit(X, y, classes=[0, 1, 2])):
        with pytest.raises(ValueError, match=f"`{name}` must be .*, got "):
            fit(X, y)
    assert not hasattr(model, "classes_")


def test_prediction_is_checked_when_predicting() -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="`prediction` must be one of"):
        small().fit(X, y).set_params(prediction="map").predict(X)


def test_one_class_is_refused() -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=r"at least 2 classes, got 1 class: \[0\]"):
        small().fit(X[:50], y[:50])
    with pytest.raises(ValueError, match="at least 2 classes"):
        small().partial_fit(X[:50], y[:50], classes=[0])


def test_errors_of_partial_fit() -> None:
    X, y = load_iris(return_X_y=True)
    model = small()
    with pytest.raises(ValueError, match="`classes` must be given in the first call"):
        model.partial_fit(X, y)
    with pytest.raises(ValueError, match=r"`y` must be among \[0, 1\], got \[2\]"):
        model.partial_fit(X, y, classes=[0, 1])
    model.partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="`classes` must be those of the first call"):
        model.partial_fit(X, y, classes=[0, 1, 2, 3])
    with pytest.raises(ValueError, match=r"`y` must be among \[0, 1, 2\], got \['x'\]"):
        model.partial_fit(X[:1], ["x"])


def test_partial_fit_takes_up_what_can_change() -> None:
    X, y = load_iris(return_X_y=True)
    model = small().fit(X, y)
    model.set_params(rho=0.5, batch_size=10).partial_fit(X, y)
    assert model.network_.config.batch_size == 10
    assert [schedule.end for schedule in model.network_.config.schedules("rho")] == [0.5, 0.5]
    with pytest.raises(ValueError, match=r"`hidden` must stay \(15,\) until fit starts a new network, got \(7,\)"):
        model.set_params(hidden=7).partial_fit(X, y)


def test_divergence_is_reported() -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.raises(DivergenceError, match="training diverged in epoch"):
        small(rho=1e10).fit(X, y)
