"""Outputs seen through Gaussian noise whose variance is not known: a parameter that training learns."""

from dataclasses import dataclass

from factorgraph.channels import Identity


@dataclass(frozen=True)
class LearntNoise(Identity):
    """x = z + N(0, s²) with one s² an output, which is part of the state of the layer; ``noise`` is where it starts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.noise > 0.0:
            raise ValueError(f"`noise` must be > 0 where learning begins, got {self.noise}")
