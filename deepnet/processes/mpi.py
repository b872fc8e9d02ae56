"""Processes that talk by MPI."""

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

import numba
from mpi4py import MPI

from deepnet.kernels.cpu.library import ONE_THREAD
from deepnet.processes.communicator import Communicator
from factorgraph.dense.state import Array

#: Seconds that a process which has failed gives the others to fail likewise, before it ends them all; half of it for
#: the first one, whose message is there already.
_GRACE = 2.0


class MpiCommunicator(Communicator):
    """All processes of a communicator of mpi4py.

    Args:
        group: that communicator.
    """

    def __init__(self, group: MPI.Intracomm) -> None:
        self._group = group
        self.rank, self.size, self.summed = group.rank, group.size, 0

    def begin_sum(self, values: Array) -> Callable[[], None]:
        """As ``Communicator.begin_sum``; between the calls that ask whether it is done, Ctrl-C has its turn."""
        request = self._group.Iallreduce(MPI.IN_PLACE, values)
        self.summed += values.nbytes

        def wait() -> None:
            while not request.Test():
                os.sched_yield()

        return wait

    def gather(self, value: Any) -> list[Any]:
        return self._group.allgather(value)

    def single(self) -> Communicator:
        return MpiCommunicator(MPI.COMM_SELF)

    def run(self, program: Callable[[], int]) -> int:
        """As ``run_together``, on one thread in every process unless NUMBA_NUM_THREADS says how many."""
        ends, own = self._group.Dup(), io.StringIO()  # where nobody waits for anything else, as it may for a sum
        threads = ONE_THREAD if "NUMBA_NUM_THREADS" not in os.environ else contextlib.nullcontext()
        if "NUMBA_NUM_THREADS" not in os.environ:
            numba.set_num_threads(1)
        with threads, contextlib.ExitStack() as silence:
            if self.rank:
                nowhere = silence.enter_context(open(os.devnull, "w"))
                silence.enter_context(contextlib.redirect_stdout(nowhere))
                silence.enter_context(contextlib.redirect_stderr(own))
            try:
                code = program()
            except Exception:  # a mistake in this program
                traceback.print_exc()
                code = 1
        arrived = ends.Ibarrier()
        if code == 0:
            arrived.Wait()
            return code
        until = monotonic() + (_GRACE if self.rank else 0.5 * _GRACE)
        while not arrived.Test():
            if monotonic() > until:
                print(f"{own.getvalue()}deepnet: process {self.rank} of {self.size} has ended all", file=sys.stderr)
                self._group.Abort(code)
            sleep(0.01)
        return code
