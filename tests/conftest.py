"""Set-up of the whole suite. Neither NumPy nor Numba must be imported before this file is."""

import os
import tempfile
import warnings
from pathlib import Path

import hypothesis
import pytest
from compiled_folder import folder_for
from source_tree import ROOT, keys, modules

#: Files of tests that train networks by fused loops, which take minutes to compile.
_FUSED = {f"test_{name}" for name in ("bench", "cli", "estimator", "examples", "gpu", "kernels", "parity", "products",
                                      "run", "stochastic_weights", "train", "wrong_types")}  # fmt: skip


def _numba_cache() -> Path:
    """The folder for compiled code of these sources."""
    base = ROOT / ".pytest_cache" / "numba"
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError:  # a read-only checkout
        base = Path(tempfile.mkdtemp(prefix="cavity-numba-"))
    known = modules()
    return folder_for(base, known, keys(known))


if "NUMBA_CACHE_DIR" not in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = str(_numba_cache())
os.environ["MPLBACKEND"] = "Agg"
# The processes of the suite share the cores: threads of OpenBLAS would wait for each other, even with a few rows.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

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
