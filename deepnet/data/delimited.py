"""Tables in text files: comma-separated values and their kin, and ARFF."""

import csv
import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from deepnet.data.files import DataError, opened
from deepnet.data.table import Column, Table, numbers, texts
from factorgraph.interface.arguments import shown

#: What may stand between two values; the one that is most frequent in the first line, outside of quotes, does.
_DELIMITERS = (",", ";", "\t")
_QUOTED = re.compile(r'"[^"]*("|$)')

_ATTRIBUTE = re.compile(r"""@attribute\s+('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s'"]+)\s+(.+)""", re.IGNORECASE)
_VALUE = re.compile(r"""\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^,'"]*?))\s*(,|$)""")
_NUMERIC = ("numeric", "real", "integer")
_Line = tuple[int, list[str]]


def read_csv(path: Path, size: int) -> Iterator[Table]:
    """Yield pieces of ``size`` rows of a file whose first line names the columns, in UTF-8."""
    with opened(path) as stream:
        lines = _decoded(path, stream)
        number, first = next(lines, (1, ""))
        delimiter = max(_DELIMITERS, key=_QUOTED.sub("", first).count)
        rows = _rows(path, itertools.chain([(number, first)], lines), delimiter)
        _, names = next(rows, (number, []))
        _check_names(path, names)
        for some in _pieces(path, rows, len(names), size):
            columns = {name: texts([values[j] for _, values in some]) for j, name in enumerate(_stripped(names))}
            yield Table(path, columns, np.array([place for place, _ in some], dtype=np.int64), "line")


def read_arff(path: Path, size: int) -> Iterator[Table]:
    """Yield pieces of ``size`` rows of a file in the attribute-relation file format, dense."""
    with opened(path) as stream:
        lines = _decoded(path, stream)
        kinds = _arff_header(path, lines)
        rows = ((number, _arff_values(path, number, line)) for number, line in lines if line.strip()[:1] not in "%")
        for piece in _pieces(path, rows, len(kinds), size):
            places = np.array([place for place, _ in piece], dtype=np.int64)
            columns = {name: texts([values[j] for _, values in piece]) for j, name in enumerate(kinds)}
            categories = {name: kind for name, kind in kinds.items() if kind is not None}
            table = Table(path, columns, places, "line", frozenset(categories))
            yield _checked(table, categories)


def _checked(table: Table, categories: Mapping[str, frozenset[str] | None]) -> Table:
    """Return the table with what its header says are numbers as such; raise ``DataError`` for other values."""
    columns: dict[str, Column] = {}
    for name, column in table.columns.items():
        if name in categories:
            known = categories[name]
            wrong = np.array([bool(known) and value != "" and value not in known for value in column])
            need = f"one of those that its attribute declares ({', '.join(sorted(known or ()))})"
            columns[name] = column
        else:
            columns[name], wrong = numbers(column)
            need = "a number, as its attribute declares"
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(f"{table.where(row, name)}: must be {need}, got {shown(column[row])}")
    return Table(table.file, columns, table.places, table.unit, table.categorical)


def _arff_header(path: Path, lines: Iterator[tuple[int, str]]) -> dict[str, frozenset[str] | None]:
    """Return the attributes in their order: None for numbers, and the categories, none for any text."""
    kinds: dict[str, frozenset[str] | None] = {}
    for number, line in lines:
        word = line.split(maxsplit=1)[0].lower() if line.strip() else ""
        if word == "@data":
            _check_names(path, list(kinds))
            return kinds
        if word != "@attribute":
            if word and word != "@relation" and not word.startswith("%"):
                raise DataError(f"{path}, line {number}: must be @relation, @attribute, @data or %, got {shown(line)}")
            continue
        match = _ATTRIBUTE.match(line.strip())
        if match is None:
            raise DataError(f"{path}, line {number}: must be @attribute, a name and a type, got {shown(line)}")
        name, kind = _arff_values(path, number, match[1])[0], match[2].strip()
        if name in kinds:
            raise DataError(f"{path}, line {number}: attributes must have different names, got {shown(name)} twice")
        if kind.startswith("{"):
            if not kind.endswith("}"):
                raise DataError(f"{path}, line {number}: categories must stand between braces, got {shown(kind)}")
            kinds[name] = frozenset(texts(_arff_values(path, number, kind[1:-1])).tolist())
        elif kind.lower() == "string":
            kinds[name] = frozenset()
        elif kind.lower().split()[0] in _NUMERIC:
            kinds[name] = None
        else:
            raise DataError(
                f"{path}, line {number}: type must be numeric, string or categories, got {shown(kind)}; "
                f"leave the attribute out of the file"
            )
    raise DataError(f"{path} must have a line @data, got none")


def _arff_values(path: Path, number: int, line: str) -> list[str]:
    """Return the values in a line, quoted by either kind of marks."""
    if line.lstrip().startswith("{"):
        raise DataError(f"{path}, line {number}: rows must be dense, got one in braces")
    line, found, start = line.strip(), [], 0
    while match := _VALUE.match(line, start):
        quoted = match[1] if match[1] is not None else match[2]
        found.append(match[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        start = match.end()
        if not match[4]:
            return found
    raise DataError(f"{path}, line {number}: must be values between commas, got {shown(line[start:])}")


def _decoded(path: Path, stream: object) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file with their numbers, from 1; text that is no UTF-8 is an error of its line."""
    number = 0
    try:
        for number, line in enumerate(cast(io.BufferedIOBase, stream), start=1):
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {number}: must be text in UTF-8: {error.reason}") from error
    except (OSError, EOFError) as error:  # a damaged .gz too
        raise DataError(f"{path}, line {number + 1}: cannot be read: {error}") from error


def _rows(path: Path, lines: Iterator[tuple[int, str]], delimiter: str) -> Iterator[_Line]:
    """Yield the rows of a file, each with the number of the line that it begins in; blank lines are none."""
    reader = csv.reader((line for _, line in lines), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            values = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{path}, line {number}: cannot be read: {error}") from error
        if values is None:
            return
        if values:
            yield number, values


def _pieces(path: Path, rows: Iterator[_Line], width: int, size: int) -> Iterator[list[_Line]]:
    """Yield lists of ``size`` rows of ``width`` values, of which the last may have fewer rows."""
    piece: list[_Line] = []
    for number, values in rows:
        if len(values) != width:
            raise DataError(f"{path}, line {number}: must have {width} values, one for each column, got {len(values)}")
        piece.append((number, values))
        if len(piece) == size:
            yield piece
            piece = []
    if piece:
        yield piece


def _stripped(names: Sequence[str]) -> list[str]:
    return [name.strip() for name in names]


def _check_names(path: Path, names: Sequence[str]) -> None:
    """Raise ``DataError`` unless there are names of columns, all different, and no line of numbers."""
    names = _stripped(names)
    if not names or "" in names:
        raise DataError(f"{path}, line 1: must name every column, got {shown(names)}")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"{path}, line 1: columns must have different names, got {shown(twice)} twice")
    if np.isfinite(numbers(texts(names))[0]).all():
        raise DataError(f"{path}, line 1: must name the columns, got numbers: {shown(names)}")
