"""Many processes as one: each has a part of the samples of every batch, and what these say of the weights is added."""

from deepnet.processes.communicator import ALONE, Alone, Communicator
from deepnet.processes.launched import LauncherError, world
from deepnet.processes.operations import shared

__all__ = ["ALONE", "Alone", "Communicator", "LauncherError", "shared", "world"]
