"""What the examples of phases share: a sweep of two ratios, and the algorithm along a line with instances on top."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import matplotlib.pyplot as plt
import numpy as np

from models import Ensemble, MultiLayerGLM, phase_diagram, state_evolution


@dataclass(frozen=True)
class Picture:
    """One example.

    Attributes:
        name: of its files, NAME.png and NAME.jsonl.
        title: above the phases.
        family: the model at hidden units and outputs per signal component.
        hidden: what the hidden units are called.
        outputs: what the outputs are called.
        span: of both ratios in the sweep.
        line: outputs per signal component along which instances are drawn.
        instances: hidden units per component of the first and the last of them.
        scale: of the errors.
        levels: outputs per signal component to be marked among the phases, by what they are.
    """

    name: str
    title: str
    family: Callable[[float, float], Ensemble]
    hidden: str
    outputs: str
    span: tuple[float, float]
    line: float
    instances: tuple[float, float]
    scale: str = "linear"
    levels: Mapping[str, float] = field(default_factory=dict)

    def main(self) -> None:
        """Sweep, draw, and compare instances with state evolution."""
        parser = argparse.ArgumentParser(description=f"Phases of {self.title}.")
        parser.add_argument("--points", type=int, default=20, help="grid points an axis")
        parser.add_argument("--size", type=int, default=1000, help="components of the instances' signals")
        parser.add_argument("--instances", type=int, default=10, help="how many")
        parser.add_argument("--workers", type=int, default=None, help="processes, by default as many as cores")
        arguments = parser.parse_args()
        values = np.linspace(*self.span, arguments.points)
        diagram = phase_diagram(self.family, values, values, path=f"{self.name}.jsonl", workers=arguments.workers)
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
        diagram.draw(left, labels=(f"{self.hidden} / N", f"{self.outputs} / N"))
        left.axhline(self.line, color="k", lw=0.8, ls=":")
        for style, (label, level) in zip(("--", "-."), self.levels.items(), strict=False):
            left.axhline(level, color="tab:red", lw=1.2, ls=style, label=f"{label}, {level:.2f}")
        if self.levels:
            left.legend()
        left.set_title(self.title)
        ratios = np.linspace(*self.instances, arguments.instances)
        theory = [state_evolution(self.family(ratio, self.line)).mse[-1, 0] for ratio in ratios]
        right.plot(ratios, theory, label="state evolution")
        errors = []
        for seed, (ratio, limit) in enumerate(zip(ratios, theory, strict=True)):
            model = self.family(ratio, self.line)
            sample = model.sample(arguments.size, seed)
            result = MultiLayerGLM(model.prior, sample.weights, model.channels).infer(sample.y, truth=sample.signals)
            assert result.mse is not None
            errors.append(result.mse[0])
            print(
                f"{self.hidden}/N {ratio:.2f}: error {errors[-1]:.2e}, state evolution {limit:.2e}, "
                f"{result.status} in {result.iterations} iterations"
            )
        right.plot(ratios, errors, "o", color="tab:red", label=f"instances, N = {arguments.size}")
        right.set(
            xlabel=f"{self.hidden} / N",
            ylabel="mean squared error",
            yscale=self.scale,
            title=f"{self.outputs} / N = {self.line}",
        )
        right.legend()
        figure.savefig(f"{self.name}.png", dpi=150)
