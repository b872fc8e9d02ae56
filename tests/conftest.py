"""Set-up of the whole suite. Numba must not be imported before this file is."""

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
import warnings
from pathlib import Path

import hypothesis
import pytest

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("factorgraph", "models", "deepnet")
_DAY = 24 * 3600.0

#: Files of tests that train networks by fused loops, which take minutes to compile.
_FUSED = {f"test_{name}" for name in ("bench", "cli", "estimator", "examples", "gpu", "kernels", "parity", "products",
                                      "run", "stochastic_weights", "train", "wrong_types")}  # fmt: skip


def _source_key() -> str:
    """Hash of all the sources.

    Numba's cache on disk notices an edit of a compiled function, but not of the functions that it calls.
    """
    digest = hashlib.sha256()
    for path in sorted(p for package in _PACKAGES for p in (_ROOT / package).rglob("*.py")):
        digest.update(f"{path.relative_to(_ROOT)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _numba_cache() -> Path:
    """A folder for compiled code of exactly these sources; those that no run has used for a day are removed."""
    base = _ROOT / ".pytest_cache" / "numba"
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError:  # a read-only checkout
        base = Path(tempfile.mkdtemp(prefix="cavity-numba-"))
    folder = base / _source_key()
    folder.mkdir(exist_ok=True)
    os.utime(folder)
    for other in base.iterdir():
        with contextlib.suppress(OSError):  # another run may be removing it too
            if time.time() - other.stat().st_mtime > _DAY:
                shutil.rmtree(other)
    return folder


if "NUMBA_CACHE_DIR" not in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = str(_numba_cache())
os.environ["MPLBACKEND"] = "Agg"

hypothesis.settings.register_profile("cavity", deadline=None, derandomize=True)
hypothesis.settings.load_profile("cavity")


def _no_gpu() -> str | None:
    """Why tests on the GPU cannot run; None if they can."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import cupy  # pyright: ignore[reportMissingImports]

            cupy.zeros(1)
        except Exception as error:
            return f"needs a CUDA device and CuPy: {error}"
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of fused loops first; leave out long fuzzing unless asked for, skip what needs a GPU where there is none.

    Of two processes, the first then compiles all of the fused loops while the other does the rest.
    """
    if "fuzz" not in config.getoption("markexpr", ""):
        left_out = [item for item in items if item.get_closest_marker("fuzz")]
        items[:] = [item for item in items if not item.get_closest_marker("fuzz")]
        config.hook.pytest_deselected(items=left_out)
    items.sort(key=lambda item: item.path.stem not in _FUSED)
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and (reason := _no_gpu()):
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))
