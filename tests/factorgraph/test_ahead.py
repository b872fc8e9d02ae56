"""Functions compiled ahead, by two processes that meet in the cache; and parts, which Python cannot call."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from factorgraph.runtime.compiled import njit

_FUNCTIONS = """
from factorgraph.runtime.compiled import njit

@njit(cache=True)
def one(x): return x + 1

@njit(cache=True)
def two(x): return x + 2

@njit(cache=True)
def three(x): return x + 3

@njit(cache=True)
def four(x): return x + 4
"""

_RUN = """
import functions_to_compile as f
from numba import int64
from factorgraph.runtime.ahead import compile_ahead
told = []
all_four = [(function, (int64,)) for function in (f.one, f.two, f.three, f.four)]
compile_ahead(all_four, lambda done, total: told.append((done, total)))
print(told, [function(1) for function, _ in all_four], sum(sum(f.stats.cache_misses.values()) for f, _ in all_four))
"""


def test_two_processes_compile_and_the_next_one_has_nothing_to_do(tmp_path):
    (tmp_path / "functions_to_compile.py").write_text(_FUNCTIONS)
    path = [str(tmp_path), str(Path(__file__).parents[2]), *filter(None, sys.path)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path),
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "NUMBA_NUM_THREADS": "2",
    }

    def run() -> str:
        command = [sys.executable, "-c", _RUN]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    told = [(done, 4) for done in range(5)]
    first = run()
    assert first.startswith(f"{told} [2, 3, 4, 5] ")
    assert run() == "[] [2, 3, 4, 5] 0"


def test_a_part_is_not_for_python_and_serves_compiled_functions():
    part = njit(part=True)(lambda x: x + 1)
    whole = njit(lambda x: part(x) + part(2))
    assert whole(1) == 5
    assert len(part.overloads) == 1  # for all numbers, constants or not
    with pytest.raises(TypeError, match="is a part of compiled functions"):
        part(1)
