"""A file of rows as a lazy sequence: iterated or indexed without being loaded into memory."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar, overload

from srlm.errors import InputError
from srlm.rows.json_lines import is_blank, parse_line
from srlm.rows.records import iter_rows, row_from_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Row = TypeVar("Row")


class RowFile(Sequence[Row]):
    """The rows of a file, which must not change while it is in use; each access reads the row from disk.

    Only the offsets of the lines stay in memory (8 bytes per row), from the first call of `len` or `[]` on.
    """

    def __init__(self, path: Path, kind: type[Row]) -> None:
        self._path, self._kind = path, kind
        self._numbers: array[int] | None = None  # [R] line numbers, if some lines are blank

    def __iter__(self) -> Iterator[Row]:
        return iter_rows(self._path, self._kind)

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self._row(number) for number in range(*index.indices(len(self)))]
        return self._row(range(len(self))[index])

    def _row(self, index: int) -> Row:
        start, end = self._starts[index], self._starts[index + 1]
        with self._path.open("rb") as file:
            file.seek(start)
            line = file.read(end - start).partition(b"\n")[0]
        number = index + 1 if self._numbers is None else self._numbers[index]
        value = parse_line(line, self._path, number)
        return row_from_json(value or {}, self._kind, f"{self._path}, line {number}")

    @cached_property
    def _starts(self) -> array[int]:
        """Byte offsets of the starts of the non-blank lines, and of the end of the last line: [R + 1]."""
        starts, numbers, at, number = array("q"), array("q"), 0, 0
        try:
            with self._path.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    if not is_blank(line, self._path, number):
                        starts.append(at)
                        numbers.append(number)
                    at += len(line)
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read: {error.strerror}; use another file") from error
        self._numbers = numbers if len(numbers) < number else None
        starts.append(at)
        return starts
