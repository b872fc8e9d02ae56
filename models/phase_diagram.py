"""Phase diagrams: where finding the signal is easy, hard or impossible, over any two parameters of a model."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from factorgraph.brief import briefly
from models.ensembles import Ensemble
from models.free_entropy import fixed_point_free_entropy
from models.state_evolution import state_evolution

Array = NDArray[np.float64]
Family = Callable[[float, float], Ensemble]

EASY, HARD, IMPOSSIBLE = 0, 1, 2
NAMES = ("easy", "hard", "impossible")
#: Of state evolution. Where a bottleneck lets through so little, it takes longer than there are iterations.
_TOLERANCE = 1e-6


@briefly
@dataclass(frozen=True)
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
    iterations: int = 1000,
    progress: bool = True,
) -> PhaseDiagram:
    """Sweep two parameters over all cores.

    Easy: the uninformative start, as the algorithm has it, ends below ``success``. Hard: it does not, but the fixed
    point of greater free entropy is below. Impossible: that one is not either.

    Args:
        family: the model at a pair of values; a function of a module, so that other processes can call it.
        x: values of its first argument.
        y: values of its second one.
        success: error relative to E x² that counts as low.
        path: file to which finished points are written one by one; points that it has are not computed again.
        workers: number of processes, by default that of the cores; 1 computes in this one.
        iterations: of state evolution, at most.
        progress: show a progress bar.

    Raises:
        ValueError: values that are not finite, or a file of another diagram.
    """
    x, y = (np.asarray(values, dtype=np.float64) for values in (x, y))
    for name, values in (("x", x), ("y", y)):
        if values.ndim != 1 or values.size == 0 or not np.all(np.isfinite(values)):
            raise ValueError(f"`{name}` must be finite numbers (n,), got {values!r}")
    head = {"x": x.tolist(), "y": y.tolist(), "success": success, "iterations": iterations}
    done = {} if path is None else _read(Path(path), head)
    todo = [(i, j) for i in range(y.size) for j in range(x.size) if (i, j) not in done]
    tasks = [(i, j, float(x[j]), float(y[i])) for i, j in todo]
    file = None if path is None else open(path, "a", encoding="utf-8")
    try:
        if file is not None and file.tell() == 0:
            _write(file, head)
        for i, j, low, best in tqdm(
            _computed(family, tasks, workers, success, iterations), total=len(todo), disable=not progress
        ):
            done[i, j] = (low, best)
            if file is not None:
                _write(file, {"point": [i, j, low, best]})
    finally:
        if file is not None:
            file.close()
    values = np.array([[done[i, j] for j in range(x.size)] for i in range(y.size)])
    algorithm, best = values[..., 0], values[..., 1]
    phase = np.where(algorithm < success, EASY, np.where(best < success, HARD, IMPOSSIBLE))
    return PhaseDiagram(x, y, algorithm, best, phase)


def _computed(
    family: Family, tasks: list[tuple[int, int, float, float]], workers: int | None, success: float, iterations: int
) -> Iterator[tuple[int, int, float, float]]:
    if workers == 1 or len(tasks) < 2:
        for i, j, x, y in tasks:
            yield i, j, *errors(family(x, y), success, iterations)
        return
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        futures = {pool.submit(errors, family(x, y), success, iterations): (i, j) for i, j, x, y in tasks}
        for future in as_completed(futures):
            yield *futures[future], *future.result()


def errors(model: Ensemble, success: float = 1e-3, iterations: int = 1000) -> tuple[float, float]:
    """Relative error from the uninformative start, and that of the fixed point of greater free entropy.

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


def _write(file: Any, record: dict[str, Any]) -> None:
    file.write(json.dumps(record) + "\n")
    file.flush()


def _read(path: Path, head: dict[str, Any]) -> dict[tuple[int, int], tuple[float, float]]:
    """Finished points; a last line that a kill has cut off is removed from the file."""
    if not path.exists():
        return {}
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    records = [json.loads(line) for line in whole.splitlines()]
    if records and records[0] != head:
        raise ValueError(f"`path` must be a file of the same diagram or none, got {path} with other values")
    return {(i, j): (low, best) for i, j, low, best in (record["point"] for record in records[1:])}
