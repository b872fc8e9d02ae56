"""Several networks trained side by side on the same batches, whose predictions are averaged."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deepnet.config import Config
from deepnet.processes import ALONE, Communicator
from deepnet.state import Network, init, of_member
from factorgraph.dense.operations import Operations
from factorgraph.dense.state import Array


@dataclass
class Ensemble:
    """Networks of the same settings that learn from the same batches, and predict by their average.

    Member m draws its initial fields from the random numbers [seed, 0, 1, m], the first one as a network alone, from
    [seed, 0, 1]; edges, data order and whatever else is random are those of ``seed`` in all of them. So each is the
    network that ``init(..., member=m)`` returns, trained alone.

    Attributes:
        config: settings of the ensemble.
        members: the networks, with the settings of one each.
    """

    config: Config
    members: list[Network]

    def __repr__(self) -> str:
        return f"<Ensemble of {len(self.members)}: {self.members[0]!r}>"

    @property
    def epoch(self) -> int:
        """Completed epochs."""
        return self.members[0].epoch

    @property
    def device(self) -> str:
        """Where the members are trained."""
        return self.members[0].device

    @property
    def operations(self) -> Operations:
        """Where the layers of the members are."""
        return self.members[0].operations

    @property
    def communicator(self) -> Communicator:
        """Of the processes that train it together."""
        return self.members[0].communicator

    def configure(self, config: Config) -> None:
        """As of ``Network``."""
        own = replace(config, members=1)
        self.config = config
        for member in self.members:
            member.configure(own)

    def arrays(self) -> dict[str, Array]:
        """As of ``Network``."""
        each = enumerate(self.members)
        return {of_member(m, name): values for m, one in each for name, values in one.arrays().items()}

    def to(self, device: str) -> "Ensemble":
        """As of ``Network``."""
        return self if device == self.device else self._each(lambda member: member.to(device))

    def copied(self) -> "Ensemble":
        """As of ``Network``."""
        return self._each(lambda member: member.copied())

    def in_double(self) -> "Ensemble":
        """As of ``Network``."""
        return self._each(lambda member: member.in_double())

    def settle(self) -> None:
        """As of ``Network``."""
        for member in self.members:
            member.settle()

    def drawn(self) -> dict[str, Array]:
        """As of ``Network``: all members have the same edges."""
        return self.members[0].drawn()

    def restore(self, arrays: Mapping[str, Array], epoch: int) -> None:
        """As of ``Network``."""
        for m, member in enumerate(self.members):
            prefix = of_member(m, "")
            own = {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}
            member.restore(own, epoch)

    def _each(self, change: Callable[[Network], Network]) -> "Ensemble":
        return replace(self, members=[change(member) for member in self.members])


#: What is trained.
Trained = Network | Ensemble


def one_network(trained: Trained, purpose: str) -> Network:
    """Return what is trained if it is one network; raise ``ValueError`` for an ensemble, which is none ``purpose``."""
    if isinstance(trained, Ensemble):
        raise ValueError(f"`members` must be 1 {purpose}, got {len(trained.members)}")
    return trained


def create(
    config: Config, features: int, classes: int, device: str = "cpu", communicator: Communicator = ALONE
) -> Trained:
    """Return what is trained, before training: a network, or an ensemble if the settings have several members;
    arguments and errors as of ``init``."""
    made = init(config, features, classes, device, communicator)
    if config.members == 1:
        return made
    others = (init(config, features, classes, device, communicator, member=m) for m in range(1, config.members))
    return Ensemble(config, [made, *others])


def drawn_digests(network: Trained) -> dict[str, str]:
    """Return a digest of what chance has fixed in each layer, its mask if it is dense, where there is such a thing."""
    return {name: hashlib.sha256(_packed(values).tobytes()).hexdigest() for name, values in network.drawn().items()}


def check_drawn(network: Trained, digests: Any) -> None:
    """Raise ``ValueError`` if a network was trained with other edges than those that its settings draw."""
    if digests != drawn_digests(network):
        raise ValueError("the edges drawn from `seed` and `density` must be those with which it was trained")


def _packed(values: Array) -> Array:
    return np.packbits(values) if values.dtype == bool else values
