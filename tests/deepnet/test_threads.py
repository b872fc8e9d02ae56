"""Training and predicting in forked processes and in several threads at once, on every threading layer."""

import os
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from deepnet.kernels.cpu.library import OneThread

_MODULES = {"omp": "omppool", "tbb": "tbbpool", "workqueue": "workqueue"}


def _available(layer: str) -> bool:
    try:
        import_module(f"numba.np.ufunc.{_MODULES[layer]}")
    except ImportError:
        return False
    return True


LAYERS = [
    pytest.param(layer, marks=pytest.mark.skipif(not _available(layer), reason=f"{layer} is not installed"))
    for layer in _MODULES
]

FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")

#: A loop whose result is known, run in the process, in a forked one, and by several threads at once in both.
_LOOP = """
import os, sys, threading
import numpy as np
sys.path.insert(0, sys.argv[1])
from loop_of_threads import fill

def right(rounds):
    for _ in range(rounds):
        x = np.zeros(1000)
        fill(x, 4)
        assert (x == np.arange(1000.0)).all()
    passed.append(rounds)

def at_once():
    passed.clear()
    threads = [threading.Thread(target=right, args=(300,)) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return passed == [300] * 4

passed = []
right(1)
assert at_once()
for _ in range(2):  # of a child, too
    child = os.fork() if hasattr(os, "fork") else 0
    if child:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        os._exit(0)
    right(3)
    assert at_once()
"""

_FILL = """
from factorgraph.runtime.parallel import shared

@shared()
def fill(x, thread, threads):
    for i in range(thread * x.size // threads, (thread + 1) * x.size // threads):
        x[i] = i
"""

_FIT = """
import multiprocessing, os, sys, threading
from concurrent.futures import ProcessPoolExecutor
import numpy as np
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_info
from deepnet import MessagePassingClassifier

X = np.random.default_rng(0).normal(size=(200, 64))
y = (X @ np.random.default_rng(1).normal(size=64) > 0).astype(int)

def fitted(seed, epochs=2):
    return MessagePassingClassifier(hidden=(101,), epochs=epochs, random_state=seed).fit(X, y)

def proba(seed, epochs=2):
    return fitted(seed, epochs).predict_proba(X)

def library():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

first = fitted(0)
here, before = [first.predict_proba(X), proba(1)], library()
print("parent", flush=True)

there = {}
def work(seed, epochs):
    there[seed] = proba(seed, epochs)
threads = [threading.Thread(target=work, args=args) for args in ((0, 2), (1, 6))]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert (there[0] == here[0]).all() and (there[1] == proba(1, 6)).all()
assert library() == before, (before, library())
print("threads", flush=True)

if hasattr(os, "fork"):
    child = os.fork()
    if child == 0:
        same = (first.predict_proba(X) == here[0]).all() and (proba(1) == here[1]).all() and library() == before
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        assert all((a == b).all() for a, b in zip(pool.map(proba, (0, 1)), here))
    with parallel_config(backend="multiprocessing"):
        network = MessagePassingClassifier(hidden=(101,), epochs=1, random_state=0)
        search = GridSearchCV(network, {"rho": [0.9, 1.0]}, cv=2, n_jobs=2)
        search.fit(X, y)
    assert (search.cv_results_["mean_test_score"] > 0.6).all()
print("children")
"""


def _run(code: str, *arguments: str, **environment: str) -> str:
    path = os.pathsep.join(str(Path(__file__).parents[2]) if p == "" else p for p in sys.path)
    env = os.environ | {"PYTHONPATH": path, "NUMBA_NUM_THREADS": "2"} | environment
    run = subprocess.run([sys.executable, "-c", code, *arguments], env=env, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@FORKS
@pytest.mark.parametrize("layer", LAYERS)
def test_loops_run_in_forked_processes_and_in_threads_at_once(layer, tmp_path):
    (tmp_path / "loop_of_threads.py").write_text(_FILL)
    printed = _run(_LOOP, str(tmp_path), NUMBA_THREADING_LAYER=layer)
    assert printed.split() == ["0", "0"]


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS)
def test_networks_train_and_predict_in_forked_processes_and_in_threads_at_once(layer):
    """To the last bit as alone, and the library has its threads back."""
    assert _run(_FIT, NUMBA_THREADING_LAYER=layer).split() == ["parent", "threads", "children"]


# --- threads of the linear algebra library ----------------------------------------------------------------------------


def _library() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def _in_a_thread(function, *arguments, **options):
    """Newer versions of threadpoolctl leave the library to the thread that was the first to limit it, until it ends."""
    thread = threading.Thread(target=function, args=arguments, kwargs=options)
    thread.start()
    thread.join()


@pytest.fixture
def two_threads():
    """The library with two threads, whatever the machine has."""
    found = max(_library())
    _in_a_thread(threadpool_limits, 2, user_api="blas")
    before = _library()
    assert set(before) == {2}
    yield before
    _in_a_thread(threadpool_limits, found, user_api="blas")


def test_the_library_is_left_to_whoever_else_limits_it(two_threads):
    limit = OneThread()
    with limit:
        assert set(_library()) == {1}
        _in_a_thread(_nested, limit)
        assert set(_library()) == {1}
    assert _library() == two_threads
    with threadpool_limits(2, user_api="blas"):
        with limit:
            _in_a_thread(_nested, limit)
            assert set(_library()) == {1}
        assert set(_library()) == {2}
        _in_a_thread(_nested, limit)
        assert set(_library()) == {2}
    assert _library() == two_threads


def _nested(limit):
    with limit, limit:
        pass


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("fails", [False, True])
def test_the_library_has_its_threads_back_in_whatever_order_they_leave(order, fails, two_threads):
    limit, errors = OneThread(), []
    entered, leave = [threading.Event() for _ in range(2)], [threading.Event() for _ in range(2)]

    def work(number):
        try:
            with limit, limit:
                entered[number].set()
                assert leave[number].wait(60)
                if fails:
                    raise KeyError
        except KeyError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread, event in zip(threads, entered, strict=True):
        thread.start()
        assert event.wait(60)
    for number in (0, 1) if order == "first" else (1, 0):
        assert set(_library()) == {1}
        leave[number].set()
        threads[number].join()
    assert _library() == two_threads
    assert len(errors) == 2 * fails


@FORKS
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_threads_that_it_has_not(two_threads):
    limit, entered, leave = OneThread(), threading.Event(), threading.Event()

    def work():
        with limit:
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(60)
    child = os.fork()
    if child == 0:
        had = _library()
        with limit:
            limited = set(_library())
        os._exit(0 if had == _library() == two_threads and limited == {1} else 1)
    _, status = os.waitpid(child, 0)
    leave.set()
    thread.join()
    assert status == 0
    assert _library() == two_threads
