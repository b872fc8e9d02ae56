"""Others have packages of our names: what is found first, or lies in the same folder, is told at import."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from source_tree import PACKAGES, ROOT, modules


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as pip leaves it."""
    folder = tmp_path_factory.mktemp("site-packages")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    files = [file.relative_to(folder) for file in folder.rglob("*") if file.is_file()]
    record = folder / "cavity-9.9.9.dist-info" / "RECORD"
    record.parent.mkdir()
    record.write_text("".join(f"{file.as_posix()},sha256=x,{(folder / file).stat().st_size}\n" for file in files))
    return folder


def imported(statement: str, *places: Path) -> str:
    """What an import says; '' if nothing."""
    path = [str(place) for place in places]
    script = f"import sys; sys.path[:0] = {path!r}\n{statement}"
    done = subprocess.run([sys.executable, "-P", "-c", script], env={}, capture_output=True, text=True)
    return done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_is_said_where_nothing_is_wrong(package, installed):
    assert imported(f"import {package}", installed) == ""
    assert imported(f"import {package}", ROOT) == ""  # a checkout, of which pip has no record


@pytest.mark.parametrize("layout", ["models.py", "models/__init__.py", "models/other.py"])
def test_a_package_that_hides_ours(layout, installed, tmp_path):
    """It is told by what needs ours, and by nothing else."""
    other = tmp_path / layout
    other.parent.mkdir(exist_ok=True)
    other.write_text("")
    said = imported("import deepnet", tmp_path, installed)
    # Without a file of its own, a folder is only looked into where there is no package of the name.
    assert ("CavityWarning: 'models' is not the package of Cavity" in said) == (layout != "models/other.py")
    assert imported("import factorgraph", tmp_path, installed) == ""


def test_a_package_that_hides_ours_and_is_there_already(installed, tmp_path):
    (tmp_path / "models.py").write_text("")
    said = imported("import models, deepnet", tmp_path, installed)
    assert f"'models' is not the package of Cavity in {installed}, but {tmp_path / 'models.py'}" in said


@pytest.mark.parametrize("package", ["models", "deepnet"])
def test_the_package_that_all_need(package, installed, tmp_path):
    (tmp_path / "factorgraph.py").write_text("")
    said = imported(f"import {package}", tmp_path, installed)
    assert "ImportError: `factorgraph` must be the package of Cavity, and another one is found first" in said


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("importing", PACKAGES)
def test_a_distribution_in_the_same_folder(package, importing, installed):
    """Its files lie among ours, or have replaced ours; only a replaced package itself can say nothing."""
    added, face = installed / package / "query.py", installed / package / "__init__.py"
    added.write_text("")
    try:
        said = imported(f"import {importing}", installed)
        assert f"CavityWarning: another distribution has put query.py into {installed / package}" in said
    finally:
        added.unlink()
    if package in (importing, "factorgraph"):
        return
    text = face.read_bytes()
    face.write_text("class Model: ...\n")
    try:
        assert f"another distribution has replaced {face}" in imported(f"import {importing}", installed)
    finally:
        face.write_bytes(text)


def test_our_names_are_these():
    from factorgraph.runtime import names

    assert names.PACKAGES == PACKAGES
    assert {name.split(".")[0] for name in modules()} == set(PACKAGES)
