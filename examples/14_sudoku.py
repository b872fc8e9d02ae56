"""Sudoku by decimation: digits are categories, and no two of a row, a column or a box may be equal.

Belief propagation on the 810 constraints says for each cell how likely each digit is; decimation fixes the clearest
cells and sends the messages again, until all are fixed. Messages with loops may mislead: another attempt then breaks
ties otherwise.
"""

import itertools

import matplotlib.pyplot as plt
import numpy as np

from factorgraph import Graph, Potts, decimate, infer

PUZZLE = """
53..7.... 6..195... .98....6. 8...6...3 4..8.3..1 7...2...6 .6....28. ...419..5 ....8..79
"""


def conflicts() -> np.ndarray:
    """Pairs (810, 2) of cells that must differ."""
    cells = list(itertools.product(range(9), repeat=2))
    box = lambda i, j: (i // 3, j // 3)  # noqa: E731
    return np.array(
        [
            (a, b)
            for a, b in itertools.combinations(range(81), 2)
            if cells[a][0] == cells[b][0] or cells[a][1] == cells[b][1] or box(*cells[a]) == box(*cells[b])
        ]
    )


def main() -> None:
    """Solve the puzzle, and draw how certain the beliefs were before anything was fixed."""
    given = np.array([[float(c) - 1 if c != "." else np.nan for c in row] for row in PUZZLE.split()])
    graph = Graph()
    cell = graph.categories("digit", 81, states=9)
    graph.add(Potts(*cell[conflicts()].columns, coupling=-np.inf))
    observed = {"digit": given.ravel()}
    solution = decimate(graph, observed=observed)
    digits = solution["digit"].reshape(9, 9) + 1
    print(f"{solution.violated} conflicts after {solution.attempts} attempts and {solution.sweeps} sweeps")
    print("\n".join(" ".join(map(str, row)) for row in digits))

    beliefs = infer(graph, observed=observed, schedule="sequential", max_sweeps=100)
    entropy = beliefs["digit"].entropy.reshape(9, 9)
    figure, axis = plt.subplots(figsize=(5, 5), layout="constrained")
    image = axis.imshow(entropy, cmap="Blues")
    for i, j in itertools.product(range(9), repeat=2):
        axis.text(j, i, digits[i, j], ha="center", va="center", weight="bold" if given[i, j] >= 0 else "normal")
    figure.colorbar(image, label="entropy of the beliefs (nats)")
    axis.set(xticks=np.arange(2.5, 8), yticks=np.arange(2.5, 8), xticklabels=[], yticklabels=[])
    axis.grid(color="black")
    figure.savefig("14_sudoku.png", dpi=110)


if __name__ == "__main__":
    main()
