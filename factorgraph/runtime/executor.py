"""Many independent tasks, one after the other in this process or side by side on the workers of a Dask cluster."""

import contextlib
import importlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numba
from threadpoolctl import threadpool_limits

Task = TypeVar("Task")
Result = TypeVar("Result")

#: Variables that keep the libraries of a worker to one thread: there is a worker for every core.
ONE_THREAD = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class ExecutorError(RuntimeError):
    """There is no such cluster, or what it needs is missing; the message says which, and the remedy."""


def run_serially(
    function: Callable[[Task], Result], tasks: Iterable[Task]
) -> Generator[tuple[Task, Result | Exception], None, None]:
    """Yield every task with what ``function`` makes of it, or the exception that it raises, in order."""
    for task in tasks:
        try:
            yield task, function(task)
        except Exception as error:
            yield task, error


def run_on_dask(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    scheduler: str | None = None,
    workers: int | None = None,
) -> Generator[tuple[Task, Result | Exception], None, None]:
    """As ``run_serially``, in the order in which the tasks are done; those of a worker that dies go to another one.

    Args:
        function: of a module that the workers can import.
        tasks: which can be pickled.
        scheduler: address of the cluster; None for processes on this machine, which end with the generator.
        workers: how many of them; None for one on each core.

    Raises:
        ExecutorError: Dask is missing, or the scheduler does not answer.
    """
    distributed = import_distributed()
    with _client(distributed, scheduler, min(workers or os.cpu_count() or 1, max(1, len(tasks)))) as client:
        futures = {client.submit(function, task, pure=False): task for task in tasks}
        try:
            for future in distributed.as_completed(futures):
                yield futures[future], _outcome(future)
                future.release()
        finally:
            client.cancel(list(futures))


def import_distributed() -> Any:
    """Return the library of clusters."""
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise ExecutorError(f"dask is needed for a cluster ({error}): pip install 'cavity[dask]'") from error


@contextlib.contextmanager
def _client(distributed: Any, scheduler: str | None, workers: int) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        address: Any = scheduler
        if scheduler is None:
            local = {
                "processes": True,
                "threads_per_worker": 1,
                "dashboard_address": None,
                "env": ONE_THREAD,
                "silence_logs": logging.ERROR,
            }
            with _deaf_to_interrupts():
                address = stack.enter_context(distributed.LocalCluster(n_workers=workers, **local))
        try:
            client = distributed.Client(address)
        except (OSError, TimeoutError, ValueError) as error:
            raise ExecutorError(
                f"`scheduler` must be the address of a Dask scheduler that answers, got {scheduler!r}: {error}"
            ) from error
        yield stack.enter_context(client)


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started meanwhile leave Ctrl-C, which a terminal sends to all, to the one that ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _outcome(future: Any) -> Any:
    """Return the result of a task that is done, or its exception; one that says so if the scheduler has lost the
    task."""
    if future.status == "finished":
        return future.result()
    error = future.exception() if future.status == "error" else None
    return error or ExecutorError(f"the task was {future.status}: the scheduler has gone")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compiled loops and the linear algebra library keep to one thread: results do not depend on the machine."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        numba.set_num_threads(before)
