"""tramp and vampyre on the problems of ``inference.py``, from checkouts of their sources; see there.

``python tests/benchmarks/inference_peers.py {tramp,vampyre} CHECKOUT {sparse,decoder,evolution}``, where they run.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

N = 2000


def problem(case: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Matrices and output."""
    rng = np.random.default_rng(0)
    if case == "sparse":
        x = rng.standard_normal(N) * (rng.random(N) < 0.2)
        W = rng.standard_normal((1200, N)) / N**0.5
        return [W], W @ x + 1e-2 * rng.standard_normal(1200)
    x = rng.standard_normal(N) * (rng.random(N) < 0.3)
    first, second = rng.standard_normal((2, N, N)) / N**0.5
    return [first, second], second @ np.maximum(first @ x, 0.0) + 0.1 * rng.standard_normal(N)


def report(name: str, build: Callable[[], Callable[[int], Any]], iterations: int = 12) -> None:
    """Print the seconds of the set-up, and of an iteration: the difference of a long and a short run."""
    start = time.perf_counter()
    run = build()
    run(1)
    setup = time.perf_counter() - start
    times = []
    for count in (2, 2 + iterations):
        start = time.perf_counter()
        run(count)
        times.append(time.perf_counter() - start)
    each = 1e3 * (times[1] - times[0]) / iterations
    print(f"{name}: set-up with one iteration {setup:.2f} s, iteration {each:.2f} ms", flush=True)


def tramp(case: str) -> None:
    """Expectation propagation and state evolution of tramp."""
    from tramp.algos import ExpectationPropagation, StateEvolution
    from tramp.channels import GaussianChannel, LinearChannel, MarchenkoPasturChannel, ReluChannel, SgnChannel
    from tramp.priors import BinaryPrior, GaussBernoulliPrior
    from tramp.variables import SILeafVariable as O
    from tramp.variables import SISOVariable as V

    def never(*_: Any) -> bool:
        return False

    if case == "evolution":
        layer = MarchenkoPasturChannel
        model = BinaryPrior(size=None) @ V("x") @ layer(alpha=1.0) @ V("z") @ SgnChannel() @ V("h")
        model = model @ layer(alpha=1.0) @ V("u") @ SgnChannel() @ O("y")
        evolution = StateEvolution(model.to_model().to_observed({"y": None}))
        start = time.perf_counter()
        evolution.iterate(max_iter=2, callback=never)
        each = (time.perf_counter() - start) / 2
        print(f"tramp: {each:.2f} s an iteration, mean of the first two", flush=True)
        return

    def build() -> Callable[[int], Any]:
        weights, y = problem(case)
        if case == "sparse":
            model = GaussBernoulliPrior(size=N, rho=0.2) @ V("x") @ LinearChannel(weights[0]) @ V("z")
            model = model @ GaussianChannel(var=1e-4) @ O("y")
        else:
            model = GaussBernoulliPrior(size=N, rho=0.3) @ V("x") @ LinearChannel(weights[0]) @ V("z")
            model = model @ ReluChannel() @ V("h") @ LinearChannel(weights[1]) @ V("u")
            model = model @ GaussianChannel(var=1e-2) @ O("y")
        algorithm = ExpectationPropagation(model.to_model().to_observed({"y": y}))
        return lambda count: algorithm.iterate(max_iter=count, callback=never)

    report("tramp", build)


def vampyre(case: str) -> None:
    """VAMP and multi-layer VAMP of vampyre, with its singular value decompositions."""
    import vampyre as vp

    def prior(density: float) -> Any:
        parts = [vp.estim.GaussEst(0, 1, (N,)), vp.estim.DiscreteEst(0, 1, (N,))]
        return vp.estim.MixEst(parts, [density, 1 - density])

    def build() -> Callable[[int], Any]:
        weights, y = problem(case)
        last = vp.trans.MatrixLT(weights[-1], (N,))
        if case == "sparse":
            handler = vp.estim.MsgHdlSimp(map_est=False, shape=(N,))
            solver = vp.solver.Vamp(prior(0.2), vp.estim.LinEst(last, y, 1e-4, map_est=False), msg_hdl=handler)
        else:
            first = vp.estim.LinEstTwo(vp.trans.MatrixLT(weights[0], (N,)), np.zeros(N), 0.0)
            parts = [prior(0.3), first, vp.estim.ReLUEst((N,)), vp.estim.LinEst(last, y, 1e-2, map_est=False)]
            handlers = [vp.estim.MsgHdlSimp(map_est=False, shape=(N,)) for _ in parts[1:]]
            solver = vp.solver.MLVamp(parts, handlers)

        def run(count: int) -> None:
            solver.nit = count
            solver.solve()

        return run

    report("vampyre", build)


if __name__ == "__main__":
    peer, checkout, case = sys.argv[1:]
    sys.path.insert(0, checkout)
    {"tramp": tramp, "vampyre": vampyre}[peer](case)
