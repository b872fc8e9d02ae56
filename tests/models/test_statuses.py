"""How iterations end: a member of one enumeration in every public result, and never a state without meaning."""

import inspect

import numpy as np
import pytest
import tolerances as tol

import factorgraph
import models
from factorgraph import Graph, Pairwise, Status, infer
from factorgraph.channels import Absolute, Identity, Sign
from factorgraph.priors import Binary, GaussBernoulli, Gaussian
from models import (
    GLM,
    Ensemble,
    GaussianRows,
    Head,
    MarchenkoPastur,
    MatrixVAMP,
    MultiLayerGLM,
    lasso_path,
    learn,
    marchenko_pastur,
    matrix_state_evolution,
    state_evolution,
    vamp_state_evolution,
)

ENSEMBLE = Ensemble(Gaussian(), [Identity(0.1)], [1.5])
SAMPLE = ENSEMBLE.sample(40, 0)
HEAD, ROWS = Head([1.0], "relu", noise=0.1), GaussianRows(np.eye(1))
X = np.random.default_rng(0).standard_normal((30, 5)) / 5**0.5


def ring() -> Graph:
    graph = Graph()
    s = graph.spins("s", 5, field=0.1)
    graph.add(Pairwise(s, s[[1, 2, 3, 4, 0]], coupling=0.3))
    return graph


def glm() -> GLM:
    return GLM(Gaussian(), SAMPLE.weights[0], Identity(0.1))


#: For each result with a status, what makes one: with few iterations and with enough.
RESULTS = {
    "Result": [lambda n: infer(ring(), max_sweeps=n)],
    "Inference": [
        lambda n: glm().infer(SAMPLE.y, iterations=n),
        lambda n: glm().infer(SAMPLE.y, closure="vamp", iterations=n),
    ],
    "LassoPath": [lambda n: lasso_path(SAMPLE.weights[0], SAMPLE.y, [0.1, 0.01], iterations=n)],
    "Learned": [lambda n: learn(glm(), SAMPLE.y, rounds=n - 1, tolerance=1e-3)],
    "StateEvolution": [
        lambda n: state_evolution(ENSEMBLE, iterations=n),
        lambda n: vamp_state_evolution(Ensemble(Gaussian(), [Identity(0.1)], [1.5], [MarchenkoPastur()]), iterations=n),
    ],
    "MatrixInference": [lambda n: MatrixVAMP(ROWS, X, HEAD).infer(HEAD(X[:, :1]), nodes=9, iterations=n)],
    "MatrixStateEvolution": [
        lambda n: matrix_state_evolution(
            ROWS, HEAD, marchenko_pastur(30, 5), samples=30, inputs=5, nodes=9, points=64, iterations=n
        )
    ],
}


@pytest.mark.parametrize("name", RESULTS)
def test_every_result_has_a_status_of_the_one_enumeration(name):
    for make in RESULTS[name]:
        short, settled = make(1), make(200)
        assert type(short.status) is type(settled.status) is Status
        assert short.status is Status.NOT_CONVERGED and not short.converged
        assert settled.status is Status.CONVERGED and settled.converged
        if name != "Learned":
            assert short.message.startswith(short.status) and settled.message.startswith(settled.status)
            assert type(short.message) is type(settled.message) is str


def test_no_result_is_forgotten():
    """Those that say whether they have converged; each word of ``Decoded`` says so for itself."""
    exported = {name: getattr(package, name) for package in (factorgraph, models) for name in package.__all__}
    results = {name for name, kind in exported.items() if inspect.isclass(kind) and hasattr(kind, "converged")}
    assert results - {"Status", "Decoded"} == set(RESULTS)


# ---- restarts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closure", ["amp", "vamp"])
def test_no_run_ends_with_a_beginning(closure):
    """What begins again has nothing to say until its first iteration."""
    rng = np.random.default_rng(0)
    W, x = rng.standard_normal((60, 60)) / 60**0.5, rng.choice([-1.0, 1.0], 60)
    glm, y = GLM(Binary(), W, Absolute()), np.abs(W @ x)
    damping = np.array(glm.infer(y, closure=closure, tolerance=0.0, iterations=400).trace.damping)
    restarts = np.flatnonzero(np.diff(damping) > 0.0)  # from 0 in the first iteration to the next level
    assert restarts.size
    for iterations in (1, 2, *restarts[:2].tolist()):  # after 1 as well: this model does not see the sign
        result = glm.infer(y, closure=closure, tolerance=0.0, iterations=iterations)
        assert result.iterations == len(result.trace.damping) == len(result.trace.residual) == iterations
        assert np.isfinite(result.signal.mean).all() and np.isfinite(result.output.mean).all()


def test_a_run_begins_again_undamped():
    """Adaptive damping, where the matrix is far from what AMP is made for."""
    rng = np.random.default_rng(0)
    W = rng.standard_normal((40, 80)) @ np.diag(np.geomspace(1, 1e-3, 80)) + 1.0
    result = GLM(GaussBernoulli(0.1), W, Identity(1e-6)).infer(W @ rng.standard_normal(80), iterations=120)
    damping = np.array(result.trace.damping)
    raised = np.flatnonzero(np.diff(damping) < 0.0)
    assert damping[0] == 0.0 and damping.max() > 0.3 and raised.size and not damping[raised + 1].any()
    assert "outlying mean" in result.message


def test_state_evolution_is_damped_as_the_algorithm_is():
    """In the first iteration there is no old message."""
    model = Ensemble(GaussBernoulli(0.3), [Sign()], [1.5])
    errors = []
    for seed in range(4):
        sample = model.sample(2000, seed)
        glm = MultiLayerGLM(model.prior, sample.weights, model.channels)
        run = glm.infer(sample.y, damping=0.6, iterations=2, tolerance=0.0, truth=sample.signals)
        errors.append(run.trace.mse[1][0] / run.trace.mse[0][0])
    law = state_evolution(model, damping=0.6, iterations=2).mse[:, 0]
    bar = np.std(errors, ddof=1) / 2.0
    assert abs(np.mean(errors) - law[1] / law[0]) < tol.BARS * bar and bar < 0.03
