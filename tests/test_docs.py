"""The pages in ``docs``: places in the code are there, cited equations are stated, public names have a place."""

import argparse
import re
from pathlib import Path
from pkgutil import resolve_name

import citations
import pytest
from bibliography import entries

from deepnet.app.cli import parser
from deepnet.presets import PRESETS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
PLACES = sorted(
    {
        place
        for page in PAGES
        for place in re.findall(r"`((?:factorgraph|models|deepnet)[\w.]*)`", page.read_text(encoding="utf-8"))
    }
)


def test_there_are_places() -> None:
    assert len(PLACES) > 30


@pytest.mark.parametrize("place", PLACES)
def test_place_is_there(place: str) -> None:
    resolve_name(place)


def test_citations_have_one_style() -> None:
    """As ``[DL, eq. 68]``, ``[RG, eqs. 4.82-4.83]``, ``[DL, App. B.6]``, ``[DL, §3.1]`` or ``[DL]``."""
    texts = [(place.module, place.citation) for place in citations.places()]
    for page in PAGES:
        texts += [(page.name, text) for _, text, _, _ in citations.cited(page.read_text(encoding="utf-8"))]
    assert len(texts) > 100
    assert not [(where, text) for where, text in texts if not citations.STYLE.fullmatch(text)]


def test_cited_equations_are_stated() -> None:
    cited = {(place.key, number) for place in citations.places() for number in place.equations}
    assert len(cited) > 60
    assert not cited - citations.equations().keys()


def test_numbers_of_equations() -> None:
    assert citations.numbers("64, 68-70") == ["64", "68", "69", "70"]
    assert citations.numbers("4.99-4.101, 5") == ["4.99", "4.100", "4.101", "5"]


def test_sources_are_in_the_bibliography() -> None:
    found = entries((DOCS / "references.bib").read_text(encoding="utf-8"))
    assert set(citations.KEYS) <= found.keys()
    assert all(entry.get("title") and (entry.get("year") or entry.get("note")) for entry in found.values())


@pytest.mark.parametrize("package", citations.PUBLIC)
def test_public_names_are_in_the_reference(package: str) -> None:
    exported = citations.exported(package)
    assert set(exported) == set(resolve_name(package).__all__)
    lost = [name for name in exported if not citations.documented(citations.home(f"{package}.{name}"))]
    assert not lost, f"docs/reference must have a place for {lost} of {package}"


def test_commands_are_in_the_reference() -> None:
    text = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")
    actions = [each for each in parser()._actions if isinstance(each, argparse._SubParsersAction)]
    commands = [name for action in actions for name in action.choices]
    assert len(commands) > 5 and not [name for name in commands if f"deepnet {name}" not in text]


@pytest.mark.parametrize("name", ["default", "paper"])
def test_settings_are_those_of_the_presets(name: str) -> None:
    preset = PRESETS[name]
    rows = re.findall(
        r"^\| `--(?:rho|damping|beta)`.*", (DOCS / "how-to" / "choose.md").read_text("utf-8"), re.MULTILINE
    )
    shown = [row.split("|")[3 + list(PRESETS).index(name)] for row in rows]
    for cell, *values in zip(shown, (preset.rho, preset.damping, preset.beta), strict=True):
        assert all(f"{value:g}" in cell if isinstance(value, float) else value in cell for value in values), cell
    assert str(preset.last_rho) in shown[0]


def test_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        assert (ROOT / path).exists(), target
        assert not anchor or anchor in _anchors((ROOT / path).read_text(encoding="utf-8")), target


def _anchors(page: str) -> set[str]:
    return {re.sub(r"[^\w]+", "-", title.lower()).strip("-") for title in re.findall(r"^#+ (.+)$", page, re.MULTILINE)}
