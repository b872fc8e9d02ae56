"""What passes between the program and the terminal: lines, a bar, and errors of what was typed."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


class UsageError(Exception):
    """The command line is wrong, or impossible."""


@contextlib.contextmanager
def wrong_input() -> Iterator[None]:
    """Around calls that check what the user gave: a ``ValueError`` there is a wrong setting."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


# --- the command line -------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """A line on the output stream."""
    print(text, flush=True)


def complain(text: str) -> None:
    """A line on the error stream, if that takes any."""
    with contextlib.suppress(OSError):
        print(f"deepnet: {text}", file=sys.stderr, flush=True)


def drop_output() -> None:
    """Lose what an output that takes nothing any more still holds: Python would try again at the end, and complain."""
    try:
        sys.stdout.flush()
    except (AttributeError, OSError, ValueError):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


class Progress:
    """A bar for the samples of an epoch on the standard error stream; nothing if that is no terminal."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._bar: Any = None

    def __call__(self, samples: int) -> None:
        from tqdm.auto import tqdm

        if self._bar is None:
            self._bar = tqdm(total=self._samples, unit=" samples", unit_scale=True, leave=False, disable=None)
        self._bar.update(samples)
        if self._bar.n >= self._samples:
            self._bar.set_description("evaluating")

    def close(self) -> None:
        """Remove the bar of the epoch."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None


class Compiling:
    """A bar for the functions that are compiled at the first start on a machine; nothing if that is no terminal."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __call__(self, done: int, functions: int) -> None:
        from tqdm import tqdm

        if self._bar is None:
            text = "compiling for this processor, once"
            self._bar = tqdm(total=functions, desc=text, unit=" functions", leave=False, disable=None)
        self._bar.update(done - self._bar.n)
        if done == functions:
            self.close()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None
