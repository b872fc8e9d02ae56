"""A signal that drifts or jumps about, seen through noise: the switching Kalman smoother beside smoothed particles.

A category selects the noise of every step. Messages are Gaussians; particles are smoothed by paths drawn backwards.
"""

import matplotlib.pyplot as plt
import numpy as np

from factorgraph import Graph, Switch, Table, infer

STEPS, PARTICLES, PATHS, NOISE = 200, 2000, 200, 0.3
STAY, DRIFT = np.array([[0.97, 0.03], [0.10, 0.90]]), np.array([0.01, 1.0])


def by_messages(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the wild regime and mean of the signal."""
    graph = Graph()
    c, x = graph.categories("c", STEPS, states=2), graph.reals("x", STEPS, field=y / NOISE, precision=1 / NOISE)
    graph.add(Table(c[:-1], c[1:], table=STAY))
    graph.add(Switch(c[1:], x[1:], x[:-1], coefficients=[[1.0, -1.0]] * 2, noise=DRIFT))
    result = infer(graph, damping=0.2, tolerance=1e-5)
    return result["c"].probabilities[:, 1], result["x"].mean


def by_particles(y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The same."""
    c, x = np.zeros((STEPS, PARTICLES), dtype=int), rng.normal(y[0], np.sqrt(NOISE), (STEPS, PARTICLES))
    log_w, path = np.zeros((STEPS, PARTICLES)), np.zeros((STEPS, PATHS), dtype=int)
    for t in range(1, STEPS):
        old = rng.choice(PARTICLES, PARTICLES, p=np.exp(log_w[t - 1]) / np.exp(log_w[t - 1]).sum())
        c[t] = rng.random(PARTICLES) < STAY[c[t - 1, old], 1]
        x[t] = x[t - 1, old] + np.sqrt(DRIFT[c[t]]) * rng.standard_normal(PARTICLES)
        log_w[t] = -0.5 * (y[t] - x[t]) ** 2 / NOISE
    for t in range(STEPS - 1, -1, -1):
        next_c, next_x = (v[min(t + 1, STEPS - 1), path[min(t + 1, STEPS - 1)]][:, None] for v in (c, x))
        later = np.log(STAY[c[t], next_c]) - 0.5 * (next_x - x[t]) ** 2 / DRIFT[next_c] if t < STEPS - 1 else 0.0
        path[t] = (log_w[t] + later + rng.gumbel(size=(PATHS, PARTICLES))).argmax(axis=1)
    return np.take_along_axis(c, path, 1).mean(axis=1), np.take_along_axis(x, path, 1).mean(axis=1)


def main() -> None:
    """Smooth a signal both ways and draw it."""
    rng, c = np.random.default_rng(0), np.zeros(STEPS, dtype=int)
    for t in range(1, STEPS):
        c[t] = rng.random() < STAY[c[t - 1], 1]
    x = np.cumsum(np.sqrt(DRIFT[c]) * rng.standard_normal(STEPS))
    y = x + np.sqrt(NOISE) * rng.standard_normal(STEPS)
    figure, (top, below) = plt.subplots(2, 1, figsize=(8, 5), sharex=True, layout="constrained")
    top.plot(y, ".", color="0.7", label="seen")
    below.fill_between(range(STEPS), c, step="mid", color="0.9", label="regime")
    for name, (wild, mean) in {"messages": by_messages(y), "particles": by_particles(y, rng)}.items():
        print(f"{name}: {np.mean((wild > 0.5) != c):.1%} of regimes wrong, error {np.std(mean - x):.3f}")
        top.plot(mean, label=name)
        below.plot(wild, label=f"{name}: probability")
    figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    figure.savefig("16_switching.png", dpi=110)


if __name__ == "__main__":
    main()
