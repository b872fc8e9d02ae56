"""Random graphs with extreme numbers: what a run claims is true, and only our own errors and no warning leave it."""

import math

import extreme_graphs
import mpmath as mp
import numpy as np
import pytest
import tolerances as tol
from members import LOOPY

from factorgraph import ContradictionError, IndefiniteError, ModelError, Status, infer
from factorgraph.engine.exactness import is_exact

SCHEDULES = ["auto", *LOOPY]


def run(seed):
    """The spec, and what a run by a random schedule says: a result, or one of our errors."""
    rng, spec = np.random.default_rng(seed), extreme_graphs.draw(seed)
    schedule = str(rng.choice(SCHEDULES)) if rng.random() < 0.5 else "auto"
    damped = schedule != "auto" and rng.random() < 0.4
    options = {} if schedule == "auto" else {"damping": 0.3 * damped, "tolerance": 1e-14, "max_sweeps": 500}
    graph, observed = extreme_graphs.model_of(spec)
    try:
        return spec, infer(graph, observed=observed, schedule=schedule, **options)
    except (ContradictionError, IndefiniteError, ModelError) as error:
        return spec, error


def scale(truth, others):
    """How far rounding of the numbers given moves a number."""
    return tol.CONDITION * max(abs(other - truth) for other in others)


def check(seed):
    """Whether the claims of a run were compared with the truth; fails where one is false."""
    spec, result = run(seed)
    if isinstance(result, Exception) or not result.converged:
        return False
    names = [name for name in ("s", "x") if name in result.graph.layout.shapes]
    mean, variance = (np.concatenate([getattr(result[name], what) for name in names]) for what in ("mean", "variance"))
    assert np.isfinite(mean).all() and np.isfinite(variance).all() and (variance >= 0.0).all(), seed
    assert math.isfinite(result.log_partition), seed
    if not (result.graph.is_forest and is_exact(result.graph, result.potentials)):
        return False
    truth = extreme_graphs.solve(spec)
    assert isinstance(truth, tuple), f"{seed}: {result} for a model without a law"
    shaken = [extreme_graphs.solve(spec, np.random.default_rng(k)) for k in range(2)]
    if not all(isinstance(other, tuple) for other in shaken):
        return False
    for i in range(len(mean)):
        m, v = truth[1][i], truth[2][i]
        spin = 0.1 if i < spec.spins else 0.0
        moved = scale(m, [other[1][i] for other in shaken]) + 1e-15 * abs(m)
        assert abs(mean[i] - m) <= tol.CLAIM * (mp.sqrt(v) + spin) + moved, f"{seed}: mean of {i}, {float(m)}"
        moved = scale(v, [other[2][i] for other in shaken]) + mp.mpf("1e-180") * m * m  # of 100 digits
        assert abs(variance[i] - v) <= tol.CLAIM * (v + spin) + moved, f"{seed}: variance of {i}, {float(v)}"
    return True


@pytest.mark.parametrize("start", range(0, 600, 100))
def test_claims_about_graphs_with_extreme_numbers_are_true(start):
    with mp.workdps(100):
        assert sum(check(seed) for seed in range(start, start + 100)) > 25


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 4000, 500))
def test_claims_about_many_graphs_with_extreme_numbers_are_true(start):
    with mp.workdps(100):
        assert sum(check(seed) for seed in range(start, start + 500)) > 125


@pytest.mark.parametrize("start", range(0, 600, 150))
def test_forests_with_a_law_are_solved(start):
    """Two passes over a forest end in an error only where there is no law."""
    with mp.workdps(100):
        for seed in range(start, start + 150):
            spec, result = run(seed)
            if isinstance(result, Exception) and not isinstance(result, ModelError):
                truth = extreme_graphs.solve(spec) if "got 0;" not in str(result) else None
                graph, observed = extreme_graphs.model_of(spec)
                try:
                    infer(graph, observed=observed, schedule="two-pass")
                except ValueError as error:
                    assert "two-pass" in str(error) or not isinstance(truth, tuple), f"{seed}: {error}"
            elif not isinstance(result, Exception) and result.graph.is_forest:
                assert result.status is not Status.DIVERGED or not isinstance(extreme_graphs.solve(spec), tuple), seed
