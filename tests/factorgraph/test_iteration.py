"""The driver itself: every status, counts, tolerance, callbacks, progress, damping and its restarts."""

import ast
import math
import warnings
from pathlib import Path

import numpy as np
import pytest

import factorgraph
from factorgraph.iteration import LEVELS, DampingLevels, Report, Status, Turn, iterate

ROOT = Path(factorgraph.__file__).resolve().parent.parent


class Recorded:
    """Steps with given residuals, which record what they are told."""

    def __init__(self, residuals, steps=1):
        self.residuals, self.steps = iter(residuals), steps
        self.turns: list[Turn] = []
        self.beginnings = 0

    def step(self, turn):
        self.turns.append(turn)
        return turn.judge(next(self.residuals), steps=min(self.steps, turn.left), extra=len(self.turns))

    def begin(self):
        self.beginnings += 1


@pytest.mark.parametrize(
    "residuals, options, status, steps",
    [
        ([], {"limit": 0}, Status.NOT_CONVERGED, 0),
        ([0.5, 0.4, 0.3], {"limit": 3}, Status.NOT_CONVERGED, 3),
        ([0.5, 0.1, 0.3], {"tolerance": 0.1}, Status.CONVERGED, 2),
        ([0.5, 0.1, 0.0], {"tolerance": 0.0}, Status.CONVERGED, 3),
        ([0.5, 0.1], {"tolerance": 0.1, "limit": 2}, Status.CONVERGED, 2),
        ([0.5, math.inf], {}, Status.DIVERGED, 2),
        ([math.nan], {}, Status.DIVERGED, 1),
        ([0.5, 0.4, 0.3], {"callback": lambda n, residual: residual < 0.45}, Status.STOPPED, 2),
        ([0.5, 0.4, 0.3], {"callback": lambda n, residual: n == 3, "limit": 3}, Status.STOPPED, 3),
        ([0.5, 0.05], {"callback": lambda n, residual: residual < 0.1, "tolerance": 0.1}, Status.CONVERGED, 2),
        ([math.inf], {"callback": lambda n, residual: True}, Status.DIVERGED, 1),
    ],
)
def test_every_status(residuals, options, status, steps):
    run = iterate(Recorded(residuals).step, **{"limit": 9, "tolerance": 1e-9} | options)
    assert (run.status, run.steps) == (status, steps)
    np.testing.assert_equal(run.residuals, residuals[:steps])
    assert run.damping == [0.0] * steps
    assert (run.last is None) == (steps == 0) and (run.last is None or run.last.extra == steps)


def test_what_a_step_is_told():
    process = Recorded([0.5, 0.4, 0.3])
    iterate(process.step, limit=3, tolerance=0.01, policy=DampingLevels(0.7))
    assert [turn.damping for turn in process.turns] == [0.0, 0.7, 0.7], "nothing is old in the first step"
    assert [turn.left for turn in process.turns] == [3, 2, 1]
    assert {turn.tolerance for turn in process.turns} == {0.01}
    first, *others = [turn.previous for turn in process.turns]
    assert first is None and [(report.residual, report.extra) for report in others] == [(0.5, 1), (0.4, 2)]


def test_steps_that_stand_for_several():
    seen = []
    process = Recorded([0.5, 0.4, 0.3], steps=4)
    run = iterate(process.step, limit=10, tolerance=0.0, callback=lambda *args: seen.append(args))
    assert run.steps == 10 and seen == [(4, 0.5), (8, 0.4), (10, 0.3)] and len(run.residuals) == 3


def test_warnings_are_off_in_steps_only():
    def step(turn):
        return turn.judge(float(np.log(np.zeros(1))[0] + math.inf))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert iterate(step, limit=1, tolerance=0.0).status is Status.DIVERGED
    with pytest.warns(RuntimeWarning, match="divide"):
        iterate(Recorded([0.5]).step, limit=1, tolerance=0.0, callback=lambda *_: np.log(np.zeros(1)))


def test_progress_is_shown_if_it_has_a_name(capsys):
    iterate(Recorded([0.5, 0.1]).step, limit=5, tolerance=0.1)
    assert not capsys.readouterr().err
    iterate(Recorded([0.5, 0.1]).step, limit=5, tolerance=0.1, progress="round")
    shown = capsys.readouterr().err
    assert "round" in shown and "2/5" in shown and "residual=1.0e-01" in shown


# ---- restarts --------------------------------------------------------------------------------------------------------


def run_levels(residuals, levels, **options):
    process = Recorded(residuals)
    run = iterate(
        process.step, policy=DampingLevels(*levels), begin=process.begin, **{"limit": 400, "tolerance": 0.0} | options
    )
    return run, process


def test_divergence_begins_again_with_more_damping_until_there_is_none():
    run, process = run_levels([0.5, math.inf, 0.5, 0.4, math.inf, 0.5, 0.3, math.inf], (0.0, 0.3, 0.9))
    assert run.status is Status.DIVERGED and run.steps == 8 and process.beginnings == 2
    assert run.damping == [0.0, 0.0, 0.0, 0.3, 0.3, 0.0, 0.9, 0.9]
    assert [turn.previous is None for turn in process.turns] == [n in (0, 2, 5) for n in range(8)]


def test_what_converges_after_a_restart_has_converged():
    run, process = run_levels([0.5, math.nan, 0.5, 0.0], (0.0, 0.5))
    assert run.status is Status.CONVERGED and run.steps == 4 and process.beginnings == 1


@pytest.mark.parametrize("falls", [1, 10, 30])
def test_no_new_minimum_begins_again_after_a_time_that_grows_with_the_way_to_it(falls):
    """The first residual compares with nothing and does not count."""
    residuals = [1.0, *np.linspace(0.5, 0.9, falls)[::-1], *[0.6] * 400]
    run, process = run_levels(residuals, (0.0, 0.5), limit=len(residuals))
    restart = next(n for n, turn in enumerate(process.turns) if n and turn.previous is None)
    assert restart == 1 + falls + 50 + falls + 1
    assert process.beginnings == 1, "there is no third level"
    assert run.status is Status.NOT_CONVERGED and run.damping[-1] == 0.5


def test_that_time_is_one_of_steps_not_of_reports_that_stand_for_several():
    process = Recorded([1.0, 0.5, *[0.6] * 400], steps=5)
    iterate(process.step, policy=DampingLevels(0.0, 0.5), begin=process.begin, limit=400, tolerance=0.0)
    restart = next(n for n, turn in enumerate(process.turns) if n and turn.previous is None)
    assert restart == 1 + (5 + 50 + 5) // 5 + 1


def test_constant_damping_never_begins_again():
    run, process = run_levels([0.5] * 400, (0.4,))
    assert run.status is Status.NOT_CONVERGED and run.steps == 400 and process.beginnings == 0


@pytest.mark.parametrize("residuals, status", [([0.5, math.inf], Status.DIVERGED), ([0.5] * 54, Status.NOT_CONVERGED)])
def test_no_restart_without_a_step_left(residuals, status):
    """Else nothing would be left of the run but its beginning."""
    run, process = run_levels(residuals, LEVELS, limit=len(residuals))
    assert run.status is status and process.beginnings == 0
    more, process = run_levels([*residuals, 0.0], LEVELS, limit=len(residuals) + 1)
    assert more.status is Status.CONVERGED and process.beginnings == 1


def test_a_stop_is_final():
    run, process = run_levels([0.5] * 60, LEVELS, callback=lambda n, _: n == 54)
    assert run.status is Status.STOPPED and process.beginnings == 0


def test_any_policy_may_overrule_what_a_step_says():
    """As where a fixed point is worth nothing."""

    class Other:
        damping, left = 0.25, 1

        def begins_again(self, turn: Turn, report: Report) -> bool:
            self.left -= report.status is Status.CONVERGED
            return report.status is Status.CONVERGED and self.left >= 0

    process = Recorded([0.5, 0.0, 0.5, 0.4, 0.0])
    run = iterate(process.step, limit=9, tolerance=0.0, policy=Other(), begin=process.begin)
    assert run.status is Status.CONVERGED and run.steps == 5 and process.beginnings == 1
    assert run.damping == [0.0, 0.25, 0.0, 0.25, 0.25]


@pytest.mark.parametrize("value", ["often", -0.1, 1.0, math.nan, None, [0.5]])
def test_damping_is_a_number_or_adaptive(value):
    with pytest.raises(ValueError, match=r"`damping` must be 'adaptive' or a number in \[0, 1\), got"):
        DampingLevels.of(value)
    assert DampingLevels.of("adaptive").damping == LEVELS[0] and DampingLevels.of(0.3).damping == 0.3


# ---- status ----------------------------------------------------------------------------------------------------------


def test_values_are_words_that_compare_as_such():
    assert Status.CONVERGED == "converged" and f"{Status.NOT_CONVERGED}" == "not converged"
    assert {status for status in Status if status.converged} == {Status.EXACT, Status.CONVERGED}
    assert Status.DIVERGED.explained("try damping") == "diverged: try damping"
    assert Status.STOPPED.explained("") == "stopped" and type(Status.STOPPED.explained("")) is str


def test_there_is_one_status():
    """No other enumeration, and no word for a status in a string of its own; "exact" has other meanings too."""
    found, words = [], set(Status) - {Status.EXACT}
    for package in ("factorgraph", "models", "deepnet"):
        for path in (ROOT / package).rglob("*.py"):
            if path == ROOT / "factorgraph" / "iteration.py":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and node.value in words:
                    found.append(f"{path}:{node.lineno}: {node.value}")
                if isinstance(node, ast.ClassDef) and node.name.endswith("Status"):
                    found.append(f"{path}:{node.lineno}: class {node.name}")
    assert not found, found
