"""The pages in ``docs`` name places in the code that are there."""

import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
PLACES = sorted(
    {
        place
        for page in DOCS.glob("*.md")
        for place in re.findall(r"`((?:factorgraph|models|deepnet)[\w.]*)`", page.read_text())
    }
)


def test_there_are_places() -> None:
    assert len(PLACES) > 10


@pytest.mark.parametrize("place", PLACES)
def test_place_is_there(place: str) -> None:
    resolve_name(place)
