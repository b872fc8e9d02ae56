"""Types of command-line options: what is wrong with a text is said in words, in one line. Imports nothing heavy."""

import argparse
import os
from pathlib import Path

#: Longest text that an error repeats whole.
_LONGEST = 60


def path(text: str) -> Path:
    """A path that a file or folder can have, with the home of ``~`` or ``~user`` put in."""
    if not text:
        raise argparse.ArgumentTypeError("must be the name of a file or folder, got ''")
    try:
        os.lstat(Path(text).expanduser())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"must be below an existing home, got {short(text)}") from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise argparse.ArgumentTypeError(f"must be the name of a file or folder, got {short(text)}: {reason}") from None
    return Path(text).expanduser()


def integer(text: str) -> int:
    """An integer."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an integer, got {short(text)}") from None


def number(text: str) -> float:
    """A number, which may be infinite."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {short(text)}") from None


def short(text: str) -> str:
    """A text as an error repeats it."""
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")
