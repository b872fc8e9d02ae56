"""The figures of ``examples/paper/figures.py``, on a small cut of their specifications."""

import csv
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from deepnet.app.cli import main as deepnet

PAPER = Path(__file__).resolve().parent.parent / "examples" / "paper"

#: In the place of the data set and the size of the paper's runs.
SMALL = {
    'dataset = "mnist"': 'dataset = "digits"',
    'dataset = "fashion-mnist"': 'dataset = "digits"',
    "hidden = [101, 101]": "hidden = [9, 9]",
    "hidden = [501, 501]": "hidden = [9, 9]",
    "epochs = 100": "epochs = 2",
    "seeds = 5": "seeds = 2",
    '"BinaryNet" = { algorithm = "binarynet" }': '"EBP" = { algorithm = "ebp" }',
}


@pytest.fixture
def figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("figures", PAPER / "figures.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for path in PAPER.glob("figure[78].toml"):
        text = path.read_text()
        for old, new in SMALL.items():
            text = text.replace(old, new)
        (tmp_path / path.name).write_text(text)
    monkeypatch.setattr(module, "PAPER", tmp_path)
    return module


def drawn(figures: Any, monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> list[dict[str, str]]:
    """Run the script, and return what it has written."""
    monkeypatch.setattr(sys, "argv", ["figures.py", *arguments, "--results", str(folder)])
    figures.main()
    path = folder / f"figure{arguments[0]}.csv"
    assert path.with_suffix(".png").stat().st_size > 10_000 and path.stat().st_size < 100_000
    return list(csv.DictReader(path.read_text().splitlines()))


def test_figure_5(figures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = drawn(figures, monkeypatch, tmp_path, "5")
    middle = {float(row["eps_init"]): float(row["density"]) for row in rows if row["m"] in ("-0.02", "0.02")}
    assert list(middle) == list(figures.FIELDS) and middle[0.1] > middle[1.0] > middle[5.0]


def test_figures_of_runs(figures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in ("7", "8"):
        runs = str(tmp_path / f"runs{number}")
        with pytest.raises(SystemExit, match="is done in"):
            drawn(figures, monkeypatch, tmp_path, number, "--runs", runs)
        assert deepnet(["sweep", str(tmp_path / f"figure{number}.toml"), "--serial", "--out", runs, "--no-plot"]) == 0
        rows = drawn(figures, monkeypatch, tmp_path, number, "--runs", runs)
        assert {row["seed"] for row in rows} == {"0", "1"}
        assert drawn(figures, monkeypatch, tmp_path, number) == rows  # from the numbers that are there
    assert {(row["epoch"], row["layer"]) for row in rows} == {(str(e), str(i)) for e in (1, 2) for i in range(3)}
    energies = list(csv.DictReader((tmp_path / "figure7.csv").read_text().splitlines()))
    assert {row["algorithm"] for row in energies} == {"EBP", "BP"}
    assert all(float(row["rise"]) == 0.0 for row in energies if float(row["p"]) == 0.0)
    kept = next((tmp_path / "runs7").rglob("flatness.json"))
    kept.write_text(kept.read_text().replace('"mean": 0.0', '"mean": 7.0'))  # not measured again
    again = drawn(figures, monkeypatch, tmp_path, "7", "--runs", str(tmp_path / "runs7"))
    assert any(float(row["rise"]) == 7.0 for row in again)


def test_figure_9(figures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []

    def bench(arguments: tuple[str, ...]) -> int:
        """The command on a small network."""
        calls.append(arguments)
        small = {"784-501-501-10": "64-5-10", "fashion-mnist": "digits"}
        return deepnet([small.get(each, each) for each in arguments])

    monkeypatch.setattr(figures, "deepnet", bench)
    options = ["--runs", str(tmp_path / "runs9"), "--batches", "4", "8"]
    limits = "--closure mf --no-baseline --samples 16 --seconds 0.01 --rounds 1"
    rows = drawn(figures, monkeypatch, tmp_path, "9", *options, "--bench", limits)
    assert [(row["batch_size"], row["algorithm"]) for row in rows] == [("4", "mf"), ("8", "mf")] and len(calls) == 2
    assert all(float(row["seconds"]) > 0 for row in rows)
    assert drawn(figures, monkeypatch, tmp_path, "9", *options, "--bench", limits) == rows and len(calls) == 2
