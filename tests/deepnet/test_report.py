"""The page about runs: what is on it, and how a browser shows it."""

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path

import numpy as np
import pytest

from deepnet.app.cli import main
from deepnet.app.told import Labelled, gathered

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

#: Widths of a phone and of a desktop, in pixels.
WIDTHS = (390, 1280)

#: Shows the page in frames of these widths, and puts into the body what is seen there.
_LOOK = """<!DOCTYPE html><meta charset="utf-8"><title>looking</title><body>
<script>
const found = [];
function look(frame) {
  const page = frame.contentDocument, width = frame.clientWidth;
  const images = [...page.images].map(image => {
    const box = image.getBoundingClientRect();
    return {loaded: image.complete && image.naturalWidth > 0, left: box.left, right: box.right,
            width: box.width, height: box.height, caption: image.alt};
  });
  found.push({width: width, content: page.documentElement.scrollWidth, images: images});
  if (found.length === document.querySelectorAll("iframe").length)
    document.body.textContent = JSON.stringify(found);
}
</script>
FRAMES</body>"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs: one on pictures, and one on columns."""
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 3))
    y = np.where(x[:, 0] * x[:, 1] > 0, "a<b", "c&d")  # which need escapes, and are not learned well
    lines = [",".join([*map(str, row), label]) for row, label in zip(x, y, strict=True)]
    (folder / "table.csv").write_text("\n".join(["u,v,w,kind", *lines]))
    options = ["--epochs", "2", "--no-plot"]
    assert main(["train", "digits", "--hidden", "9", *options, "--out", str(folder / "digits")]) == 0
    argv = ["train", str(folder / "table.csv"), "--target", "kind", "--activation", "relu", *options]
    assert main([*argv, "--out", str(folder / "table")]) == 0
    return [folder / "digits", folder / "table"]


@pytest.fixture(scope="module")
def page(runs: list[Path]) -> str:
    assert main(["report", *map(str, runs)]) == 0
    return (runs[0] / "report.html").read_text()


def test_what_is_on_the_page(runs: list[Path], page: str) -> None:
    told = [gathered(folder, None) for folder in runs]
    for each in told:
        assert escape(str(each.run.description)) in page and escape(each.name) in page
        for name in ("test_error", "bayes_test_error", "train_error"):
            assert f"<td>{each.measured[name]:.2f} %</td>" in page
        assert f"<td>{each.measured['test_log_loss']:.4f}</td>" in page
    digits, table = told
    packed = {name: size for name, size, *_ in digits.exports}["packed"]
    assert f"<td>{packed} bytes</td>" in page and f"<td>{packed}</td>" in page
    assert "`W0` must have sign units to be packed" in unescape(page) and table.refused
    found = table.predicted
    assert isinstance(found, Labelled)
    wrong = found.mistakes(24)
    assert len(wrong) >= 5 and f"<td>{wrong[0]}</td>" in page and "<td>a&lt;b</td>" in page
    confidence = found.p.max(axis=1)
    assert (found.p.argmax(axis=1)[wrong] != found.numbers[wrong]).all() and np.all(np.diff(confidence[wrong]) <= 0)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    assert captions == [
        "Test errors, pointwise and Bayesian, of all runs",
        *_CURVES, "What it said, how sure, and what it is", "Means, 9 units", *_CURVES,
    ]  # fmt: skip


_CURVES = [
    "Errors after every epoch",
    "Polarisation after every epoch",
    "Overlap after every epoch",
    "Scores of the test set after every epoch",
    "Confusion: samples of the test set",
    "Reliability of the probabilities on the test set",
]


def test_nothing_is_asked_for_from_elsewhere(page: str) -> None:
    assert "default-src 'none'" in page and "<script" not in page
    addresses = re.findall(r"""(?:src|href)\s*=\s*["']?([^"' >]*)|url\(([^)]*)\)|(https?:)""", page)
    assert addresses and all(first.startswith("data:image/png;base64,") for first, *_ in addresses)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
def test_in_a_browser(page: str, tmp_path: Path) -> None:
    """All figures are there at the width of a phone and of a desktop, nothing sticks out, and nothing is complained
    of."""
    frames = "".join(
        f'<iframe style="width:{width}px;height:800px;border:0" onload="look(this)" srcdoc="{escape(page)}"></iframe>'
        for width in WIDTHS
    )
    (tmp_path / "look.html").write_text(_LOOK.replace("FRAMES", frames))
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
         "--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom", (tmp_path / "look.html").as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    match = re.search(r"<body>\s*(\[.*\])\s*</body>", done.stdout, re.DOTALL)
    assert match is not None, done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads(unescape(match[1]))
    assert sorted(each["width"] for each in found) == list(WIDTHS)
    for each in found:
        assert len(each["images"]) == page.count("<img ") == 15
        assert each["content"] <= each["width"]
        for image in each["images"]:
            assert image["loaded"] and image["left"] >= 0 and image["right"] <= each["width"], image
            assert image["width"] >= 150 and image["height"] >= 100, image


def test_runs_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 2
    assert "there is no run in" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_run_without_an_epoch(tmp_path: Path) -> None:
    argv = ["train", "digits", "--hidden", "5", "--epochs", "0", "--no-plot", "--out", str(tmp_path)]
    assert main(argv) == 0
    assert main(["report", str(tmp_path)]) == 0
    assert "Errors after every epoch" not in (tmp_path / "report.html").read_text()
