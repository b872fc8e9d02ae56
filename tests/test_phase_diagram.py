"""Sweeps of two parameters: phases known from elsewhere, continuation after a kill, figure."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from factorgraph.channels import Identity, Probit, Sign
from factorgraph.priors import Binary, GaussBernoulli
from models import Ensemble, phase_diagram
from models.phase_diagram import EASY, HARD, IMPOSSIBLE


def sparse_regression(ratio, density):
    return Ensemble(GaussBernoulli(density), [Identity()], [ratio])


def perceptron(ratio, noise):
    return Ensemble(Binary(), [Probit(1 / noise) if noise else Sign()], [ratio])


def test_noiseless_sparse_regression():
    """Impossible below α = ρ, easy above 0.4802 for ρ = 0.3 (``test_state_evolution``), hard between."""
    diagram = phase_diagram(sparse_regression, [0.25, 0.35, 0.45, 0.52], [0.3, 0.05], workers=1, progress=False)
    assert diagram.phase.tolist() == [[IMPOSSIBLE, HARD, HARD, EASY], [EASY, EASY, EASY, EASY]]
    assert np.all(diagram.best <= diagram.algorithm)


def test_perceptron():
    diagram = phase_diagram(perceptron, [1.1, 1.4, 1.6], [0.0], workers=2, progress=False)
    assert diagram.phase.tolist() == [[IMPOSSIBLE, HARD, EASY]]
    assert diagram.algorithm.shape == (1, 3)


def test_a_killed_sweep_continues(tmp_path, monkeypatch):
    path = tmp_path / "sweep.jsonl"
    x, y = [0.25, 0.52], [0.3, 0.2]
    whole = phase_diagram(sparse_regression, x, y, path=path, workers=1, progress=False)
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 5
    path.write_text("".join(lines[:3]) + lines[3][:9])  # two points, and a third that was being written
    computed = []

    def counted(ratio, density):
        computed.append((ratio, density))
        return sparse_regression(ratio, density)

    again = phase_diagram(counted, x, y, path=path, workers=1, progress=False)
    assert len(computed) == 2
    np.testing.assert_array_equal(again.phase, whole.phase)
    np.testing.assert_allclose(again.algorithm, whole.algorithm)
    assert path.read_text().splitlines(keepends=True) == lines
    with pytest.raises(ValueError, match="`path` must be a file of the same diagram"):
        phase_diagram(sparse_regression, [0.1], y, path=path, workers=1, progress=False)


def test_the_figure_names_the_phases():
    diagram = phase_diagram(sparse_regression, [0.25, 0.52], [0.3], workers=1, progress=False)
    _, axes = plt.subplots()
    diagram.draw(axes, labels=("α", "ρ"))
    legend = axes.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["easy", "impossible"]
    plt.close("all")


def test_wrong_arguments():
    with pytest.raises(ValueError, match="`x` must be finite numbers"):
        phase_diagram(sparse_regression, [np.nan], [0.3], progress=False)
