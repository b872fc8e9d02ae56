"""The local energy: by enumeration, by the rate of flips, and as a command."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from deepnet import Config
from deepnet.app.cli import main
from deepnet.flatness import local_energy
from deepnet.state import Network, init
from deepnet.train import train_epoch


def small(rng: np.random.Generator, **settings) -> tuple[Network, np.ndarray, np.ndarray]:
    network = init(Config(**{"hidden": (), "density": 1.0, "dtype": "float64"} | settings), 7, 2)
    x = rng.standard_normal((60, 7))
    y = np.where(x[:, :4].sum(axis=1) > 0, 1, -1)
    for _ in range(4):
        train_epoch(network, x, y)
    return network, x, y


def test_it_is_the_mean_over_all_flips() -> None:
    network, x, y = small(np.random.default_rng(0))
    w = network.layers[0].most_probable_weights()[0]  # pyright: ignore[reportAttributeAccessIssue]

    def error(weights: np.ndarray) -> float:
        return 100.0 * float(np.mean(np.where(x @ weights >= 0, 1, -1) != y))

    for found in local_energy(network, x, y, [0.1, 0.3], repeats=800, rng=np.random.default_rng(1)):
        flips = np.array(list(itertools.product([1.0, -1.0], repeat=7)))
        k = np.count_nonzero(flips < 0, axis=1)
        weight = found.p**k * (1.0 - found.p) ** (7 - k)
        exact = sum(p * (error(w * z) - error(w)) for p, z in zip(weight, flips, strict=True))
        assert exact > 1.0 and abs(found.mean - exact) < 4.0 * found.error


@pytest.mark.parametrize("settings", [{}, {"density": 0.6, "hidden": (9,)}], ids=["dense", "masked"])
def test_the_ends_of_the_curve(settings: dict) -> None:
    """Nothing happens at p = 0; at 1 all weights are flipped, and with them the label of an odd number of layers."""
    network, x, y = small(np.random.default_rng(0), **settings)
    before = {name: values.copy() for name, values in network.arrays().items()}
    zero, one = local_energy(network, x, y, [0.0, 1.0], repeats=3, rng=np.random.default_rng(1))
    assert zero[1:] == (0.0, 0.0)
    expected = 0.0 if settings else 100.0
    assert one.error == 0.0 and (one.mean == 0.0 if settings else 0.0 < one.mean <= expected)
    assert all(np.array_equal(values, before[name]) for name, values in network.arrays().items())


def test_continuous_weights_are_refused() -> None:
    network, x, y = small(np.random.default_rng(0), weights="continuous")
    with pytest.raises(ValueError, match="`weights` must be binary in all layers"):
        local_energy(network, x, y, [0.0], repeats=2, rng=np.random.default_rng(0))


@pytest.mark.parametrize("algorithm", ["message-passing", "binarynet-adam", "ebp"])
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], algorithm: str) -> None:
    if algorithm.startswith("binarynet"):
        pytest.importorskip("torch")
    folder = str(tmp_path / "run")
    options = ("--hidden", "15", "--epochs", "2", "--batch-size", "16", "--algorithm", algorithm)
    assert main(["train", "digits", *options, "--out", folder]) == 0
    capsys.readouterr()
    assert main(["flatness", folder, "--points", "3", "--repeats", "2", "--samples", "300"]) == 0
    printed = capsys.readouterr().out.splitlines()
    content = json.loads((tmp_path / "run" / "flatness.json").read_text())
    assert len(printed) == 4 and content["samples"] == 300 and content["epoch"] == 2
    first, *others = content["local_energy"]
    assert first == {"p": 0.0, "mean": 0.0, "error": 0.0} and [each["p"] for each in others] == [0.1, 0.2]
    assert all((tmp_path / "run" / name).stat().st_size > 10_000 for name in ("flatness.png", "curves.png"))


@pytest.mark.parametrize(
    "options, message",
    [
        (["--points", "1"], "`points` must be"),
        (["--repeats", "1"], "`repeats` must be"),
        (["--largest", "2"], "`largest` must be"),
        (["--samples", "0"], "`samples` must be"),
    ],
)
def test_wrong_options(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    assert main(["flatness", str(tmp_path), *options]) == 2
    assert message in capsys.readouterr().err
