"""How many functions the first calls on a machine compile: each takes a tenth of a second, or several."""

import pytest

from deepnet.bench.cold import PROGRAMS, measure

#: Versions of functions that a process compiles on its own, Numba's included, with some room for its other releases.
FUNCTIONS = {
    "import": 0,
    "a tree of spins": 20,
    "spins with loops": 14,
    "MultiLayerGLM": 34,
    "an epoch of digits, mf": 70,
    "an epoch of digits, bp": 95,
}


@pytest.mark.slow
@pytest.mark.parametrize("program", FUNCTIONS)
def test_first_calls_compile_no_more_functions_than_they_did(program):
    assert measure(program, threads=1).functions <= FUNCTIONS[program]


def test_programs_are_programs():
    for name, text in PROGRAMS.items():
        compile(text, name, "exec")
