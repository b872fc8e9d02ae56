"""One or more of every kind that the packages export, in tables that fail to be made when a member is missing."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from deepnet.network import perceptron
from factorgraph import Graph, Model, Selection, channels, factors, priors
from factorgraph.channels import (
    Absolute,
    Argmax,
    AsymmetricAbsolute,
    Channel,
    HardSigmoid,
    HardTanh,
    Heaviside,
    Identity,
    LeakyReLU,
    Logistic,
    Numeric,
    Poisson,
    Probit,
    ReLU,
    Sign,
    Softmax,
    SymmetricDoor,
)
from factorgraph.engine.infer import SCHEDULE_NAMES
from factorgraph.factors import (
    Allowed,
    Function,
    Linear,
    LinearMap,
    Logical,
    Neurons,
    Pairwise,
    Parity,
    Potts,
    PSpin,
    Sum,
    Switch,
    Table,
)
from factorgraph.priors import (
    Binary,
    Exponential,
    GaussBernoulli,
    Gaussian,
    GaussianMixture,
    GroupSparse,
    Laplace,
    Mixture,
    Positive,
    Prior,
    Ternary,
)


def classes(package: Any, base: type) -> list[str]:
    """The names of the classes that a package exports, without the ``base`` of its kind and records of results."""
    exported = [(name, getattr(package, name)) for name in package.__all__]
    return [name for name, cls in exported if cls is not base and not issubclass(cls, tuple)]


def table(package: Any, base: type, members: list[Any]) -> dict[str, list[Any]]:
    """The given instances by the name of their class, at least one for every class that the package exports."""
    found = {name: [m for m in members if type(m).__name__ == name] for name in classes(package, base)}
    lost = [name for name, each in found.items() if not each]
    assert not lost, f"tests/helpers/members.py must have an example of each of {lost}"
    assert sum(map(len, found.values())) == len(members)
    return found


CHANNELS: dict[str, list[Any]] = table(
    channels,
    Channel,
    [
        Absolute(), Argmax(), Argmax("exact"), Argmax("single_jensen"), Heaviside(), Identity(), Identity(0.1),
        Logistic(), Logistic(0.5, 0.3),
        Numeric(np.tanh, noise=0.1, name="tanh"), Poisson(), Probit(math.inf), Probit(2.0, 0.3), ReLU(), Sign(),
        AsymmetricAbsolute(0.4), HardSigmoid(), HardTanh(), LeakyReLU(0.2), LeakyReLU(-0.6), SymmetricDoor(0.7),
        Argmax(noise=0.4), Softmax(), Softmax("exact", temperature=0.5),
    ],
)  # fmt: skip

PRIORS: dict[str, list[Any]] = table(
    priors,
    Prior,
    [
        Binary(), Binary(0.3), Exponential(1.5), Positive(0.4, 2.0), GaussBernoulli(0.01),
        GaussBernoulli(0.4, 0.5, 1.5), Gaussian(), Gaussian(0.5, 2.0),
        GaussianMixture([1, 2], [-1, 3], [0.1, 2]), Laplace(), Mixture([0, 1, 3], [1, 1, 1]),
        Ternary(), Ternary(0.9), GroupSparse(0.3, [[1.0, 0.3], [0.3, 0.5]]), GroupSparse(1.0, [[2.0]]),
    ],
)  # fmt: skip
#: Those of vectors apart.
VECTOR_PRIORS = {name: PRIORS.pop(name) for name in ("GroupSparse",)}

#: Schedules that take any graph.
LOOPY = [name for name in SCHEDULE_NAMES if name not in ("two-pass", "auto")]

#: Channels that act on scalars; those that can be hidden layers.
SCALAR: list[Channel] = [channel for each in CHANNELS.values() for channel in each if isinstance(channel, Channel)]
HIDDEN: list[Channel] = [channel for channel in SCALAR if not isinstance(channel, Poisson)]


def _scalars(add: Callable[[Selection, Selection], Any]) -> Graph:
    """A factor on some of six spins and four real variables."""
    graph = Graph()
    graph.add(add(graph.spins("s", 6, field=0.2), graph.reals("x", 4, field=0.3, precision=1.5)))
    return graph


def _categories(add: Callable[[Selection, Selection], Any]) -> Graph:
    """A factor on some of four categories of three states and four spins."""
    graph = Graph()
    graph.add(add(graph.categories("c", 4, states=3, field=[0.2, 0.0, -0.3]), graph.spins("s", 4, field=0.1)))
    return graph


def _switch() -> Graph:
    """A category that selects one of three relations between two real variables."""
    graph = Graph()
    c, x = graph.categories("c", 1, states=3), graph.reals("x", 2, precision=1.0)
    graph.add(Switch(c[0], x[0], x[1], coefficients=[[1, -0.9], [1, -1.1], [1, 0.3]], target=[0, 0.5, 0], noise=0.4))
    return graph


def _quartic(a: Any, b: Any, j: Any) -> Any:
    """A coupling of real variables that is no Gaussian."""
    return -j * (a - b) ** 4 / 10 - 0.1 * a * b


def _map() -> Graph:
    """Three outputs of two inputs, all of which are seen through noise."""
    graph = Graph()
    x, z = graph.reals("x", 2, prior=Gaussian(0.5, 2.0), shared=True), graph.reals("z", 3, shared=True)
    graph.add(LinearMap(z, x, matrix=[[1.0, -0.5], [0.3, 2.0], [0.0, 1.0]]))
    graph.add(Linear(z, target=[1.0, -0.3, 0.2], noise=0.5))
    return graph


#: A model with every factor kind, in tables as above.
FACTORS: dict[str, Callable[[], Graph | Model]] = {
    "Allowed": lambda: _categories(lambda c, s: Allowed(c[0], s[0], configurations=[[0, 1], [1, -1], [2, 1]])),
    "Bilinear": lambda: perceptron([3, 2, 1], rng=0),
    "Function": lambda: _scalars(lambda s, x: Function(_quartic, x[0], x[1], parameters=[0.4])),
    "Linear": lambda: _scalars(
        lambda s, x: Linear(x[0], s[1], s[2], x[1], coefficients=[1, -0.7, 0.4, 1.3], noise=0.6)
    ),
    "LinearMap": _map,
    "Logical": lambda: _scalars(lambda s, x: Logical(*s[:4], relation="or")),
    "Neurons": lambda: _scalars(lambda s, x: Neurons(s[0], s[1:3], x[:2], channel=Probit(0.5), scale=0.5)),
    "PSpin": lambda: _scalars(lambda s, x: PSpin(*s[:4], coupling=0.9)),
    "Pairwise": lambda: _scalars(lambda s, x: Pairwise(s[0], s[1], coupling=0.7)),
    "Parity": lambda: _scalars(lambda s, x: Parity(*s[:5], sign=-1)),
    "Potts": lambda: _categories(lambda c, s: Potts(c[0], c[1], coupling=0.7)),
    "Sum": lambda: _scalars(lambda s, x: Sum(s[0], x[0], x[1], channel=Probit(3.0, 0.2), coefficients=[0.8, -0.5])),
    "Switch": _switch,
    "Table": lambda: _categories(lambda c, s: Table(c[0], s[1], table=np.arange(1.0, 7.0).reshape(3, 2))),
}
assert FACTORS.keys() == set(factors.__all__), "tests/helpers/members.py must have a model with every factor kind"
