"""Compiled code on disk: shared by processes, damaged, or without a place."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factorgraph.runtime import compiled
from factorgraph.runtime.compiled import CodeFile, njit

_ENTRIES = {("float64", 1): "code for float64", ("float32", 2): b"code for float32"}


def _file(folder: Path, stamp: bytes = b"stamp") -> CodeFile:
    return CodeFile(folder / "function.cavity", stamp)


@pytest.fixture
def saved(tmp_path):
    """A file with all the entries, and its folder."""
    file = _file(tmp_path)
    for key, code in _ENTRIES.items():
        file.save(key, code)
    return file


def test_code_comes_back_under_its_key_and_stamp(tmp_path, saved):
    assert {key: saved.load(key) for key in _ENTRIES} == _ENTRIES
    assert saved.load("float16") is None
    assert [path.name for path in tmp_path.iterdir()] == ["function.cavity"]
    assert _file(tmp_path, b"another").load(("float64", 1)) is None
    saved.flush()
    assert saved.load(("float64", 1)) is None


def test_code_is_replaced_when_the_stamp_changes(tmp_path, saved):
    edited = _file(tmp_path, b"edited")
    edited.save("float64", "new code")
    assert edited.load("float64") == "new code"
    assert edited.load(("float32", 2)) is None


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("code")
    file = _file(folder)
    for key, code in _ENTRIES.items():
        file.save(key, code)
    return file, folder / "function.cavity", (folder / "function.cavity").read_bytes()


@settings(max_examples=200)
@given(data=st.data())
def test_a_damaged_file_is_an_absent_one(written, data):
    """Cut off, with wrong bytes or with more of them: nothing of it is ever unpickled."""
    file, path, content = written
    kind = data.draw(st.sampled_from(("cut", "changed", "longer", "other")))
    if kind == "cut":
        damaged = content[: data.draw(st.integers(0, len(content) - 1))]
    elif kind == "changed":
        at = data.draw(st.integers(0, len(content) - 1))
        damaged = content[:at] + bytes([content[at] ^ data.draw(st.integers(1, 255))]) + content[at + 1 :]
    elif kind == "longer":
        damaged = content + data.draw(st.binary(min_size=1))
    else:
        damaged = data.draw(st.binary())
    path.write_bytes(damaged)
    assert all(file.load(key) is None for key in _ENTRIES)
    file.save("float64", "code")
    assert file.load("float64") == "code"


def test_two_that_save_at_the_same_time_are_kept_apart(tmp_path, monkeypatch):
    """Another process saves one when this one has read the file, and not yet written it: one is lost, none mixed up."""
    ours, theirs = _file(tmp_path), _file(tmp_path)
    read = ours._read

    def interrupted():
        entries = read()
        theirs.save("float32", "code for float32")
        return entries

    with monkeypatch.context() as patch:
        patch.setattr(ours, "_read", interrupted)
        ours.save("float64", "code for float64")
    assert (theirs.load("float64"), theirs.load("float32")) == ("code for float64", None)


@pytest.fixture
def unwarned(monkeypatch):
    monkeypatch.setattr(compiled, "_warned", False)


def test_without_a_folder_code_is_compiled_and_one_warning_says_so(unwarned, monkeypatch):
    monkeypatch.setattr(compiled.CompileResultCacheImpl, "_locator_classes", [])
    with pytest.warns(RuntimeWarning, match="NUMBA_CACHE_DIR") as caught:
        functions = [njit(cache=True)(body) for body in (lambda x: x + 1, lambda x: x + 2)]
        assert [f(1) for f in functions] == [2, 3]
    assert len(caught) == 1
    assert functions[0]._cache.cache_path is None


def test_code_that_cannot_be_saved_is_used_all_the_same(unwarned, tmp_path, monkeypatch):
    """A disk that is full by then."""

    def full(self, key, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CodeFile, "save", full)
    monkeypatch.setattr(compiled.numba.config, "CACHE_DIR", str(tmp_path))
    with pytest.warns(RuntimeWarning, match="No space left on device") as caught:
        assert njit(cache=True)(lambda x: x + 1)(1) == 2
    assert len(caught) == 1


_SMALL = """
import warnings
warnings.simplefilter("error")
from factorgraph import Graph, Pairwise, infer
graph = Graph()
s = graph.spins("s", 3, field=0.3)
graph.add(Pairwise(s[1:], s[:-1], coupling=0.5))
print(infer(graph)["s"].mean.tolist())
"""


def _run(code: str, **environment: str) -> str:
    path = os.pathsep.join(str(Path(__file__).parents[2]) if p == "" else p for p in sys.path)
    env = os.environ | {"PYTHONPATH": path} | environment
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.slow
def test_damaged_files_of_a_package_are_compiled_again(tmp_path):
    right = _run(_SMALL, NUMBA_CACHE_DIR=str(tmp_path))
    files = sorted(tmp_path.rglob("*.cavity"))
    assert len(files) > 3
    sizes = [path.stat().st_size for path in files]
    for number, path in enumerate(files):
        content = path.read_bytes()
        path.write_bytes([content[: len(content) // 2], b"", content[:-9] + b"\0" * 9, content[:40]][number % 4])
    assert _run(_SMALL, NUMBA_CACHE_DIR=str(tmp_path)) == right
    assert [path.stat().st_size for path in files] == pytest.approx(sizes, rel=0.05)


_TINY = """
import numpy as np
from deepnet import MessagePassingClassifier
from factorgraph.channels import ReLU, Sign
from factorgraph.priors import Laplace
X = np.random.default_rng(0).normal(size=(30, 5))
network = MessagePassingClassifier(hidden=(7,), epochs=1, random_state=0).fit(X, np.digitize(X[:, 0], [-0.5, 0.5]))
values = [*network.predict_proba(X).ravel(), *ReLU().moments(B=-800.0, A=0.0, omega=-40.0, V=1e-6)]
values += [*Laplace(1.0).moments(H=900.0, G=1e-9), *Sign().moments(B=800.0, A=0.0, omega=-1.0, V=1e-9)]
print(*np.ravel(values))
"""


def test_numba_can_be_told_not_to_compile():
    """For debuggers and for coverage."""
    assert _run(_SMALL, NUMBA_DISABLE_JIT="1") == _run(_SMALL)


@pytest.mark.slow
def test_networks_train_without_the_compiler():
    """And extremes overflow to infinity there too."""
    plain, compiled = (np.fromstring(_run(_TINY, NUMBA_DISABLE_JIT=disabled), sep=" ") for disabled in "10")
    assert np.isfinite(compiled).all()
    np.testing.assert_allclose(plain, compiled, rtol=1e-5, atol=1e-6)  # sums in float32, in another order


def test_every_function_of_the_packages_is_compiled_through_one_door():
    root = Path(__file__).parents[2]
    for path in (p for package in ("factorgraph", "models", "deepnet") for p in (root / package).rglob("*.py")):
        if path != root / "factorgraph" / "runtime" / "compiled.py":
            lines = path.read_text().splitlines()
            assert not [line for line in lines if line.startswith("from numba import") and "jit" in line], path
