"""How often belief propagation converges, how near the truth it is then, and how often training fails.

``python tests/benchmarks/reliability.py graphs`` draws random models small enough for the truth and prints a row for
each family and way to run; ``... training`` trains networks that differ in their seed only, one row for each kind.
Tables in Markdown go to the standard output stream.
"""

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from deepnet import MessagePassingClassifier
from factorgraph import CavityWarning, Graph, Pairwise, Potts, exact, infer

INSTANCES, SEEDS = 50, 20
SIDE = 7

WAYS: dict[str, dict[str, Any]] = {
    "flooding": {"schedule": "flooding"},
    "flooding, damping 0.5": {"schedule": "flooding", "damping": 0.5},
    "adaptive damping": {"damping": "adaptive"},
    "sequential": {"schedule": "sequential"},
    "residual": {"schedule": "residual"},
}


def glass(strength: float) -> Callable[[np.random.Generator], Graph]:
    """Spins on a grid with normal couplings and fields."""

    def draw(rng: np.random.Generator) -> Graph:
        graph = Graph()
        x = graph.spins("x", (SIDE, SIDE), field=0.3 * rng.normal(size=(SIDE, SIDE)))
        graph.add(Pairwise(x[:-1], x[1:], coupling=strength * rng.normal(size=(SIDE - 1, SIDE))))
        graph.add(Pairwise(x[:, :-1], x[:, 1:], coupling=strength * rng.normal(size=(SIDE, SIDE - 1))))
        return graph

    return draw


def ferromagnet(strength: float) -> Callable[[np.random.Generator], Graph]:
    """Spins on a grid that agree, in random fields."""

    def draw(rng: np.random.Generator) -> Graph:
        graph = Graph()
        x = graph.spins("x", (SIDE, SIDE), field=0.3 * rng.normal(size=(SIDE, SIDE)))
        graph.add(Pairwise(x[:-1], x[1:], coupling=strength))
        graph.add(Pairwise(x[:, :-1], x[:, 1:], coupling=strength))
        return graph

    return draw


def colours(strength: float) -> Callable[[np.random.Generator], Graph]:
    """Categories of three states on a grid, with normal Potts couplings and fields."""

    def draw(rng: np.random.Generator) -> Graph:
        graph, side = Graph(), SIDE - 1
        x = graph.categories("x", (side, side), states=3, field=0.3 * rng.normal(size=(side, side, 3)))
        graph.add(Potts(x[:-1], x[1:], coupling=strength * rng.normal(size=(side - 1, side))))
        graph.add(Potts(x[:, :-1], x[:, 1:], coupling=strength * rng.normal(size=(side, side - 1))))
        return graph

    return draw


def normal(strength: float) -> Callable[[np.random.Generator], Graph]:
    """Reals of precision 1 on a grid, couplings of either sign: walk-summable for a strength up to a quarter."""

    def draw(rng: np.random.Generator) -> Graph:
        graph = Graph()
        x = graph.reals("x", (SIDE, SIDE), field=rng.normal(size=(SIDE, SIDE)), precision=1.0)
        for a, b in ((x[:-1], x[1:]), (x[:, :-1], x[:, 1:])):
            graph.add(Pairwise(a, b, coupling=strength * rng.choice([-1.0, 1.0], a.shape)))
        return graph

    return draw


FAMILIES = {
    "spin glass, couplings ± 0.5": glass(0.5),
    "spin glass, couplings ± 1": glass(1.0),
    "spin glass, couplings ± 2": glass(2.0),
    "ferromagnet, coupling 0.3": ferromagnet(0.3),
    "ferromagnet, coupling 0.6": ferromagnet(0.6),
    "Potts glass, couplings ± 1": colours(1.0),
    "Potts glass, couplings ± 3": colours(3.0),
    "reals, coupling 0.2": normal(0.2),
    "reals, coupling 0.26": normal(0.26),
}


def marginals(result: Any) -> np.ndarray:
    """Return what is compared with the truth: means, or probabilities."""
    beliefs = result["x"]
    return beliefs.probabilities if hasattr(beliefs, "probabilities") else beliefs.mean


def graphs() -> None:
    """Print the table of the engine: the share that converged, and median errors of the marginals if so / if not."""
    print(f"| family | {' | '.join(WAYS)} |")
    print("|---|" + len(WAYS) * "---|")
    for family, draw in FAMILIES.items():
        models = [draw(np.random.default_rng(seed)) for seed in range(INSTANCES)]
        truths = [marginals(exact(model)) for model in models]
        cells = [cell(models, truths, options) for options in WAYS.values()]
        print(f"| {family} | {' | '.join(cells)} |", flush=True)


def cell(models: list[Graph], truths: list[np.ndarray], options: dict[str, Any]) -> str:
    """Return what one way to run makes of the models of a family."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for model, truth in zip(models, truths, strict=True):
        result = infer(model, tolerance=1e-8, **options)
        found[result.converged].append(float(np.abs(marginals(result) - truth).mean()))
    errors = [f"{np.median(each):.2g}" if each else "–" for each in found.values()]
    return f"{100 * len(found[True]) / len(models):.0f} %, {' / '.join(errors)}"


def training() -> None:
    """Print the table of training: digits, 64-51-51-10, default settings."""
    X, y = load_digits(return_X_y=True)
    parts = train_test_split(X, y, test_size=0.25, random_state=0, stratify=y)
    print("| weights, units, messages | error in percent: median | largest | failed |")
    print("|---|---|---|---|")
    for weights in ("binary", "continuous"):
        for activation in ("sign", "relu"):
            for closure in ("mf", "amp", "bpi", "bp"):
                errors = [error_of(seed, parts, weights, activation, closure) for seed in range(SEEDS)]
                failed = sum(error > 20.0 for error in errors)
                row = f"{np.median(errors):.1f} | {max(errors):.1f} | {failed} of {SEEDS}"
                print(f"| {weights}, {activation}, {closure} | {row} |", flush=True)


def error_of(seed: int, parts: Any, weights: str, activation: str, closure: str) -> float:
    """Return the test error in percent of a network of this seed; 100 if its training diverged."""
    train, test, labels, truth = parts
    settings = {"weights": weights, "activation": activation, "closure": closure}
    network = MessagePassingClassifier(hidden=(51, 51), epochs=20, batch_size=32, random_state=seed, **settings)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CavityWarning)
            return 100.0 * (1.0 - network.fit(train, labels).score(test, truth))
    except ArithmeticError:
        return 100.0


if __name__ == "__main__":
    for part in sys.argv[1:] or ("graphs", "training"):
        {"graphs": graphs, "training": training}[part]()
