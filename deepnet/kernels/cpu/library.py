"""The linear algebra library kept to one thread for a while."""

import os
from functools import cached_property
from threading import RLock, get_ident
from types import TracebackType
from typing import Any

import scipy.linalg  # noqa: F401  (loads the library whose products Numba calls, so that its threads can be limited)
from threadpoolctl import ThreadpoolController


class OneThread:
    """While any thread is in this context, every call of the linear algebra library keeps to its own thread.

    Most libraries have one number of threads in a process: the first to enter changes it, and the last to leave,
    whichever that is, brings back what the first one found. Others have one for every thread, which each changes and
    brings back by itself. What other code has changed in the meantime stays, and a forked process has no other
    threads that could leave.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._entered: dict[int, int] = {}  # how often, by thread
        self._shared: list[tuple[Any, int]] = []  # libraries, and their numbers of threads before
        self._own: dict[int, list[tuple[Any, int]]] = {}  # likewise, by thread
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._lock.acquire, after_in_parent=self._lock.release, after_in_child=self._after_fork
            )

    @cached_property
    def _libraries(self) -> list[Any]:
        return ThreadpoolController().select(user_api="blas").lib_controllers

    def __enter__(self) -> None:
        with self._lock:
            thread = get_ident()
            if thread not in self._entered:
                self._limit(self._own.setdefault(thread, []))
            self._entered[thread] = self._entered.get(thread, 0) + 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            thread = get_ident()
            self._entered[thread] -= 1
            if self._entered[thread] == 0:
                del self._entered[thread]
                _restore(self._own.pop(thread))
            self._restore_if_left()

    def _limit(self, own: list[tuple[Any, int]]) -> None:
        for library in self._libraries:
            before = library.num_threads
            if before != 1:
                library.set_num_threads(1)
                (own if _each_thread_has_its_own(library) else self._shared).append((library, before))

    def _restore_if_left(self) -> None:
        if not self._entered:
            _restore(self._shared)
            self._shared = []

    def _after_fork(self) -> None:
        mine = get_ident()
        self._entered = {thread: count for thread, count in self._entered.items() if thread == mine}
        self._own = {thread: limits for thread, limits in self._own.items() if thread == mine}
        self._restore_if_left()
        self._lock.release()


def _each_thread_has_its_own(library: Any) -> bool:
    return library.internal_api == "mkl" or getattr(library, "threading_layer", None) == "openmp"


def _restore(limits: list[tuple[Any, int]]) -> None:
    for library, before in limits:
        if library.num_threads == 1:
            _free_control(library)
            library.set_num_threads(before)
            _free_control(library)


def _free_control(library: Any) -> None:
    """Some libraries may be limited only by the thread that was the first to do so, until it ends."""
    if hasattr(library, "clear_controlling_thread"):
        library.clear_controlling_thread(force=True)


#: The one for all.
ONE_THREAD = OneThread()
