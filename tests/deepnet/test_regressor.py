"""The scikit-learn regressor, and what both estimators have: weights, early stopping, warm starts, uncertainty."""

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepnet import Config, MessagePassingClassifier, MessagePassingRegressor
from deepnet.outputs import output_of
from deepnet.train import init

Data = tuple[NDArray[Any], NDArray[Any]]


def curve(samples: int = 200, seed: int = 0) -> Data:
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (samples, 2)) * [1.0, 100.0]
    return X, 50 + 10 * X[:, 0] ** 2 + 0.05 * X[:, 1] + rng.standard_normal(samples)


def small(**settings: Any) -> MessagePassingRegressor:
    return MessagePassingRegressor(
        **({"hidden": 20, "epochs": 15, "beta": 0.3, "early_stopping": False, "random_state": 0} | settings)
    )


def test_learns_a_curve_and_its_noise() -> None:
    X, y = curve(400)
    model = MessagePassingRegressor(hidden=50, epochs=60, beta=0.2, random_state=0).fit(X[:300], y[:300])
    mean, std = model.predict(X[300:], return_std=True)
    assert model.score(X[300:], y[300:]) > 0.97
    assert 0.7 < model.noise_variance_[0] < 2.0
    assert 0.8 < np.mean(np.abs(y[300:] - mean) < 1.96 * std) <= 1.0
    aleatoric, epistemic = model.uncertainty(X[300:])
    np.testing.assert_allclose(aleatoric, model.noise_variance_[0])
    np.testing.assert_allclose(std, np.sqrt(aleatoric + epistemic))


def test_is_better_than_a_network_without_a_posterior() -> None:
    """On average over the folds, and as likely; the network stops early, as one would have it do on so little data."""
    X, y = load_diabetes(return_X_y=True)
    errors, likelihoods = [], []
    for train, test in KFold(4, shuffle=True, random_state=0).split(X):
        mean, std = MessagePassingRegressor(random_state=0).fit(X[train], y[train]).predict(X[test], return_std=True)
        network = MLPRegressor(hidden_layer_sizes=(50, 50), max_iter=400, early_stopping=True, random_state=0)
        theirs = make_pipeline(StandardScaler(), network)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            theirs.fit(X[train], y[train])
        point, spread = theirs.predict(X[test]), np.std(y[train] - theirs.predict(X[train]))
        errors.append([np.mean((each - y[test]) ** 2) for each in (mean, point)])
        likelihoods.append([norm.logpdf(y[test], *law).mean() for law in ((mean, std), (point, spread))])
    ours, others = np.mean(errors, axis=0)
    assert ours < others
    ours, others = np.mean(likelihoods, axis=0)
    assert ours > others - 0.05


def test_several_targets_each_have_their_scale_and_noise() -> None:
    X, y = curve()
    Y = np.stack([y, 1e4 * X[:, 0] + 100 * np.random.default_rng(0).standard_normal(200)], axis=1)
    model = small(epochs=40).fit(X, Y)
    mean, std = model.predict(X, return_std=True)
    assert mean.shape == std.shape == (200, 2)
    assert np.all(np.mean((mean - Y) ** 2, axis=0) < 0.15 * Y.var(axis=0))
    assert model.noise_variance_.shape == (2,) and model.score_samples(X).shape == (200,)
    assert model.uncertainty(X).epistemic.shape == (200, 2)
    column = small().fit(X, y[:, None])
    np.testing.assert_allclose(column.predict(X)[:, 0], small().fit(X, y).predict(X))


@pytest.mark.parametrize("shift, scale", [(0.0, 1e-8), (1e6, 1.0), (-3.0, 1e8)])
def test_units_do_not_matter(shift: float, scale: float) -> None:
    X, y = curve()
    plain, std = small().fit(X, y).predict(X, return_std=True)
    other, other_std = small().fit(1e3 * X - 7, shift + scale * y).predict(1e3 * X - 7, return_std=True)
    np.testing.assert_allclose((other - shift) / scale, plain, rtol=1e-3, atol=0.1)
    np.testing.assert_allclose(other_std / scale, std, rtol=0.02)


def test_a_given_noise_is_in_units_of_the_targets() -> None:
    X, y = curve()
    model = small(noise_variance=4.0).fit(X, y)
    np.testing.assert_allclose(model.noise_variance_, 4.0)
    assert np.all(model.predict(X, return_std=True)[1] > 2.0)
    model.set_params(warm_start=True).fit(X, y)
    np.testing.assert_allclose(model.noise_variance_, 4.0)
    with pytest.raises(ValueError, match="`noise_variance` must stay"):
        model.set_params(noise_variance=5.0).fit(X, y)
    assert small(noise_variance=4.0).fit(X, np.stack([y, 3 * y], axis=1)).noise_variance_ == pytest.approx([4.0, 4.0])


def test_counts() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 3))
    y = rng.poisson(np.exp(X[:, 0] + 0.5))
    model = small(output="poisson", epochs=20).fit(X, y)
    mean, std = model.predict(X, return_std=True)
    assert np.all(mean > 0) and np.corrcoef(np.log(mean), X[:, 0])[0, 1] > 0.9
    np.testing.assert_allclose(model.uncertainty(X).aleatoric, mean)
    assert np.all(std**2 >= mean * (1 - 1e-12))
    assert not hasattr(model, "noise_variance_")
    with pytest.raises(ValueError, match=r"`y` must be integers >= 0, got \d\.5"):
        small(output="poisson").fit(X, y + 0.5)


def test_abnormal_inputs_have_low_scores() -> None:
    X, y = curve()
    model = small(epochs=40).fit(X, y)
    assert model.score_samples(X).mean() > model.score_samples(X + np.array([20.0, 0.0])).mean()
    labels = (y > np.median(y)).astype(int)
    # Those of a classifier are information about its label: what is far from the border is certain, wherever it is.
    options: dict[str, Any] = {"hidden": 20, "epochs": 10, "calibrate": False, "random_state": 0}
    classifier = MessagePassingClassifier(output="logistic", **options).fit(X, labels)
    scores, parts = classifier.score_samples(X), classifier.uncertainty(X)
    assert np.all(scores <= 1e-12) and np.all(parts.aleatoric >= 0)
    p = classifier.predict_proba(X)
    np.testing.assert_allclose(parts.aleatoric + parts.epistemic, -(p * np.log(p)).sum(axis=1), rtol=1e-9)


# --- what both have ---------------------------------------------------------------------------------------------------


def pairs() -> list[Any]:
    X, y = curve(120)
    iris = load_iris(return_X_y=True)
    options: dict[str, Any] = {
        "hidden": 15,
        "epochs": 8,
        "preset": "paper",
        "calibrate": False,
        "random_state": 0,
    }  # of any number of epochs
    return [(small(epochs=8), X, y), (MessagePassingClassifier(**options), *iris)]


def probed(model: Any, X: NDArray[Any]) -> NDArray[Any]:
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


@pytest.mark.parametrize("model, X, y", pairs(), ids=["regressor", "classifier"])
def test_weights_of_one_are_none_and_those_of_zero_leave_samples_out(model: Any, X: Any, y: Any) -> None:
    plain = probed(clone(model).fit(X, y), X)
    np.testing.assert_allclose(probed(clone(model).fit(X, y, sample_weight=np.ones(len(X))), X), plain, rtol=1e-5)
    chosen = np.arange(len(X)) % 3 > 0
    without = probed(clone(model).fit(X[chosen], y[chosen]), X)
    weighted = probed(clone(model).fit(X, y, sample_weight=chosen.astype(float)), X)
    np.testing.assert_allclose(weighted, without, rtol=1e-5)
    assert not np.allclose(without, plain, rtol=1e-3)
    for wrong in (-np.ones(len(X)), np.zeros(len(X)), np.ones(3), np.full(len(X), np.nan)):
        with pytest.raises(ValueError, match="`sample_weight` must"):
            clone(model).fit(X, y, sample_weight=wrong)


@pytest.mark.parametrize("model, X, y", pairs(), ids=["regressor", "classifier"])
def test_early_stopping_keeps_the_best_network(model: Any, X: Any, y: Any) -> None:
    model = clone(model).set_params(early_stopping=True, epochs=60, n_iter_no_change=4, validation_fraction=0.2)
    model.fit(X, y)
    losses = model.validation_loss_
    assert len(losses) == model.n_iter_ == np.argmin(losses) + 5 or model.n_iter_ == 60
    assert model.network_.epoch == np.argmin(losses) + 1
    for name, wrong in (("validation_fraction", 0.999), ("validation_fraction", 1.5), ("n_iter_no_change", 0)):
        with pytest.raises(ValueError, match=f"`{name}` must be"):
            clone(model).set_params(**{name: wrong}).fit(X, y)


@pytest.mark.parametrize("model, X, y", pairs(), ids=["regressor", "classifier"])
def test_training_ends_when_the_weights_stand_still(model: Any, X: Any, y: Any) -> None:
    assert clone(model).set_params(tol=0.5, epochs=50).fit(X, y).n_iter_ < 50
    assert clone(model).set_params(tol=0.0, epochs=12).fit(X, y).n_iter_ == 12


@pytest.mark.parametrize("model, X, y", pairs(), ids=["regressor", "classifier"])
def test_a_warm_start_goes_on(model: Any, X: Any, y: Any) -> None:
    once = clone(model).set_params(epochs=6).fit(X, y)
    twice = clone(model).set_params(epochs=3, warm_start=True).fit(X, y)
    assert twice.n_iter_ == 3
    twice.fit(X, y)
    assert twice.n_iter_ == 6
    np.testing.assert_array_equal(probed(twice, X), probed(once, X))
    with pytest.raises(ValueError, match="`hidden` must stay"):
        twice.set_params(hidden=7).fit(X, y)


@pytest.mark.parametrize("model, X, y", pairs(), ids=["regressor", "classifier"])
def test_partial_fit_repeats_the_epochs_of_fit(model: Any, X: Any, y: Any) -> None:
    whole, parts = clone(model).set_params(epochs=3).fit(X, y), clone(model)
    more = {} if isinstance(model, MessagePassingRegressor) else {"classes": np.unique(y)}
    for _ in range(3):
        parts.partial_fit(X, y, **more)
    np.testing.assert_array_equal(probed(whole, X), probed(parts, X))


def test_probabilities_are_calibrated_on_samples_that_are_held_out() -> None:
    X, y = load_iris(return_X_y=True)
    options: dict[str, Any] = {"hidden": 15, "epochs": 10, "random_state": 0}
    model = MessagePassingClassifier(early_stopping=True, validation_fraction=0.3, **options).fit(X, y)
    assert model.calibration_ != 1.0
    p, calibration = model.predict_proba(X), model.calibration_
    model.calibration_ = 2 * calibration
    assert np.all(model.predict_proba(X).max(axis=1) <= p.max(axis=1) + 1e-12)
    assert MessagePassingClassifier(calibrate=False, **options).fit(X, y).calibration_ == 1.0


def test_weights_of_classes() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 3))
    y = np.where(X[:, 0] + rng.standard_normal(300) > 1.2, "rare", "often")
    options: dict[str, Any] = {"hidden": 15, "epochs": 10, "random_state": 0}
    shares = [
        np.mean(MessagePassingClassifier(class_weight=weights, **options).fit(X, y).predict(X) == "rare")
        for weights in (None, "balanced", {"rare": 20.0, "often": 1.0})
    ]
    assert shares[0] < shares[1] < shares[2]
    plain = MessagePassingClassifier(**options).fit(X, y).predict_proba(X)
    same = MessagePassingClassifier(class_weight={"rare": 7.0, "often": 7.0}, **options).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(same, plain, atol=1e-4)
    soft = np.stack([y == "often", y == "rare"], axis=1).astype(float)
    MessagePassingClassifier(class_weight={0: 1.0, 1: 3.0}, **options).fit(X, soft)
    with pytest.raises(
        ValueError, match="`class_weight` must be None, 'balanced' or a number for each class, got 'best'"
    ):
        MessagePassingClassifier(class_weight="best", **options).fit(X, y)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("output", "softmax"),
        ("noise_variance", -1.0),
        ("beta", 0.0),
        ("tol", -1.0),
        ("warm_start", 2),
        ("closure", "x"),
    ],
)
def test_wrong_settings_are_named(name: str, value: Any) -> None:
    X, y = curve(40)
    with pytest.raises(ValueError, match=f"`{name}` must be .*, got "):
        small(**{name: value}).fit(X, y)


def test_errors_of_use() -> None:
    X, y = curve(60)
    model = small(epochs=1)
    with pytest.raises(NotFittedError):
        model.predict(X)
    model.fit(X, y)
    with pytest.raises(ValueError, match="`return_std` must be True or False"):
        model.predict(X, return_std="yes")
    with pytest.raises(ValueError, match="`y` must have 1 targets, as before, got 2"):
        model.partial_fit(X, np.stack([y, y], axis=1))
    for texts in (y.astype(str), np.stack([y, y], axis=1).astype(str), list("12" * 30)):
        with pytest.raises(ValueError, match="`y` must be an array of real numbers"):
            small(epochs=1).fit(X, texts)
    with pytest.raises(ValueError, match="`output` must be one of"):
        MessagePassingClassifier(output="gaussian").fit(X, y > 50)


def test_verbose_prints_a_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = curve(60)
    small(epochs=2, verbose=True).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].startswith("epoch 1: training error ")


def test_works_in_pipelines_and_searches() -> None:
    X, y = curve(90)
    pipeline = make_pipeline(StandardScaler(), small(epochs=4))
    search = GridSearchCV(pipeline, {"messagepassingregressor__beta": [1e-4, 0.3]}, cv=2).fit(X, y)
    assert search.best_params_["messagepassingregressor__beta"] == 0.3


def test_the_noise_is_that_of_samples_not_learnt_from() -> None:
    """Held-out targets are the most probable under the variance that calibration finds, whatever was learnt."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2, 120))
    layer = init(Config(hidden=(), output="gaussian"), 6, 2).layers[0]
    output = output_of(layer)
    V = rng.uniform(0.0, 0.3, (2, 120))
    y = z + np.sqrt(V + np.array([[0.2], [0.05]])) * rng.normal(size=(2, 120))
    output.calibrate(y, z, V)

    def likelihood(noise: np.ndarray) -> np.ndarray:
        return norm.logpdf(y, z, np.sqrt(V + noise[:, None])).mean(axis=1)

    found = np.ravel(layer.state()["noise"]).astype(float)
    grid = np.geomspace(1e-3, 1.0, 400)
    best = np.max([likelihood(np.full(2, noise)) for noise in grid], axis=0)
    assert (likelihood(found) >= best - 1e-5).all() and np.all(np.abs(found / [0.2, 0.05] - 1.0) < 0.5)
    given = output_of(init(Config(hidden=(), output="gaussian", noise_variance=0.3), 6, 2).layers[0])
    given.calibrate(y, z, V)
    assert given.noise == 0.3  # a given one stays


def test_overfitted_weights_are_not_sure_of_themselves() -> None:
    """Of noise alone, learnt by heart: the deviation is that of the targets, not what is left of them in training."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100, 5)), rng.normal(size=100)
    settings: dict[str, Any] = {"epochs": 60, "beta": 1.0, "random_state": 0}
    sure = MessagePassingRegressor(early_stopping=False, **settings).fit(X, y)
    model = MessagePassingRegressor(**settings, validation_fraction=0.4).fit(X, y)
    new, truth = rng.normal(size=(200, 5)), rng.normal(size=200)
    scores = [norm.logpdf(truth, *each.predict(new, return_std=True)).mean() for each in (sure, model)]
    assert scores[1] > -1.6 and scores[1] > scores[0] + 0.3
