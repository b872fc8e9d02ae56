"""Phase diagrams: where finding the signal is easy, hard or impossible, over any two parameters of a model."""

import contextlib
import functools
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from factorgraph.interface.arguments import check_flag, check_instance, check_integer, check_number, shown
from factorgraph.interface.brief import tabled
from factorgraph.runtime.executor import run_on_dask
from models.asymptotics.ensembles import Ensemble
from models.asymptotics.free_entropy import fixed_point_free_entropy
from models.asymptotics.phase_file import PhaseFile
from models.asymptotics.state_evolution import state_evolution
from models.checks import vector

Array = NDArray[np.float64]
Family = Callable[[float, float], Ensemble]

EASY, HARD, IMPOSSIBLE = 0, 1, 2
NAMES = ("easy", "hard", "impossible")
#: Of state evolution. Where a bottleneck lets through so little, it takes longer than there are iterations.
_TOLERANCE = 1e-6


@tabled
@dataclass(frozen=True, repr=False)
class PhaseDiagram:
    """Fixed points of state evolution over a grid.

    Attributes:
        x: values of the first parameter, (nx,).
        y: values of the second one, (ny,).
        algorithm: error of the signal from the uninformative start, relative to E x², (ny, nx).
        best: that of the fixed point of greater free entropy; the same where it is easy.
        phase: 0 easy, 1 hard, 2 impossible, (ny, nx).
    """

    x: Array
    y: Array
    algorithm: Array
    best: Array
    phase: NDArray[np.int_]

    def __repr__(self) -> str:
        counts = ", ".join(f"{np.count_nonzero(self.phase == k)} {name}" for k, name in enumerate(NAMES))
        return f"PhaseDiagram({self.y.size} x {self.x.size} points: {counts})"

    def draw(self, axes: Any, *, labels: tuple[str, str] = ("x", "y")) -> None:
        """Colour the three phases on Matplotlib ``axes``."""
        import matplotlib.colors
        import matplotlib.patches

        colours = ["#a6d8a8", "#f6d186", "#e58f8f"]
        axes.pcolormesh(
            self.x, self.y, self.phase, cmap=matplotlib.colors.ListedColormap(colours), vmin=-0.5, vmax=2.5,
            shading="nearest", rasterized=True,
        )  # fmt: skip
        present = sorted(set(self.phase.ravel().tolist()))
        handles = [matplotlib.patches.Patch(color=colours[phase], label=NAMES[phase]) for phase in present]
        axes.legend(handles=handles, loc="best")
        axes.set(xlabel=labels[0], ylabel=labels[1])


def phase_diagram(
    family: Family,
    x: Sequence[float] | Array,
    y: Sequence[float] | Array,
    *,
    success: float = 1e-3,
    path: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    iterations: int = 1000,
    progress: bool = True,
) -> PhaseDiagram:
    """Sweep two parameters over all cores.

    Easy: the uninformative start, as the algorithm has it, ends below ``success``. Hard: it does not, but the fixed
    point of greater free entropy is below. Impossible: that one is not either.

    Args:
        family: the model at a pair of values; for several processes one whose parts can be pickled.
        x: values of its first argument.
        y: values of its second one.
        success: error relative to E x² that counts as low.
        path: file to which finished points are appended one by one; points that it has are not computed again. Killed
            or with a full disk, a sweep loses the points that it was computing, and continues when called again.
        workers: number of processes, by default that of the cores; 1 computes in this one. They end with this process.
        scheduler: address of a Dask cluster that computes the points instead; None for processes on this machine.
        iterations: of state evolution, at most.
        progress: show a progress bar.

    Raises:
        ValueError: an argument outside its domain, or a file of another diagram, in use, or changed by others.
        OSError: the disk refuses a point; those before it are kept.
        ExecutorError: Dask is missing, or the scheduler does not answer.
    """
    if not callable(family):
        raise ValueError(f"`family` must be a function of two numbers that returns an Ensemble, got {shown(family)}")
    x, y = vector("x", x), vector("y", y)
    success = check_number("success", success, above=0.0)
    iterations = check_integer("iterations", iterations, minimum=1)
    if scheduler is not None:
        check_instance("scheduler", scheduler, str, "the address of a Dask scheduler")
    workers = (os.cpu_count() or 1) if workers is None else check_integer("workers", workers, minimum=1)
    progress = check_flag("progress", progress)
    for name, values in (("x", x), ("y", y)):
        if not values.size:
            raise ValueError(f"`{name}` must be at least one number, got none")
    with _storage(path, x, y, {"success": success, "iterations": iterations}) as storage:
        done = storage.points if storage is not None else {}
        todo = [(i, j) for i in range(y.size) for j in range(x.size) if (i, j) not in done]
        models = ((i, j, _member(family, float(x[j]), float(y[i]))) for i, j in todo)
        if scheduler is None:
            results = _computed(models, min(workers, len(todo)), success, iterations)
        else:
            results = _computed_by(scheduler, models, success, iterations)
        with contextlib.closing(results), tqdm(total=len(todo), disable=not progress) as bar:
            for i, j, low, best in results:
                done[i, j] = (low, best)
                if storage is not None:
                    storage.append(i, j, low, best)
                bar.update()
    values = np.array([[done[i, j] for j in range(x.size)] for i in range(y.size)])
    algorithm, best = values[..., 0], values[..., 1]
    phase = np.where(algorithm < success, EASY, np.where(best < success, HARD, IMPOSSIBLE))
    return PhaseDiagram(x, y, algorithm, best, phase)


def _storage(
    path: str | os.PathLike[str] | None, x: Array, y: Array, settings: dict[str, Any]
) -> contextlib.AbstractContextManager[PhaseFile | None]:
    if path is None:
        return contextlib.nullcontext()
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str) or not os.fspath(path):
        raise ValueError(f"`path` must be the path of a file or None, got {shown(path)}")
    return PhaseFile(Path(path), x.tolist(), y.tolist(), settings)


def _member(family: Family, x: float, y: float) -> Ensemble:
    return check_instance("family", family(x, y), Ensemble, "a function of two numbers that returns an Ensemble")


def _computed(
    models: Iterable[tuple[int, int, Ensemble]], workers: int, success: float, iterations: int
) -> Generator[tuple[int, int, float, float], None, None]:
    if workers < 2:
        for i, j, model in models:
            yield i, j, *errors(model, success, iterations)
        return
    pool = ProcessPoolExecutor(workers, initializer=_end_with_parent)
    try:
        futures = {pool.submit(errors, model, success, iterations): (i, j) for i, j, model in models}
        for future in as_completed(futures):
            yield *futures[future], *future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _computed_by(
    scheduler: str, models: Iterable[tuple[int, int, Ensemble]], success: float, iterations: int
) -> Generator[tuple[int, int, float, float], None, None]:
    """As ``_computed``, on a Dask cluster."""
    task = functools.partial(_point, success=success, iterations=iterations)
    with contextlib.closing(run_on_dask(task, list(models), scheduler=scheduler)) as outcomes:
        for (i, j, _), outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
            yield i, j, *outcome


def _point(task: tuple[int, int, Ensemble], *, success: float, iterations: int) -> tuple[float, float]:
    return errors(task[2], success, iterations)


def _end_with_parent() -> None:
    """Let this process end as soon as the one that started it has, however that ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def errors(model: Ensemble, success: float = 1e-3, iterations: int = 1000) -> tuple[float, float]:
    """Return relative error from the uninformative start, and that of the fixed point of greater free entropy.

    Where the first is below ``success`` there is no other phase to look for, and it is returned twice.
    """
    rho = model.second_moments[0]
    low = state_evolution(model, iterations=iterations, tolerance=_TOLERANCE)
    error = float(low.mse[-1, 0]) / rho
    if error < success:
        return error, error
    high = state_evolution(model, iterations=iterations, tolerance=_TOLERANCE, start="informative")
    if float(high.mse[-1, 0]) / rho > 0.99 * error:
        return error, error
    better = fixed_point_free_entropy(model, high) > fixed_point_free_entropy(model, low)
    return error, float(high.mse[-1, 0]) / rho if better else error
