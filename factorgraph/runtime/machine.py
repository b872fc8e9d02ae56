"""What something was run on, for results and for reports of bugs: versions, processor, GPU, system, threads."""

import os
import platform
import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

#: Libraries that decide what is measured, or how fast.
_VERSIONS = ("cavity", "numpy", "scipy", "numba", "cupy-cuda13x", "cupy-cuda12x", "torch")

#: Others that these packages may import.
_OTHERS = (
    "llvmlite", "threadpoolctl", "networkx", "tqdm", "scikit-learn", "pooch", "matplotlib", "distributed",
)  # fmt: skip

#: Environment variables by which users change how things run.
_SETTINGS = ("NUMBA_", "OMP_", "OPENBLAS_", "MKL_", "CUDA_", "CAVITY_", "PYTHONPATH")


def machine(device: str) -> dict[str, Any]:
    """Return processor, number of its cores that may be used, GPU if it is the device, system, and versions of
    libraries."""
    return {
        "gpu": None if device == "cpu" else _gpu(),
        "processor": _processor(),
        "cores": cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions(*_VERSIONS),
    }


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions(*names: str) -> dict[str, str]:
    """Return the versions of those distributions that are installed."""
    return {name: version for name in names if (version := _version(name))}


def show_versions() -> None:
    """Print what a report of a bug should contain: versions, machine, threads, settings in the environment."""
    print(about(verbose=True))


def about(*, verbose: bool) -> str:
    """Return name and version of this project; ``verbose``, everything that a report of a bug should contain."""
    name = f"cavity {_version('cavity') or 'not installed'}"
    if not verbose:
        return name
    libraries = versions(*_VERSIONS[1:], *_OTHERS)
    settings = [f"{key}={value}" for key, value in sorted(os.environ.items()) if key.startswith(_SETTINGS)]
    rows = {
        "from": str(Path(__file__).resolve().parents[2]),
        "python": f"{platform.python_version()}, {sys.executable}",
        "system": platform.platform(),
        "processor": f"{_processor()}, {cores()} cores",
        "gpu": _gpu_or_reason(),
        "threads": _threads(),
        "libraries": ", ".join(f"{library} {version}" for library, version in libraries.items()),
        "settings": ", ".join(settings) or "none",
    }
    return "\n".join([name, *(f"{key + ':':<12}{value}" for key, value in rows.items())])


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _gpu() -> str:
    import cupy  # pyright: ignore[reportMissingImports]

    return cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()


def _gpu_or_reason() -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # CuPy's, of what it misses
            return _gpu()
    except Exception as error:  # of CuPy's own kinds, when it is there
        return f"none that CuPy can use ({' '.join(str(error).split())})"


def _threads() -> str:
    """Return numbers of threads, of our loops and of the linear algebra libraries."""
    import numba
    import scipy.linalg  # noqa: F401  (loads its library, which is then listed)
    from threadpoolctl import threadpool_info

    pools = [
        f"{pool['internal_api']} {pool['version'] or ''}".strip() + f": {pool['num_threads']}"
        for pool in threadpool_info()
    ]
    return ", ".join([f"numba: {numba.get_num_threads()}", *sorted(pools)])
