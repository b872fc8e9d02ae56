"""What a release promises: its version and description, what importing it costs, what it says and when.

``tests/installed.py`` builds the archives and tries them where they are installed.
"""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from source_tree import PACKAGES, ROOT, modules

from deepnet.app.cli import main as deepnet
from factorgraph import CavityWarning, show_versions
from factorgraph.__main__ import main as factorgraph

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

#: Headings of https://keepachangelog.com.
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def fresh(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what is imported again is not to be compiled again
    environment.pop("OPENBLAS_NUM_THREADS", None)  # as users have it, whose imports start its threads
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)


# --- its papers -------------------------------------------------------------------------------------------------------


def test_the_version_is_in_one_place():
    texts = [*modules().values(), ROOT / "README.md", ROOT / "CITATION.cff", ROOT / "Makefile"]
    assert not [path for path in texts if f"{PROJECT['name']} {PROJECT['version']}" in path.read_text()]
    assert not re.search(r"^version:", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert not [path for path in modules().values() if "__version__ =" in path.read_text()]


def test_the_changelog_has_the_usual_form():
    """Versions, the newest first, and under each the kinds of changes."""
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    versions = [line for line in lines if line.startswith("## ")]
    assert versions[0] in ("## [Unreleased]", *(v for v in versions if v.startswith(f"## [{PROJECT['version']}] - ")))
    released = [re.fullmatch(r"## \[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d\d-\d\d", v) for v in versions]
    numbers = [tuple(map(int, match.groups())) for match in released if match]
    assert len(numbers) >= len(versions) - 1 and numbers == sorted(numbers, reverse=True)
    assert {line[4:] for line in lines if line.startswith("### ")} <= KINDS


def test_the_description_is_complete():
    lowest = PROJECT["requires-python"].removeprefix(">=")
    assert f"Programming Language :: Python :: {lowest}" in PROJECT["classifiers"]
    assert "Typing :: Typed" in PROJECT["classifiers"]
    assert all((ROOT / package / "py.typed").is_file() for package in PACKAGES)
    assert f"title: {PROJECT['name'].capitalize()}" in (ROOT / "CITATION.cff").read_text()
    assert f"license: {PROJECT['license']}" in (ROOT / "CITATION.cff").read_text()


def test_every_requirement_has_a_lowest_version():
    """Or an exact one, where another version would find other mistakes."""
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    requirements = [requirement for group in groups for requirement in group if not requirement.startswith("cavity[")]
    assert all(re.match(r"[\w-]+(\[\w+\])?(>=|==)\d", requirement) for requirement in requirements)


# --- what it costs ----------------------------------------------------------------------------------------------------

#: What is allowed over the libraries underneath, for a package and for what one usually takes from it.
RATIO = 1.3
LIBRARIES = "numpy, scipy, numba"
PARTS = "numpy, scipy.linalg, scipy.sparse.linalg, scipy.special, numba"
IMPORTS = {
    "import factorgraph": LIBRARIES,
    "import models": LIBRARIES,
    "import deepnet": LIBRARIES,
    "from factorgraph import Graph, infer": PARTS,
    "from models import GLM, state_evolution": PARTS,
    "from deepnet import Config; import deepnet.train": PARTS,
}


def share(statement: str, libraries: str) -> float:
    """What a statement takes on top of the libraries, over what these take, in processor time of one process.

    The least of three after one that fills caches: measured together, since machines change their pace.
    """
    now = "time.process_time()"
    script = f"import time; begin = {now}; import {libraries}; middle = {now}; {statement}"
    script += f"; print(({now} - middle) / (middle - begin))"
    return min([float(fresh(script).stdout) for _ in range(4)][1:])


@pytest.mark.parametrize("statement", IMPORTS)
def test_imports_cost_little_more_than_the_libraries(statement):
    assert 1.0 + share(statement, IMPORTS[statement]) <= RATIO


def test_a_package_imports_nothing_until_it_is_used():
    script = "import sys, factorgraph, models, deepnet; print(*sys.modules)"
    assert not {"numpy", "scipy", "numba", "sklearn"} & set(fresh(script).stdout.split())


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_package_exports_is_seen(package):
    """By completion too; and another name is an error that says so."""
    module = __import__(package)
    assert set(module.__all__) <= set(dir(module))
    assert all(getattr(module, name) is not None for name in module.__all__)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        _ = module.nothing


# --- what it says -----------------------------------------------------------------------------------------------------

RUN = """
from factorgraph import Graph, Pairwise, infer
graph = Graph()
s = graph.spins("s", 3, field=0.1)
graph.add(Pairwise(s[1:], s[:-1], coupling=0.2))
infer(graph, schedule="flooding")
"""


def test_it_is_quiet_unless_asked():
    quiet = fresh(RUN)
    assert quiet.stdout == quiet.stderr == ""
    loud = fresh(f"import logging; logging.basicConfig(level='DEBUG')\n{RUN}")
    assert loud.stdout == "" and re.search(
        r"^DEBUG:factorgraph\.iteration:converged after \d+ steps", loud.stderr, re.M
    )


@pytest.mark.parametrize("name", modules())
def test_warnings_and_logs_are_ours(name):
    """Every warning is of our class, every logger named after its module, and only commands print."""
    tree = ast.parse(modules()[name].read_bytes())
    for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
        what = ast.unparse(call.func)
        if what == "warnings.warn":
            assert ast.unparse(call.args[1]) == CavityWarning.__name__
        elif what == "logging.getLogger" and name != "factorgraph.interface.command_line":
            assert ast.unparse(call.args[0]) == "__name__"


@pytest.mark.parametrize("command", [deepnet, factorgraph])
def test_versions(command, capsys):
    """In a line, or with all that a report of a bug should say, however it is asked for."""
    assert command(["--version"]) == 0
    assert capsys.readouterr().out == f"cavity {PROJECT['version']}\n"
    assert command(["--version", "--verbose"]) == 0
    told = capsys.readouterr().out
    show_versions()
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if not line.startswith("threads:")] == [
        line
        for line in told.splitlines()
        if not line.startswith("threads:")  # which are more, once they have run
    ]
    for word in (
        f"cavity {PROJECT['version']}\n",
        f"from:       {ROOT}\n",
        "numpy ",
        "numba ",
        "threads: ",
        sys.executable,
    ):
        assert word in told


@pytest.mark.parametrize("command", [deepnet, factorgraph])
def test_a_command_is_required(command, capsys):
    try:
        code = command([])
    except SystemExit as end:
        code = end.code
    assert code == 2 and "the following arguments are required: COMMAND" in capsys.readouterr().err


def test_commands_tell_what_goes_on(tmp_path: Path):
    out = str(tmp_path / "run")
    options = ["train", "digits", "--hidden", "9", "--epochs", "1", "--no-plot", "--out", out]
    done = fresh(f"from deepnet.app.cli import main; main({['--verbose', *options]!r})")
    assert re.search(r"^deepnet\.train: epoch 1 of 1 in \d", done.stderr, re.M)
    assert "epoch 1 of 1" not in done.stdout
