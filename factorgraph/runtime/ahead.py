"""Compiling before the first call, by several processes at once: Numba compiles one function after the other in each.

They meet in the cache on disk: what another process has compiled is loaded from there.
"""

import contextlib
import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from importlib import import_module
from threading import Lock, Thread
from typing import Any

import numba.core.config

#: A compiled function, and the types of its arguments.
Version = tuple[Any, tuple[Any, ...]]

#: Versions that a process should have to compile, so that it pays to start it.
_WORTH = 2

_HELPER = "import sys; sys.path[:] = {path!r}; from factorgraph.runtime.ahead import serve; serve()"


def compile_ahead(versions: Sequence[Version], progress: Callable[[int, int], None] | None = None) -> None:
    """Compile what is neither known to this process nor on disk, with a process for every thread that Numba may use.

    Args:
        versions: of functions of modules, which are cached on disk. Those that take longest come first and last: this
            process takes from the beginning, others from the end.
        progress: called with how many are compiled, and of how many.
    """
    missing = [version for version in versions if not _known(*version)]
    work = _Work(missing, progress)
    with contextlib.ExitStack() as stack:
        for _ in range(min(_threads(), len(missing) // _WORTH) - 1 if _shared(missing) else 0):
            stack.enter_context(_Helper(work))
        while (version := work.first()) is not None:
            function, types = version
            function.compile(types)
            work.count()


def serve() -> None:
    """Compile what comes on the standard input, and say when it is done, until the other process closes it."""
    while True:
        try:
            module, name, types = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        getattr(import_module(module), name).compile(types)
        print(flush=True)


def _threads() -> int:
    return vars(numba.core.config)["NUMBA_NUM_THREADS"]


def _known(function: Any, types: tuple[Any, ...]) -> bool:
    return types in function.overloads or function._cache.has(types, function.targetctx)


def _shared(versions: Sequence[Version]) -> bool:
    """Return whether there is a folder where processes meet, and a Python to start them."""
    return bool(sys.executable) and all(function._cache.cache_path is not None for function, _ in versions)


class _Work:
    """What is left to compile, for processes that take it from both ends."""

    def __init__(self, versions: Sequence[Version], progress: Callable[[int, int], None] | None) -> None:
        self._left, self._lock = deque(versions), Lock()
        self._done, self._total, self._progress = 0, len(versions), progress
        if versions:
            self._tell()

    def first(self) -> Version | None:
        with self._lock:
            return self._left.popleft() if self._left else None

    def last(self) -> Version | None:
        with self._lock:
            return self._left.pop() if self._left else None

    def count(self) -> None:
        """One more is compiled."""
        with self._lock:
            self._done += 1
            self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self._done, self._total)


class _Helper:
    """Another process that compiles, and the thread that gives it work. What it fails at is left to the first call."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        command = [sys.executable, "-c", _HELPER.format(path=sys.path)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ
        )
        self._thread = Thread(target=self._hand_out, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._process.kill()
        self._thread.join()
        self._process.kill()
        self._process.communicate()

    def _hand_out(self) -> None:
        given, told = self._process.stdin, self._process.stdout
        assert given is not None and told is not None
        with contextlib.suppress(OSError):  # it has ended
            while (version := self._work.last()) is not None:
                function, types = version
                given.write(pickle.dumps((function.py_func.__module__, function.py_func.__name__, types)))
                given.flush()
                if not told.readline():
                    return
                self._work.count()
