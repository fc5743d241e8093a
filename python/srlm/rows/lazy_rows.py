"""A file of rows as a sequence: for what is gone through, or read here and there, without being held."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar, overload

from srlm.errors import InputError
from srlm.rows.json_lines import is_blank, parse_line
from srlm.rows.records import iter_rows, row_from

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Row = TypeVar("Row")


class RowFile(Sequence[Row]):
    """The rows of a file that does not change meanwhile; a row is read anew whenever it is asked for.

    Held is only where the lines begin, 8 bytes a row, and that only once a row or their number is asked for.
    """

    def __init__(self, path: Path, kind: type[Row]) -> None:
        self._path, self._kind = path, kind
        self._numbers: array[int] | None = None  # of the lines, where some are blank: [R]

    def __iter__(self) -> Iterator[Row]:
        return iter_rows(self._path, self._kind)

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        if isinstance(place, slice):
            return [self._row(number) for number in range(*place.indices(len(self)))]
        return self._row(range(len(self))[place])

    def _row(self, place: int) -> Row:
        start, end = self._starts[place], self._starts[place + 1]
        with self._path.open("rb") as file:
            file.seek(start)
            line = file.read(end - start).partition(b"\n")[0]
        number = place + 1 if self._numbers is None else self._numbers[place]
        value = parse_line(line, self._path, number)
        return row_from(value or {}, self._kind, f"{self._path}, line {number}")

    @cached_property
    def _starts(self) -> array[int]:
        """Where each line that is not blank begins, and where the last one ends: [R + 1]."""
        starts, numbers, at, number = array("q"), array("q"), 0, 0
        try:
            with self._path.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    if not is_blank(line, self._path, number):
                        starts.append(at)
                        numbers.append(number)
                    at += len(line)
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read: {error.strerror}; name another file") from error
        self._numbers = numbers if len(numbers) < number else None
        starts.append(at)
        return starts
