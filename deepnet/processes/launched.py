"""The processes that a launcher has started together."""

import os
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepnet.processes.communicator import Communicator

#: Variables in which launchers say how many processes they have started: MPICH and its relatives, Open MPI.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")

#: Variables that have the number of a process among those on its machine.
_LOCAL = ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID")

#: One by which others say no more than that they have started a process.
_STARTED = "PMIX_RANK"


class LauncherError(RuntimeError):
    """Processes that were started together cannot find each other; the message says why, and the remedy."""


def launched() -> bool:
    """Return whether a launcher has started this process, perhaps with others."""
    return _size() > 1 or _STARTED in os.environ


def local_rank() -> int | None:
    """Return the number of this process among those on its machine; None if there are no others."""
    numbers = [int(os.environ[name]) for name in _LOCAL if name in os.environ]
    return numbers[0] if launched() and numbers else None


def run_together(program: Callable[[], int]) -> int:
    """Return the exit code of a program; errors as of ``world``.

    Where several processes run it, the first one speaks for all, and one that fails by itself ends all.
    """
    if not launched():
        return program()
    processes = world()
    from deepnet.processes.mpi import MpiCommunicator

    return processes.run(program) if isinstance(processes, MpiCommunicator) else program()


@cache
def world() -> "Communicator":
    """Return the communicator of all processes that a launcher, such as ``mpiexec``, has started with this one.

    Raises:
        LauncherError: mpi4py is missing, or its library of MPI is not that of the launcher.
    """
    from deepnet.processes.communicator import ALONE

    if not launched():
        return ALONE
    started = _size()
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # the latter where there is no library of MPI
        raise LauncherError(
            f"{started} processes need mpi4py and a library of MPI: pip install 'cavity[mpi]' ({error})"
        ) from error
    size = MPI.COMM_WORLD.size
    if size < started:
        name = " ".join(MPI.Get_library_version().split()[:2])
        raise LauncherError(
            f"the launcher has started {started} processes, and mpi4py's library of MPI ({name}) knows of {size}: "
            "use the launcher that belongs to that library"
        )
    if size == 1:
        return ALONE
    from deepnet.processes.mpi import MpiCommunicator

    return MpiCommunicator(MPI.COMM_WORLD)


def _size() -> int:
    return max((int(os.environ[name]) for name in _SIZES if name in os.environ), default=1)
