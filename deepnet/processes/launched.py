"""The processes that a launcher has started together, by MPI; ``deepnet.processes.mpi`` is imported only there."""

import os
from functools import cache

from deepnet.processes.communicator import ALONE, Communicator

#: Variables in which launchers say how many processes they have started: MPICH and its relatives, Open MPI.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")

#: One by which others say no more than that they have started a process.
_STARTED = "PMIX_RANK"


class LauncherError(RuntimeError):
    """Processes that were started together cannot find each other; the message says why, and the remedy."""


@cache
def world() -> Communicator:
    """Return the communicator of all processes that a launcher, such as ``mpiexec``, has started with this one.

    Raises:
        LauncherError: mpi4py is missing, or its library of MPI is not that of the launcher.
    """
    started = max((int(os.environ[name]) for name in _SIZES if name in os.environ), default=1)
    if started == 1 and _STARTED not in os.environ:
        return ALONE
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # the latter where there is no library of MPI
        raise LauncherError(
            f"{started} processes need mpi4py and a library of MPI: pip install 'cavity[mpi]' ({error})"
        ) from error
    size = MPI.COMM_WORLD.size
    if size < started:
        name = MPI.Get_library_version().split(":")[0].split(",")[0].strip()
        raise LauncherError(
            f"the launcher has started {started} processes, and mpi4py's library of MPI ({name}) knows of {size}: "
            "use the launcher that belongs to that library"
        )
    if size == 1:
        return ALONE
    from deepnet.processes.mpi import MpiCommunicator

    return MpiCommunicator(MPI.COMM_WORLD)
