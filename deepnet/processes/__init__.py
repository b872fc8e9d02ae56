"""Many processes as one: each has a part of the samples of every batch, and what these say of the weights is added."""

from typing import TYPE_CHECKING

from factorgraph.interface.on_demand import on_demand

if TYPE_CHECKING:
    from deepnet.processes.communicator import ALONE, Communicator
    from deepnet.processes.launched import LauncherError, run_together, world
    from deepnet.processes.operations import shared

__all__ = ["ALONE", "Communicator", "LauncherError", "run_together", "shared", "world"]

_MODULES = {
    "communicator": ("ALONE", "Communicator"),
    "launched": ("LauncherError", "run_together", "world"),
    "operations": ("shared",),
}

__getattr__, __dir__ = on_demand(__name__, _MODULES)  # the command line should start at once
