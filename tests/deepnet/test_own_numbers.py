"""Numbers as targets of files of the user's: what is learned, measured, predicted and told of them."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes

from deepnet import MessagePassingRegressor
from deepnet.app.cli import main
from deepnet.app.run import Run
from deepnet.app.told import Measured, gathered
from deepnet.average import uncertainty
from deepnet.data import DataError, Files, load_files
from deepnet.data.own import read_pieces
from deepnet.data.table import TEXT, Table
from deepnet.data.target import Classes, Numbers, fit_target
from deepnet.scores import coverage

DIABETES = load_diabetes()


def write_csv(path: Path, rows: list[list[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def diabetes_rows() -> list[list[Any]]:
    values = zip(DIABETES.data.tolist(), DIABETES.target.tolist(), strict=True)
    return [[*DIABETES.feature_names, "progression"], *([*x, y] for x, y in values)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("numbers")
    data = write_csv(folder / "diabetes.csv", diabetes_rows())
    argv = ["train", str(data), "--target", "progression", "--epochs", "20", "--out", str(folder / "run")]
    assert main([*argv, "--batch-size", "16"]) == 0
    return folder / "run"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", "b"] * 20, "classes"),
        ([1, 2, 3] * 20, "classes"),
        (["1", "2", "x"] * 20, "classes"),
        (list(range(20)), "classes"),
        (list(range(21)), "numbers"),
        (list(range(30)) * 20, "classes"),
        (list(range(30)) * 19, "numbers"),
        ([0.5, 1.0] * 20, "numbers"),
        (["0.5", "1e3", "?"] * 20, "numbers"),
    ],
)
def test_which_columns_are_numbers(values: list[Any], kind: str) -> None:
    """Texts, and whole numbers that are few or occur often, are classes."""
    column = np.array(values, dtype=TEXT if isinstance(values[0], str) else None)
    table = Table(Path("file"), {"y": column}, np.arange(len(values)))
    assert isinstance(fit_target(table, "y"), Classes if kind == "classes" else Numbers)


def test_the_scale_is_that_of_the_training_part(tmp_path: Path) -> None:
    files = Files(write_csv(tmp_path / "d.csv", diabetes_rows()), "progression")
    data = load_files(files)
    assert data.task == "regression" and data.labels == () and data.classes == 1 and data.numbers is not None
    assert abs(data.y_train.mean()) < 1e-12 and data.y_train.std() == pytest.approx(1.0)
    both = np.concatenate([data.numbers.decode(y) for y in (data.y_train, data.y_test)])
    np.testing.assert_allclose(np.sort(both), np.sort(DIABETES.target))
    counts = load_files(files, kind="counts")
    assert counts.numbers == Numbers(counts=True) and set(counts.y_train) <= set(DIABETES.target)
    assert len(load_files(files, kind="classes").labels) == len(set(DIABETES.target))


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ("?", None, "d.csv, line 8, column progression: must be a finite number, got ''"),
        ("much", None, "d.csv, line 8, column progression: must be a finite number, got 'much'"),
        ("1.5", "counts", "d.csv, line 8, column progression: must be a count, a whole number >= 0, got '1.5'"),
        ("-1", "counts", "d.csv, line 8, column progression: must be a count"),
    ],
)
def test_wrong_numbers_name_their_place(value: str, kind: str | None, message: str, tmp_path: Path) -> None:
    rows = diabetes_rows()
    rows[7][-1] = value
    with pytest.raises(DataError) as caught:
        load_files(Files(write_csv(tmp_path / "d.csv", rows), "progression"), kind=kind)
    assert message in str(caught.value)


def test_the_settings_are_those_of_the_regressor(trained: Path) -> None:
    run = Run.open(trained)
    config, defaults = run.description.config, MessagePassingRegressor()
    for name in ("activation", "weights", "closure", "output", "bias", "hidden"):
        assert getattr(config, name) == getattr(defaults, name)
    assert config.batch_size == 16 and run.description.classes == 1


def test_metrics_of_every_epoch(trained: Path) -> None:
    """In units of the targets; those of the last epoch are what the predictions themselves say."""
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 20
    run = Run.open(trained)
    network, data = run.load(), run.description.load_data()
    numbers = run.description.numbers
    assert numbers is not None
    told = gathered(trained, None).predicted
    assert isinstance(told, Measured)
    y = numbers.decode(data.y_test)
    np.testing.assert_allclose(told.y, y)
    last = lines[-1]
    assert last["bayes_test_error"] == pytest.approx(np.sqrt(np.mean((told.mean - y) ** 2)), rel=1e-4)
    law = -0.5 * (np.log(2 * np.pi * told.deviation**2) + ((told.mean - y) / told.deviation) ** 2)
    assert last["test_log_likelihood"] == pytest.approx(law.mean(), rel=1e-4)
    assert last["test_coverage"] == coverage(told.mean, told.deviation, y) and 0.8 < last["test_coverage"] <= 1.0
    assert last["bayes_test_error"] < 0.9 * np.std(y) < lines[0]["bayes_train_error"] * 1.2
    total = uncertainty(network, data.x_test).total
    np.testing.assert_allclose(total, 0.5 * np.log(2 * np.pi * np.e * (told.deviation / numbers.scale) ** 2), rtol=1e-4)


def test_evaluating(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(trained), "--json"]) == 0
    found, last = (
        json.loads(capsys.readouterr().out),
        json.loads((trained / "metrics.jsonl").read_text().split("\n")[-2]),
    )
    for name in ("test_error", "bayes_test_error", "test_log_likelihood", "test_coverage"):
        assert found[name] == last[name]
    assert (trained / "reliability.png").exists()
    data = trained.parent / "diabetes.csv"
    assert main(["evaluate", str(trained), str(data), "--json", "--no-plot", "--ood", str(data)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ood"]["entropy"]["auroc"] == 0.5 and 40 < found["bayes_test_error"] < 70
    assert main(["evaluate", str(trained), "--no-plot"]) == 0
    assert "root mean square error" in (said := capsys.readouterr().out) and "coverage" in said
    assert main(["evaluate", str(trained), "digits"]) == 2
    assert (
        "the data set must be a file with a column of numbers for this network, got digits" in capsys.readouterr().err
    )


def test_predictions_are_means_and_deviations(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same whatever the pieces, which is all that is in memory."""
    rows = [row[:-1] for row in diabetes_rows()]
    new = write_csv(tmp_path / "new.csv", rows)
    assert main(["predict", str(trained), str(new), "--out", str(tmp_path / "p.csv")]) == 0
    head, *lines = csv.reader((tmp_path / "p.csv").read_text().splitlines())
    assert head == ["mean", "deviation"] and len(lines) == len(rows) - 1
    mean, deviation = np.array(lines, dtype=float).T
    assert np.corrcoef(mean, DIABETES.target)[0, 1] > 0.6 and 0 < deviation.min()
    assert 0.85 < coverage(mean, deviation, DIABETES.target) <= 1.0
    sizes: list[int] = []

    def in_pieces(path: Path, **options: Any) -> Iterator[Table]:
        for table in read_pieces(path, size=50, **options):
            sizes.append(len(table))
            yield table

    monkeypatch.setattr("deepnet.data.own.read_pieces", in_pieces)
    assert main(["predict", str(trained), str(new)]) == 0
    assert capsys.readouterr().out.endswith((tmp_path / "p.csv").read_text()) and max(sizes) == 50


@pytest.mark.parametrize("shift", [0.0, 3e9, -3e9])
def test_predictions_of_large_numbers_keep_their_digits(shift: float, tmp_path: Path) -> None:
    """Differences between rows are told as finely as those between numbers around 0."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    y = shift + x @ [1.0, -2.0]
    data = write_csv(tmp_path / "c.csv", [["a", "b", "y"], *([*row, n] for row, n in zip(x, y.tolist(), strict=True))])
    argv = ["train", str(data), "--target", "y", "--hidden", "5", "--epochs", "15", "--no-plot"]
    assert main([*argv, "--out", str(tmp_path / "run")]) == 0
    assert main(["predict", str(tmp_path / "run"), str(data), "--out", str(tmp_path / "p.csv")]) == 0
    mean = np.loadtxt(tmp_path / "p.csv", delimiter=",", skiprows=1)[:, 0]
    assert len(np.unique(mean)) == 60 and np.corrcoef(mean - shift, y - shift)[0, 1] > 0.8


def test_settings_are_listed_where_they_are_given(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(trained)]) == 0
    printed = capsys.readouterr().out
    assert "noise-variance" not in printed and "mass" not in printed and "None" not in printed
    argv = ["train", str(trained.parent / "diabetes.csv"), "--target", "progression", "--epochs", "0"]
    assert main([*argv, "--noise-variance", "0.5", "--out", str(trained.parent / "given")]) == 0
    assert "\n  noise-variance 0.5\n" in capsys.readouterr().out


def test_counts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    y = rng.poisson(np.exp(1.0 + x[:, 0]))
    data = write_csv(tmp_path / "c.csv", [["a", "b", "n"], *([*row, n] for row, n in zip(x, y, strict=True))])
    argv = ["train", str(data), "--target", "n", "--output", "poisson", "--epochs", "15", "--no-plot"]
    assert main([*argv, "--out", str(tmp_path / "run")]) == 0
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().split("\n")[-2])
    assert last["bayes_test_error"] < 0.8 * y.std() and last["test_log_likelihood"] > -2.5
    assert main([*argv[:4], "--resume", "--epochs", "16", "--no-plot", "--out", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stratify"], "`stratify` must be left out for a target of numbers"),
        (["--output", "poisson", "--noise-variance", "1"], "`noise_variance` must be left alone with output 'poisson'"),
        (["--algorithm", "ebp"], "`output` must be of another kind with algorithm 'ebp'"),
        (["--output", "gaussian", "--label-noise", "0.1"], "`label_noise` must be 0 for an output of numbers"),
    ],
)
def test_options_that_do_not_fit(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_csv(tmp_path / "d.csv", diabetes_rows())
    argv = ["train", str(data), "--target", "progression", "--no-plot", "--out", str(tmp_path / "run")]
    assert main([*argv, *options]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_the_page(trained: Path) -> None:
    assert main(["report", str(trained)]) == 0
    page = (trained / "report.html").read_text()
    for text in ("Targets of the test set against their means", "Coverage: how many targets", "most deviations off"):
        assert text in page
    assert "Confusion" not in page and "error (%)" not in page and page.count("<img ") == 6


def test_a_description_comes_back(trained: Path) -> None:
    description = Run.open(trained).description
    assert type(description).from_json(description.to_json()) == description
    record = json.loads(description.to_json())
    for wrong in (None, {"mean": 0.0}, {"mean": 0.0, "scale": 0.0, "counts": False}):
        with pytest.raises(ValueError, match="`numbers"):
            type(description).from_json(json.dumps(record | {"numbers": wrong}))
