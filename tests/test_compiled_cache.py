"""The tests' cache of compiled code: what holds after an edit, and that callers follow the functions they call."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from compiled_folder import folder_for, place
from source_tree import ROOT, keys, modules

SOURCES = {
    "ground/__init__.py": '"""Hands on what is asked for."""\n\ndef __getattr__(name):\n    raise AttributeError\n',
    "ground/number.py": '"""A constant."""\n\nVALUE = 1.0  # of some kind\n',
    "ground/callee.py": '''
from factorgraph.runtime.compiled import njit
from ground.number import VALUE


@njit(cache=True)
def callee(x):
    """A sum."""
    return x + VALUE
''',
    "ground/other.py": '"""Nobody needs it by its own name."""\n\nNOTHING = ""\n',
    "upper/__init__.py": "",
    "upper/caller.py": """
from factorgraph.runtime.compiled import njit
from ground.callee import callee


@njit(cache=True)
def caller(x):
    return 2.0 * callee(x)
""",
    "upper/lazy.py": "from ground import other_name\n",
    "upper/alone.py": "LIMIT = 3\n",
}


@pytest.fixture
def tree(tmp_path):
    for name, text in SOURCES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def keys_of(tree):
    return keys(modules(tree, ("ground", "upper")))


def edited(tree, name, old, new):
    """The modules whose keys change with a replacement in a file."""
    before, path = keys_of(tree), tree / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    after = keys_of(tree)
    assert before.keys() == after.keys()
    return {module for module in before if before[module] != after[module]}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("ground/callee.py", "A sum.", "The sum of a number and the constant."),
        ("ground/callee.py", '    """A sum."""\n', ""),
        ("ground/number.py", '"""A constant."""\n', ""),
        ("ground/number.py", "of some kind", "of another kind"),
        ("ground/callee.py", "\n\n\n", "\n\n\n\n\n"),
        ("ground/callee.py", "x + VALUE", "(x + VALUE)"),
    ],
)
def test_what_is_not_code_changes_no_key(tree, name, old, new):
    assert not edited(tree, name, old, new)


def test_an_edit_reaches_all_that_import_it(tree):
    """Directly, through others, and by a package that hands names on."""
    assert edited(tree, "ground/number.py", "1.0", "2.0") == {
        "ground.number",
        "ground.callee",
        "upper.caller",
        "upper.lazy",
    }
    assert edited(tree, "ground/callee.py", "x + VALUE", "x - VALUE") == {"ground.callee", "upper.caller", "upper.lazy"}
    assert edited(tree, "upper/caller.py", "2.0 *", "3.0 *") == {"upper.caller"}
    assert edited(tree, "upper/alone.py", "3", "4") == {"upper.alone"}


def test_strings_that_are_no_docstrings_are_code(tree):
    assert "ground.other" in edited(tree, "ground/other.py", 'NOTHING = ""', 'NOTHING = "something"')


def test_keys_of_our_packages_follow_the_floors():
    """What is compiled on the ground floor depends on nothing above it, and training on it."""
    known = modules()
    before = keys(known)
    trained, ground = "deepnet.kernels.cpu.fused_loops", "factorgraph.numerics.special"
    assert {trained, ground} <= before.keys()
    changed = keys(known | {ground: ROOT / "factorgraph" / "runtime" / "threads.py"})
    assert changed[trained] != before[trained]
    changed = keys(known | {trained: ROOT / "factorgraph" / "runtime" / "threads.py"})
    assert {name for name in before if changed[name] != before[name]} >= {trained}
    assert all(changed[name] == before[name] for name in before if name.split(".")[0] != "deepnet")


RUN = """
from upper.caller import caller
from ground.callee import callee
print(caller(1.0), sum(caller.stats.cache_hits.values()), callee(1.0), sum(callee.stats.cache_hits.values()))
"""


def run(tree, cache):
    """Results of the two functions, and whether their compiled code was found, in a new process."""
    known = modules(tree, ("ground", "upper"))
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(folder_for(cache, known, keys(known))),
        "PYTHONPATH": os.pathsep.join([str(tree), str(ROOT)]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-c", RUN]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    return float(output[0]), output[1] == "1", float(output[2]), output[3] == "1"


@pytest.mark.slow
def test_compiled_code_is_taken_over_as_far_as_it_holds(tree, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    assert run(tree, cache) == (4.0, False, 2.0, False)
    assert run(tree, cache) == (4.0, True, 2.0, True)
    edited(tree, "ground/other.py", 'NOTHING = ""', "NOTHING = 3.0")
    assert run(tree, cache) == (4.0, True, 2.0, True)
    edited(tree, "ground/callee.py", "A sum.", "The sum of both.")  # its own file is compiled again, no other one
    assert run(tree, cache) == (4.0, True, 2.0, False)
    edited(tree, "ground/callee.py", "x + VALUE", "x - VALUE")
    assert run(tree, cache) == (0.0, False, 0.0, False)
    edited(tree, "ground/number.py", "1.0", "3.0")  # neither function's file has changed
    assert run(tree, cache) == (-4.0, False, -2.0, False)
    edited(tree, "ground/number.py", "3.0", "1.0")
    assert run(tree, cache) == (0.0, True, 0.0, True)


def test_unused_folders_are_removed_and_files_of_other_runs_kept(tree, tmp_path_factory):
    cache, known = tmp_path_factory.mktemp("cache"), modules(tree, ("ground", "upper"))
    first = folder_for(cache, known, keys(known))
    code = first / place(Path(tree / "ground" / "callee.py")) / "callee.callee-6.py311.cavity"
    code.parent.mkdir()
    code.write_text("code")
    os.utime(first, (0, 0))
    edited(tree, "upper/alone.py", "3", "4")
    second = folder_for(cache, known, keys(known))
    assert second != first and not first.exists()
    assert (second / code.relative_to(first)).read_text() == "code"
    assert {path.name for path in cache.iterdir()} == {second.name}
