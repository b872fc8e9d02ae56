"""What users get: the archives, and the packages as pip installs them into an environment of their own.

    python tests/installed.py newest     the newest versions of everything, and the README's examples
    python tests/installed.py lowest     the lowest that pyproject.toml allows, and a part of the tests

Both without a word. The archives are built from the files that git knows. Needed are pip, an index of packages, and a
Python with venv; ``--python`` names another one than that which runs this, as far as the lowest versions know it.
Compiled code of the tests is taken over where it fits.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

from compiled_folder import folder_for, place  # noqa: E402
from source_tree import PACKAGES, keys, modules  # noqa: E402

#: Of the wheel, in bytes.
LARGEST = 1_000_000

#: Extras of which the lowest versions are tested; the others need a GPU or the index of PyTorch.
TESTED = ("data", "plots", "dask", "test")

#: Of the kinds of things those that are compiled within seconds. Old libraries meet newer ones that they depend on.
PART = (
    "tests/test_every_kind.py", "-k", "modules or prior or flooding or inference",
    "-W", "ignore::DeprecationWarning",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, install and try; the first thing that fails ends it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", help="of dependencies: newest, lowest (default: both)")
    parser.add_argument("--python", default=sys.executable, help="of the environment (default: this one)")
    args = parser.parse_args(arguments)
    chosen = args.versions or list(TRIALS)
    if unknown := [each for each in chosen if each not in TRIALS]:
        parser.error(f"`versions` must be among {', '.join(TRIALS)}, got {unknown[0]}")
    with tempfile.TemporaryDirectory(prefix="cavity-installed-") as name:
        folder = Path(name)
        wheel = build(folder)
        for versions in chosen:
            TRIALS[versions](Environment(folder / versions, args.python), wheel)
    return 0


# --- the archives -----------------------------------------------------------------------------------------------------


def build(folder: Path) -> Path:
    """Return the wheel, which is made from the source archive, after looking into both."""
    sources, files = folder / "sources", _tracked()
    for file in files:
        target = sources / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, target)
    builder = Environment(folder / "builder", sys.executable)
    builder.install("build", "pip")
    builder.run("-m", "build", "--outdir", str(folder), str(sources))
    (archive,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    check_source_archive(archive, files)
    check_wheel(wheel, files)
    return wheel


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [Path(name) for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def check_source_archive(archive: Path, files: Sequence[Path]) -> None:
    """All that is needed to build, test and read about it is in there."""
    with tarfile.open(archive) as content:
        names = {name.partition("/")[2] for name in content.getnames()}
    wanted = {file.as_posix() for file in files if not str(file).startswith(".")}
    assert not (lost := sorted(wanted - names)), f"{archive.name} lacks {lost}"


def check_wheel(wheel: Path, files: Sequence[Path]) -> None:
    """It is small, and has the packages, with what marks them as typed, and nothing else."""
    assert wheel.stat().st_size <= LARGEST, f"{wheel.name} has {wheel.stat().st_size} bytes"
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
    ours = {file.as_posix() for file in files if file.parts[0] in PACKAGES}
    assert {f"{package}/py.typed" for package in PACKAGES} <= ours
    assert not (lost := sorted(ours - names)), f"{wheel.name} lacks {lost}"
    others = sorted(name for name in names - ours if ".dist-info/" not in name)
    assert not others, f"{wheel.name} has {others}"
    print(f"{wheel.name}: {wheel.stat().st_size} bytes, {len(ours)} files")


# --- environments -----------------------------------------------------------------------------------------------------


def output_of(command: Sequence[str], **how: Any) -> str:
    """Return all that a command prints, and end with that if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **how)
    if done.returncode:
        sys.exit(f"{shlex.join(command)}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


class Environment:
    """A virtual environment that sees nothing of this checkout."""

    def __init__(self, folder: Path, python: str) -> None:
        self.folder = folder
        subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True)  # which takes long to set up
        self.programs = folder / ("Scripts" if os.name == "nt" else "bin")
        self._variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}

    def install(self, *requirements: str) -> None:
        """Install with pip, which checks what fits to what."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.programs / "python"), "--disable-pip-version-check"]
        output_of([*pip, "install", "--quiet", *requirements])
        output_of([*pip, "check"])

    def run(self, *arguments: str) -> str:
        """Run Python in an empty folder; see ``output_of``."""
        return self.command("python", *arguments)

    def command(self, name: str, *arguments: str, cwd: Path | None = None) -> str:
        """Run a program of the environment, as ``run``."""
        with tempfile.TemporaryDirectory() as empty:
            return output_of([str(self.programs / name), *arguments], cwd=cwd or empty, env=self._variables)

    def take_over_compiled_code(self) -> None:
        """Use what the tests have compiled of the same sources, with the same versions: it is minutes of work.

        Compiled code counts for the time and the size of a source, and its folder is named after that of the source.
        """
        known = modules()
        base, here = ROOT / ".pytest_cache" / "numba", self.folder / "compiled"
        base.mkdir(parents=True, exist_ok=True)
        compiled = folder_for(base, known, keys(known))
        (purelib,) = self.folder.glob("**/site-packages")
        for source in known.values():
            installed = purelib / source.relative_to(ROOT)
            stamp = source.stat()
            os.utime(installed, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
            for file in (compiled / place(source)).glob(f"{source.stem}.*.cavity"):
                target = here / place(installed) / file.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
        self._variables["NUMBA_CACHE_DIR"] = str(here)


# --- the newest versions, and the lowest ------------------------------------------------------------------------------


def try_newest(environment: Environment, wheel: Path) -> None:
    """A plain installation imports everything without a warning and knows itself; the README's examples run."""
    environment.install(str(wheel))
    environment.run("-W", "error", "-c", "from deepnet import *; from factorgraph import *; from models import *")
    told = environment.command("deepnet", "--version", "--verbose")
    assert told == environment.run("-m", "factorgraph", "--version", "--verbose"), told
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert told.startswith(f"cavity {version}\nfrom: ") and str(environment.folder) in told.splitlines()[1], told
    print(told)
    environment.install(f"{wheel}[data,plots]")
    environment.take_over_compiled_code()
    examples = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert examples, "README.md has no example"
    for number, example in enumerate(examples, 1):
        start = time.monotonic()
        environment.run("-c", example)
        print(f"README.md, example {number} of {len(examples)}: {time.monotonic() - start:.0f} s", flush=True)


def try_lowest(environment: Environment, wheel: Path) -> None:
    """A network trains, and a part of the tests passes, with the lowest versions of all that pyproject.toml names."""
    environment.install(f"{wheel}[{','.join(TESTED)}]", *lowest())
    print(environment.command("deepnet", "--version", "--verbose"))
    settings = ("--hidden", "21", "--epochs", "1", "--no-plot", "--out", str(environment.folder / "run"))
    print(environment.command("deepnet", "train", "digits", *settings))
    print(environment.command("pytest", "-q", "-p", "no:cacheprovider", *PART, cwd=ROOT))


def lowest() -> list[str]:
    """Return the lowest version of each requirement."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *(r for extra in TESTED for r in project["optional-dependencies"][extra])]
    return [requirement.replace(">=", "==") for requirement in requirements if not requirement.startswith("cavity[")]


TRIALS = {"newest": try_newest, "lowest": try_lowest}


if __name__ == "__main__":
    sys.exit(main())
