"""What the pages show runs: Python block after block of a page, and the commands that need no files of data sets."""

import os
import re
import shlex
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import matplotlib
import pytest

from deepnet.app.cli import main
from deepnet.network import ACTIVATIONS, WEIGHTS
from deepnet.outputs import OUTPUTS
from factorgraph.dense.closures import CLOSURES

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
#: Commands with a data set that is no part of any package, or with placeholders.
ELSEWHERE = re.compile(r"[A-Z]{3}|mnist|cifar")


def blocks(page: Path, *languages: str) -> list[tuple[str, str]]:
    """Language and text of a page's blocks, those of one language that stand for another system left out."""
    return [(language, text) for language, text in BLOCK.findall(page.read_text()) if language in languages]


def commands(text: str) -> list[list[str]]:
    """The commands `deepnet` in a block of a shell that need nothing but what is here."""
    lines = (line.strip() for line in text.replace("\\\n", " ").splitlines())
    return [
        shlex.split(line, comments=True) for line in lines if line.startswith("deepnet ") and not ELSEWHERE.search(line)
    ]


SHOWN = {str(page.relative_to(ROOT)): blocks(page, "python", "sh") for page in PAGES}
RUN = [name for name, each in SHOWN.items() if any(lang == "python" or commands(text) for lang, text in each)]


def test_there_is_much_to_run():
    assert len(RUN) > 10


@pytest.mark.parametrize("name", RUN)
def test_page_runs(name, tmp_path, monkeypatch, capsys):
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(os.environ, "COLUMNS", "80")
    names: dict[str, object] = {"__name__": name}
    with ExitStack() as tables:
        for table in (ACTIVATIONS, CLOSURES, OUTPUTS, WEIGHTS):  # which pages add to
            tables.enter_context(mock.patch.dict(table))
        for language, text in SHOWN[name]:
            if language == "python":
                exec(compile(text, f"{name}: {text.splitlines()[0]}", "exec"), names)
            else:
                for command in commands(text):
                    assert main(command[1:]) == 0, command
