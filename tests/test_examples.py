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
    "31_two_layer_learning": [],
    "32_preactivations": [],
    "33_critical_init": [],
}


#: Constants of the examples, as they are here: of all that have them, and of some.
LESS = {"EPOCHS": 2, "SAMPLES": 2, "SWEEPS": 5, "WORDS": 10}
LESS_OF = {
    "03_regression": {"SAMPLES": 20},
    "31_two_layer_learning": {"SAMPLES": (30, 60), "INPUTS": 10, "SEEDS": 1},
    "32_preactivations": {"NETWORKS": 200},
    "33_critical_init": {"WIDTH": 21, "SEEDS": 1},
}


def test_an_example_is_read_in_one_go():
    assert {path.stem for path in EXAMPLES.glob("[0-9]*.py") if path.read_text().count("\n") > 60} == set()


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
    for constant, value in (LESS | LESS_OF.get(name, {})).items():
        monkeypatch.setattr(module, constant, value, raising=name in LESS_OF and constant in LESS_OF[name])
    module.main()
    plt.close("all")
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    assert capsys.readouterr().out
