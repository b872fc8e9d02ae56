"""What a measurement was taken on: processor, GPU, system, versions of the libraries."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

#: Libraries that decide what is measured, or how fast.
_VERSIONS = ("cavity", "numpy", "scipy", "numba", "cupy-cuda13x", "cupy-cuda12x", "torch")


def machine(device: str) -> dict[str, Any]:
    """Return processor, number of its cores that may be used, GPU if it is the device, system, and versions of
    libraries."""
    return {
        "gpu": None if device == "cpu" else _gpu(),
        "processor": _processor(),
        "cores": cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in _VERSIONS if (version := _version(name))},
    }


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
