"""Networks trained at the same time, each on its part of the threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from numba import get_num_threads, set_num_threads


class SideBySide:
    """Threads that each do the work of one network at a time, while they are entered.

    The threads of compiled loops are shared out among them: what a network adds up on its own share does not wait for
    the others.

    Args:
        count: of the networks; one of them is worked on by the thread that asks, with all threads of the loops.
    """

    def __init__(self, count: int) -> None:
        threads = get_num_threads()
        self._workers = min(count, threads)
        self._threads = threads // self._workers
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> "SideBySide":
        if self._workers > 1:
            self._pool = ThreadPoolExecutor(self._workers, initializer=set_num_threads, initargs=(self._threads,))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def do(self, work: Callable[[int], None], count: int) -> None:
        """Do the work of networks 0..count-1, and return when all is done; the first error is raised."""
        each = map(work, range(count)) if self._pool is None else self._pool.map(work, range(count))
        for _ in each:
            pass
