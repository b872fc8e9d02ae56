"""An image of five labels seen through noise: each pixel by itself, and with neighbours that like the same label.

The labels are categories on a grid, tied by Potts factors; the noisy grey values give every pixel its field. Belief
propagation finds the marginals, whose modes are the likeliest labels and whose entropy says where these are doubtful,
and, by maxima, one most probable image.
"""

import matplotlib.pyplot as plt
import numpy as np

from factorgraph import Graph, Potts, infer

SIZE, COUPLING, NOISE = 120, 1.2, 0.8
GREYS = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])


def scene() -> np.ndarray:
    """Labels (SIZE, SIZE): stripes, two discs and a ring."""
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    labels = np.where(x + 0.5 * y > 0.2, 1, 0)
    labels[(x + 0.4) ** 2 + (y + 0.3) ** 2 < 0.16] = 3
    labels[(x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.12] = 4
    labels[np.abs(np.hypot(x - 0.1, y + 0.1) - 0.75) < 0.06] = 2
    return labels


def main() -> None:
    """Segment the image and draw it."""
    labels = scene()
    seen = GREYS[labels] + NOISE * np.random.default_rng(0).standard_normal(labels.shape)
    field = -0.5 * (seen[..., None] - GREYS) ** 2 / NOISE**2

    graph = Graph()
    c = graph.categories("label", labels.shape, states=len(GREYS), field=field)
    graph.add(Potts(c[:-1], c[1:], coupling=COUPLING))
    graph.add(Potts(c[:, :-1], c[:, 1:], coupling=COUPLING))
    result = infer(graph, tolerance=1e-6)
    print(result)
    best = infer(graph, maximum=True, damping=0.3, max_sweeps=100)

    alone, mode = field.argmax(axis=-1), result["label"].mode
    images = {
        "seen": seen,
        "each pixel alone": alone,
        "marginals: modes": mode,
        "maxima": best["label"].mode,
        "labels": labels,
        "entropy": result["label"].entropy,
    }
    figure, axes = plt.subplots(2, 3, figsize=(9, 6.4), layout="constrained")
    for axis, (name, image) in zip(axes.flat, images.items(), strict=True):
        wrong = "" if name in ("seen", "labels", "entropy") else f": {100 * np.mean(image != labels):.1f} % wrong"
        axis.imshow(image, cmap="magma" if name == "entropy" else "viridis")
        axis.set(title=name + wrong, xticks=[], yticks=[])
        print(name + wrong)
    figure.savefig("11_labels.png", dpi=110)


if __name__ == "__main__":
    main()
