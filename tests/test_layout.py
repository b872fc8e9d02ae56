"""The house: imports run from the upper floors to the lower ones, and never in circles."""

import ast
from pathlib import Path

import networkx as nx
import pytest
import source_tree
from source_tree import PACKAGES, faces, modules

pytestmark = pytest.mark.quick

#: Packages from the ground up; folders of one line are on one floor.
FLOORS = {
    "factorgraph": [
        ["factorgraph.runtime", "factorgraph.interface", "factorgraph.numerics", "factorgraph.activations"],
        ["factorgraph.iteration", "factorgraph.channels", "factorgraph.priors"],
        ["factorgraph.model", "factorgraph.messages", "factorgraph.dense", "factorgraph.factors"],
        ["factorgraph.engine"],
        ["factorgraph.reference", "factorgraph.io"],
    ],
    "models": [
        ["models.checks"],
        ["models.asymptotics", "models.inference", "models.preactivation"],
        ["models.two_layer"],
    ],
    "deepnet": [
        ["deepnet.sizes", "deepnet.schedule", "deepnet.presets", "deepnet.cost", "deepnet.sums", "deepnet.scores"],
        ["deepnet.layers", "deepnet.outputs"],
        ["deepnet.network", "deepnet.data", "deepnet.lower", "deepnet.sweep", "deepnet.observables"],
        ["deepnet.baselines"],
        ["deepnet.config"],
        ["deepnet.kernels", "deepnet.processes"],
        [
            *("deepnet.predict", "deepnet.state", "deepnet.metrics", "deepnet.train", "deepnet.flatness"),
            *("deepnet.entropy", "deepnet.export", "deepnet.average", "deepnet.ensemble", "deepnet.side_by_side"),
        ],
        ["deepnet.continual"],
        ["deepnet.estimator", "deepnet.bench", "deepnet.app", "deepnet.experiments", "deepnet.saved"],
    ],
}


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    return source_tree.imports(ast.parse(path.read_bytes()), known)


def test_packages_import_downwards() -> None:
    known = modules()
    for name, path in known.items():
        floor = PACKAGES.index(name.split(".")[0])
        for other in imports(path, known):
            assert PACKAGES.index(other.split(".")[0]) <= floor, f"{name} imports {other}"


@pytest.mark.parametrize("package", PACKAGES)
def test_folders_import_downwards(package: str) -> None:
    known = modules()
    floor_of = {room: number for number, rooms in enumerate(FLOORS[package]) for room in rooms}

    def floor(module: str) -> int | None:
        return next(
            (number for room, number in floor_of.items() if module == room or module.startswith(room + ".")), None
        )

    wrong = []
    for name in known:
        own = floor(name)
        for other in imports(known[name], known):
            theirs = floor(other)
            if own is not None and theirs is not None and theirs > own:
                wrong.append(f"{name} imports {other}")
    assert not wrong, wrong
    lost = [
        name for name in known if name.startswith(package + ".") and floor(name) is None and name not in faces(known)
    ]
    assert set(lost) <= {"deepnet.__main__", "factorgraph.__main__"}, lost


def test_no_circles() -> None:
    known = modules()
    graph = nx.DiGraph(
        (name, other) for name in known for other in imports(known[name], known) if name not in faces(known)
    )
    circles = [sorted(group) for group in nx.strongly_connected_components(graph) if len(group) > 1]
    assert not circles, circles
