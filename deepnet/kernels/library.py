"""The linear algebra library kept to one thread for a while."""

import os
from threading import RLock, get_ident
from types import TracebackType

import scipy.linalg  # noqa: F401  (loads the library whose products Numba calls, so that its threads can be limited)
from threadpoolctl import threadpool_limits


class OneThread:
    """While any thread is in this context, every call of the linear algebra library keeps to its own thread.

    The limit is one of the whole process: the first to enter sets it, and the last to leave, whichever that is, brings
    back what the first one found. A forked process has no other threads that could leave.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._entered: dict[int, int] = {}  # how often, by thread
        self._limits: threadpool_limits | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._lock.acquire, after_in_parent=self._lock.release, after_in_child=self._after_fork
            )

    def __enter__(self) -> None:
        with self._lock:
            if self._limits is None:
                self._limits = threadpool_limits(1, user_api="blas")
            self._entered[get_ident()] = self._entered.get(get_ident(), 0) + 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._entered[get_ident()] -= 1
            if self._entered[get_ident()] == 0:
                del self._entered[get_ident()]
            self._restore_if_left()

    def _restore_if_left(self) -> None:
        if not self._entered and self._limits is not None:
            self._limits.restore_original_limits()
            self._limits = None

    def _after_fork(self) -> None:
        mine = get_ident()
        self._entered = {thread: count for thread, count in self._entered.items() if thread == mine}
        self._restore_if_left()
        self._lock.release()


#: The one for all.
ONE_THREAD = OneThread()
