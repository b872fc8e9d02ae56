"""Text files of numbers between spaces, read word by word: errors name the file, the line and the field.

From a # on, a line is a comment, in any encoding: pyAgrum writes the names of variables so.
"""

import itertools
import math
import re
from typing import Any, NoReturn

import numpy as np

from factorgraph.interface.arguments import shown
from factorgraph.interface.errors import ModelError
from factorgraph.io.files import FileTooLargeError, read_at_most
from factorgraph.io.paths import checked_path, opened
from factorgraph.messages.natural import Array

#: Bytes of a file.
_MAX_BYTES = 2**29
_COMMENT = re.compile(rb"#[^\r\n]*")
#: Digits of an integer: what has more is larger than anything that there is.
_MAX_DIGITS = 18


class Words:
    """The words of a file, and the place of the next one."""

    def __init__(self, path: Any, kind: str) -> None:
        self.path, self.kind, self.place = checked_path(path), kind, 0
        with opened(self.path) as stream:
            try:
                self.text = _COMMENT.sub(b"", read_at_most(stream, _MAX_BYTES)).decode("ascii")
            except (UnicodeDecodeError, FileTooLargeError) as error:
                raise ModelError(f"`path` must be {kind}, got {str(self.path)!r}: {error}") from None
        self.words = self.text.split()

    @property
    def left(self) -> int:
        """How many words there are still."""
        return len(self.words) - self.place

    def word(self, field: str) -> str:
        """Return the next word."""
        if not self.left:
            self.refuse(field, "there", self.place)
        self.place += 1
        return self.words[self.place - 1]

    def integer(self, field: str, minimum: int, maximum: int | None = None) -> int:
        """Return the next word as an integer within its bounds."""
        word = self.word(field)
        number = int(word) if word.isdecimal() and len(word) <= _MAX_DIGITS else -1
        if number < minimum or (maximum is not None and number > maximum):
            need = f"an integer >= {minimum}" if maximum is None else f"an integer in {minimum}..{maximum}"
            self.refuse(field, need, self.place - 1)
        return number

    def integers(self, field: str, count: int, minimum: int, maximum: int | None = None) -> list[int]:
        """Return the next words as integers."""
        self._check_left(field, count)
        return [self.integer(f"{field} {i}", minimum, maximum) for i in range(count)]

    def numbers(self, field: str, count: int, minimum: float = -math.inf) -> Array:
        """Return (count,) the next words as finite numbers."""
        self._check_left(field, count)
        words = self.words[self.place : self.place + count]
        found = np.fromiter(map(_number, words), dtype=np.float64, count=count)
        wrong = np.flatnonzero(~(np.isfinite(found) & (found >= minimum)))
        if wrong.size:
            need = "a finite number" + (f" >= {minimum:g}" if minimum > -math.inf else "")
            self.refuse(f"{field}, number {wrong[0]},", need, self.place + int(wrong[0]))
        self.place += count
        return found

    def end(self) -> None:
        """Check that nothing is left."""
        if self.left:
            self.refuse("the end of the file", "after the last number", self.place)

    def refuse(self, field: str, need: str, place: int) -> NoReturn:
        """Raise the error of the word at a place, which may be the end of the file."""
        got = shown(self.words[place]) if place < len(self.words) else "the end of the file"
        line = 1 + self.text.rstrip().count("\n")
        if place < len(self.words):
            match = next(itertools.islice(re.finditer(r"\S+", self.text), place, None))
            line = 1 + self.text.count("\n", 0, match.start())
        raise ModelError(
            f"`path` must be {self.kind}, got {str(self.path)!r}: line {line}: {field} must be {need}, got {got}"
        )

    def _check_left(self, field: str, count: int) -> None:
        """Before memory is taken for what a file only claims to have."""
        if count > self.left:
            self.refuse(field, f"{count} numbers, got {self.left} before", len(self.words))


def _number(word: str) -> float:
    """Return a number in the notation of C; NaN for anything else."""
    try:
        return math.nan if "_" in word else float(word)
    except ValueError:
        return math.nan
