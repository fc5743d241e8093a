"""A file of rows that a stage of this process is still appending to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from srlm.rows.json_lines import parse_line
from srlm.rows.records import row_from_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

Row = TypeVar("Row")


class GrowingFile(Generic[Row]):
    """The rows of a file; each iteration reads them from disk, and gives None where the next one is not written yet.

    `has_ended` tells whether the file is complete. Rows are written whole, by this thread, so none is seen in part.
    """

    def __init__(self, path: Path, kind: type[Row], has_ended: Callable[[], bool]) -> None:
        self._path, self._kind, self._has_ended = path, kind, has_ended

    def __iter__(self) -> Iterator[Row | None]:
        for found in self.with_offsets():
            yield None if found is None else found[1]

    def with_offsets(self) -> Iterator[tuple[int, Row] | None]:
        """Yield each row with the offset of its first byte, or None."""
        while not self._path.exists():
            if self._has_ended():
                return
            yield None
        with self._path.open("rb") as lines:
            while True:
                at, ended = lines.tell(), self._has_ended()
                if line := lines.readline():
                    if (value := parse_line(line, self._path, int(at == 0))) is not None:
                        yield at, row_from_json(value, self._kind, str(self._path))
                elif ended:
                    return
                else:
                    yield None

    def at(self, offset: int) -> Row:
        """Return the row at a byte offset."""
        with self._path.open("rb") as lines:
            lines.seek(offset)
            return row_from_json(parse_line(lines.readline(), self._path, 0) or {}, self._kind, str(self._path))


def written(rows: Iterable[Row | None]) -> Iterator[Row]:
    """Yield the rows before the first None: of a growing file, those that are written already."""
    for row in rows:
        if row is None:
            return
        yield row
