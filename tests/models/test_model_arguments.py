"""Every public entry point of the models with every kind of wrong value: an error of ours that names the argument."""

import copy
import pickle

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator
from wrong_values import WRONG, check_refusals

import models
from factorgraph.channels import Identity, Probit, Sign
from factorgraph.priors import Binary, Gaussian
from models import (
    GLM,
    Committee,
    Empirical,
    Ensemble,
    GaussianRows,
    Geometric,
    Head,
    MarchenkoPastur,
    MatrixVAMP,
    MultiLayerGLM,
    Perceptron,
    RowOrthogonal,
    algorithmic_threshold,
    fixed_point_free_entropy,
    free_entropy,
    generalisation_error,
    information_threshold,
    lasso_path,
    learn,
    marchenko_pastur,
    matrix_state_evolution,
    phase_diagram,
    preactivation_errors,
    state_evolution,
    vamp_state_evolution,
)

RNG = np.random.default_rng(0)
W, X, LABELS = RNG.normal(size=(7, 4)) / 2.0, RNG.normal(size=(7, 4)), np.array([1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0])
MODEL, ENSEMBLE = GLM(Gaussian(), W, Identity(0.1)), Ensemble(Gaussian(), [Identity(0.1)], [1.5])
LAW = state_evolution(ENSEMBLE, iterations=3)
ROWS, HEAD = GaussianRows(np.eye(2)), Head([1.0, -1.0], noise=0.1)
MATRIX = MatrixVAMP(ROWS, X, HEAD)
POSITIVE, POSITIVE_INTEGER = ("float",), ()
NUMBER = ("float", "negative")
EVOLUTION = {"start": (), "iterations": (), "tolerance": POSITIVE, "damping": ()}


def with_option(call, name):
    return lambda value: call(**{name: value})


#: By entry point and argument: a call with one value, and the labels of the wrong values that are right there.
TABLE = {
    "GLM": {
        "prior": (lambda v: GLM(v, W, Sign()), ()),
        "weights": (lambda v: GLM(Gaussian(), v, Sign()), ("column",)),
        "channel": (lambda v: GLM(Gaussian(), W, v), ()),
        "mean_square": (lambda v: GLM(Gaussian(), W, Sign(), mean_square=v), ("None", "float")),
        "y": (MODEL.infer, ("column",)),
        **{
            name: (with_option(lambda **o: MODEL.infer(np.ones(7), **o), name), accepts)
            for name, accepts in {
                "closure": (), "damping": (), "tolerance": POSITIVE, "iterations": (), "start": (), "reinforcement": (),
                "maximum": (),
                "truth": ("None", "empty list"), "callback": ("None", "lambda", "type"), "rng": ("None",),
            }.items()
        },
    },
    "MultiLayerGLM": {
        "weights": (lambda v: MultiLayerGLM(Gaussian(), v, [Sign()]), ()),
        "weights[0]": (lambda v: MultiLayerGLM(Gaussian(), [v], [Sign()]), ("column",)),
        "channels": (lambda v: MultiLayerGLM(Gaussian(), [W], v), ()),
        "mean_square": (lambda v: MultiLayerGLM(Gaussian(), [W], [Sign()], mean_square=[v]), ("None", "float")),
    },
    "Ensemble": {
        "prior": (lambda v: Ensemble(v, [Sign()], [1.0]), ()),
        "channels": (lambda v: Ensemble(Gaussian(), v, [1.0]), ()),
        "ratios": (lambda v: Ensemble(Gaussian(), [Sign()], v), ()),
        "spectra": (lambda v: Ensemble(Gaussian(), [Sign()], [1.0], v), ("None",)),
        "n": (ENSEMBLE.sample, ()),
        "rng": (lambda v: ENSEMBLE.sample(5, v), ("None",)),
    },
    "Perceptron": {
        "prior": (Perceptron, ("None",)),
        "channel": (lambda v: Perceptron(channel=v), ("None",)),
        "reinforcement": (lambda v: Perceptron(reinforcement=v), ()),
        "iterations": (lambda v: Perceptron(iterations=v), ()),
        "X": (lambda v: Perceptron().fit(v, LABELS), ("column",)),
        "y": (lambda v: Perceptron().fit(X, v), ()),
    },
    "Committee": {
        "second": (Committee, ("float", "negative")),
        "prior": (lambda v: Committee([1.0], v), ("None",)),
        "rng": (lambda v: Committee([1.0], rng=v), ("None",)),
        "X": (lambda v: Committee([1.0]).fit(v, LABELS), ("column",)),
        "y": (lambda v: Committee([1.0]).fit(X, v), ()),
    },
    "Geometric": {"condition": (Geometric, POSITIVE), "fast": (lambda v: Geometric(2.0, fast=v), ())},
    "Empirical": {"values": (Empirical, ()), "fast": (lambda v: Empirical([1.0], fast=v), ())},
    "RowOrthogonal": {"fast": (lambda v: RowOrthogonal(fast=v), ()), "ratio": (RowOrthogonal().eigenvalues, POSITIVE)},
    "MarchenkoPastur": {
        "ratio": (MarchenkoPastur().eigenvalues, POSITIVE),
        "rows": (lambda v: MarchenkoPastur().sample(v, 3, RNG), ()),
        "columns": (lambda v: MarchenkoPastur().sample(3, v, RNG), ()),
    },
    "state_evolution": {
        "model": (state_evolution, ()),
        "truth": (lambda v: state_evolution(ENSEMBLE, truth=v), ("None",)),
        **{k: (with_option(lambda **o: state_evolution(ENSEMBLE, **o), k), a) for k, a in EVOLUTION.items()},
    },
    "vamp_state_evolution": {
        "model": (vamp_state_evolution, ()),
        "truth": (lambda v: vamp_state_evolution(ENSEMBLE, truth=v), ("None",)),
        **{k: (with_option(lambda **o: vamp_state_evolution(ENSEMBLE, **o), k), a) for k, a in EVOLUTION.items()},
    },
    "free_entropy": {
        "model": (lambda v: free_entropy(v, [0.5], [1.0]), ()),
        "variances": (lambda v: free_entropy(ENSEMBLE, v, [1.0]), ()),
        "precisions": (lambda v: free_entropy(ENSEMBLE, [0.5], v), ()),
    },
    "fixed_point_free_entropy": {"result": (lambda v: fixed_point_free_entropy(ENSEMBLE, v), ())},
    **{
        call.__name__: {
            "family": (lambda v, call=call: call(v, 0.1, 0.2), ()),
            "low": (lambda v, call=call: call(lambda _: ENSEMBLE, v, -5.0), ()),
            "high": (lambda v, call=call: call(lambda _: ENSEMBLE, 5.0, v), ()),
            "xtol": (lambda v, call=call: call(lambda _: None, 0.1, 0.2, xtol=v), ()),
        }
        for call in (information_threshold, algorithmic_threshold)
    },
    **{
        call.__name__: {
            "model": (lambda v, call=call: call(v, LAW), ()),
            "result": (lambda v, call=call: call(ENSEMBLE, v), ()),
            "truth": (lambda v, call=call: call(ENSEMBLE, LAW, v), ("None",)),
        }
        for call in (preactivation_errors, generalisation_error)
    },
    "lasso_path": {
        "X": (lambda v: lasso_path(v, np.ones(7), count=2), ("column",)),
        "y": (lambda v: lasso_path(W, v, count=2), ()),
        "penalties": (lambda v: lasso_path(W, np.arange(7.0), v), ("None",)),
        "count": (lambda v: lasso_path(W, np.arange(7.0), count=v), ()),
        "smallest": (lambda v: lasso_path(W, np.arange(7.0), count=2, smallest=v), ()),
        "tolerance": (lambda v: lasso_path(W, np.arange(7.0), count=2, tolerance=v), POSITIVE),
        "iterations": (lambda v: lasso_path(W, np.arange(7.0), count=2, iterations=v), ()),
    },
    "learn": {
        "model": (lambda v: learn(v, np.ones(7)), ()),
        "y": (lambda v: learn(MODEL, v, rounds=1), ("column",)),
        "rounds": (lambda v: learn(MODEL, np.ones(7), rounds=v), ()),
        "tolerance": (lambda v: learn(MODEL, np.ones(7), tolerance=v), POSITIVE),
        "fixed": (lambda v: learn(MODEL, np.ones(7), fixed=v), ("empty list", "empty array")),
    },
    "GaussianRows": {
        "covariance": (GaussianRows, ()),
        "mean": (lambda v: GaussianRows(np.eye(2), v), NUMBER),
        "rows": (ROWS.sample, ()),
        "rng": (lambda v: ROWS.sample(2, v), ("None",)),
    },
    "Head": {
        "weights": (lambda v: Head(v, noise=1.0), ("column",)),
        "activation": (lambda v: Head([1.0], v, noise=1.0), ()),
        "noise": (lambda v: Head([1.0], noise=v), POSITIVE),
        "bias": (lambda v: Head([1.0], noise=1.0, bias=v), NUMBER),
        "hidden_bias": (lambda v: Head([1.0], noise=1.0, hidden_bias=v), NUMBER),
        "Z": (HEAD, ()),
    },
    "MatrixVAMP": {
        "prior": (lambda v: MatrixVAMP(v, X, HEAD), ()),
        "X": (lambda v: MatrixVAMP(ROWS, v, HEAD), ("column",)),
        "head": (lambda v: MatrixVAMP(ROWS, X, v), ()),
        "intercept": (lambda v: MatrixVAMP(ROWS, X, HEAD, intercept=v), POSITIVE),
        "Y": (MATRIX.infer, ("column",)),
        **{
            name: (with_option(lambda **o: MATRIX.infer(np.ones(7), **o), name), accepts)
            for name, accepts in {
                "method": (), "damping": (), "tolerance": POSITIVE, "iterations": (), "nodes": (), "start": (),
                "truth": ("None",), "callback": ("None", "lambda", "type"), "rng": ("None",),
            }.items()
        },
    },
    "matrix_state_evolution": {
        "prior": (lambda v: matrix_state_evolution(v, HEAD, np.ones(4), samples=7, inputs=4), ()),
        "head": (lambda v: matrix_state_evolution(ROWS, v, np.ones(4), samples=7, inputs=4), ()),
        "spectrum": (lambda v: matrix_state_evolution(ROWS, HEAD, v, samples=7, inputs=4), ()),
        "samples": (lambda v: matrix_state_evolution(ROWS, HEAD, np.ones(4), samples=v, inputs=4), ()),
        "points": (lambda v: matrix_state_evolution(ROWS, HEAD, np.ones(4), samples=7, inputs=4, points=v), ()),
        "method": (lambda v: matrix_state_evolution(ROWS, HEAD, np.ones(4), samples=7, inputs=4, method=v), ()),
    },
    "marchenko_pastur": {
        "samples": (lambda v: marchenko_pastur(v, 3), ()),
        "inputs": (lambda v: marchenko_pastur(3, v), ()),
        "variance": (lambda v: marchenko_pastur(3, 3, v), ("None", "float")),
    },
    "phase_diagram": {
        "family": (lambda v: phase_diagram(v, [0.1], [0.1], progress=False), ()),
        "x": (lambda v: phase_diagram(lambda *_: ENSEMBLE, v, [0.1], progress=False), ()),
        "y": (lambda v: phase_diagram(lambda *_: ENSEMBLE, [0.1], v, progress=False), ()),
        **{
            name: (with_option(lambda **o: phase_diagram(lambda *_: ENSEMBLE, [0.1], [0.1], **o), name), accepts)
            for name, accepts in {"success": POSITIVE, "workers": ("None",), "iterations": (), "progress": ()}.items()
        },
    },
}  # fmt: skip
#: Of which any integer is one; functions, of which only a call tells whether they are of the right kind.
UNBOUNDED, FUNCTIONS = {"iterations", "rounds", "rng", "workers"}, {"callback", "family"}
RESULTS = {
    "Estimate", "Inference", "LassoPath", "Learned", "MatrixInference", "MatrixStateEvolution", "PhaseDiagram",
    "Sample", "Spectrum", "StateEvolution",
}  # fmt: skip


def test_the_table_is_complete():
    assert set(TABLE) == set(models.__all__) - RESULTS


@pytest.mark.parametrize(("entry", "name"), [(entry, name) for entry, table in TABLE.items() for name in table])
def test_wrong_values_are_refused_by_name(entry, name):
    call, accepts = TABLE[entry][name]
    huge = {"huge"} if name in UNBOUNDED else set()
    wrong = {label: value for label, value in WRONG.items() if name not in FUNCTIONS or not callable(value)}
    names = {"xtol": ("xtol", "family")}.get(name, (name, f"{name}[0]"))
    check_refusals(call, *names, accepts={*accepts, *huge} & set(wrong), wrong=wrong)


def test_paths_that_are_none():
    for path in (3.5, b"x", [], "", object()):
        with pytest.raises(ValueError, match="`path` must be"):
            phase_diagram(lambda *_: ENSEMBLE, [0.1], [0.1], path=path, progress=False)


def test_complex_matrices_of_any_form():
    for matrix in (W + 1j, sparse.csr_array(W + 1j), aslinearoperator(W + 1j)):
        with pytest.raises(ValueError, match=r"`weights` must be .* real numbers"):
            GLM(Gaussian(), matrix, Sign(), mean_square=0.25)


@pytest.mark.parametrize("options", [{}, {"reinforcement": 0.01}])
def test_labels_are_never_broadcast(options):
    for labels in (LABELS[:, None], LABELS[None], LABELS[:1], 1.0):
        with pytest.raises(ValueError, match=r"`y` must be of shape \(7,\)"):
            Perceptron(**options).fit(X, labels)


def test_the_advice_about_operators_is_right():
    """Rows of norm 1, columns of norm 1, and the estimate by random signs."""
    operator = aslinearoperator(W)
    with pytest.raises(ValueError, match=r"1/inputs for rows of norm 1 and 1/outputs for columns of norm 1"):
        GLM(Gaussian(), operator, Sign())
    rows, columns = W / np.linalg.norm(W, axis=1, keepdims=True), W / np.linalg.norm(W, axis=0)
    assert np.mean(rows**2) == pytest.approx(1 / 4) and np.mean(columns**2) == pytest.approx(1 / 7)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(4, 100_000))
    assert np.mean((W @ signs) ** 2) / 4 == pytest.approx(np.mean(W**2), rel=0.02)


def test_sizes_of_numpy():
    sample = ENSEMBLE.sample(np.int64(6), np.int32(1))
    result = GLM(Gaussian(), sample.weights[0], Identity(0.1)).infer(sample.y, iterations=np.int64(50), rng=np.uint8(3))
    assert result.iterations <= 50
    assert MATRIX.infer(np.ones(7), iterations=np.int8(2), nodes=np.int64(8)).iterations <= 2


def test_results_are_ordinary_objects():
    """They can be pickled and copied, and their names fit on one screen of any terminal."""
    y = Probit(1.0).sample(W @ np.ones(4), np.random.default_rng(0))
    results = [
        GLM(Binary(), W, Probit(1.0)).infer(y),
        GLM(Binary(), W, Probit(1.0)).infer(y, closure="vamp"),
        Perceptron(damping=0.3).fit(X, LABELS),
        MATRIX.infer(np.ones(7), iterations=3),
        state_evolution(ENSEMBLE),
        phase_diagram(lambda *_: ENSEMBLE, np.arange(1.0, 40.0), [0.1], workers=1, iterations=1, progress=False),
        learn(MODEL, np.ones(7), rounds=1),
        ENSEMBLE.sample(500, 0),
        MODEL,
    ]
    for result in results:
        for other in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
            assert type(other) is type(result)
        text = repr(result)
        assert len(text.splitlines()) <= 24 and len(text) <= 24 * 80
        text.encode("ascii")
