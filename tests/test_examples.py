"""Every example runs and leaves its figure."""

import importlib.util
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
FEW = ["--points", "2", "--size", "200", "--instances", "3", "--workers", "2"]
ARGUMENTS = {
    "01_digits": [],
    "02_likelihood_weight": ["digits", "--epochs", "1"],
    "03_regression": [],
    "10_loops": [],
    "11_labels": [],
    "12_exact_learning": [],
    "13_communities": [],
    "14_sudoku": [],
    "15_code_threshold": [],
    "16_switching": [],
    "17_infinite_graphs": [],
    "20_sparse_regression": FEW,
    "21_correlated_patterns": FEW,
    "22_decoder": FEW,
    "30_condition_numbers": ["--points", "2", "--size", "200", "--instances", "3"],
    "31_two_layer_learning": ["--runs", "1", "--samples", "30", "60", "--inputs", "10", "--decibel", "10"],
    "32_preactivations": ["--networks", "200"],
    "33_critical_init": ["--width", "21", "--epochs", "2", "--seeds", "1", "--depths", "2", "--fields", "1", "8"],
}


def test_every_example_is_run_here():
    assert {path.stem for path in EXAMPLES.glob("[0-9]*.py")} == set(ARGUMENTS)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_example(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)  # as for a script
    monkeypatch.setattr(sys, "argv", [name, *ARGUMENTS[name]])
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "EPOCHS", 2, raising=False)
    monkeypatch.setattr(module, "SAMPLES", 20 if name == "03_regression" else 2, raising=False)
    monkeypatch.setattr(module, "SWEEPS", 5, raising=False)
    monkeypatch.setattr(module, "WORDS", 10, raising=False)
    module.main()
    plt.close("all")
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    assert capsys.readouterr().out
