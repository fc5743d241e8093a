"""Resume a file of rows that an interrupted stage left: its complete rows count, a torn last line is cut off."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from srlm.errors import InputError
from srlm.progress import BLOCK
from srlm.rows.atomic_file import own_copy
from srlm.rows.ids import IdIndex
from srlm.rows.records import Row, iter_rows, write_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from srlm.reporter import Reporter


def resume_rows(path: Path, kind: type[Row], report: Reporter | None = None) -> list[Row]:
    """Return what `resume_iter` yields."""
    return list(resume_iter(path, kind, report))


def resume_iter(path: Path, kind: type[Row], report: Reporter | None = None) -> Iterator[Row]:
    """Cut off a partial last line (with a note to `report`), and yield the rows that an earlier run left in `path`.

    Yields nothing if there is no file.

    Raises:
        InputError: the last line is not a partial row of this kind; the file is left unchanged.
    """
    if not path.exists():
        return iter(())
    torn = _torn_line(path)
    if torn:
        if not _may_be_partial(torn, kind):
            raise InputError(f"{path}: its last line is not a partial {kind.__name__}; use another file")
        own_copy(path)
        os.truncate(path, path.stat().st_size - len(torn))
        if report is not None:
            report.note(f"{path}: a partial last line was cut off; its row is recomputed")
    return iter_rows(path, kind)


def drop_orphans(
    path: Path, kind: type[Row], parent: Callable[[Row], str], parents: Iterable[str], report: Reporter
) -> None:
    """Drop the rows whose parent, by its id, is none of `parents`.

    If two files are written at once, a loss of power may take more of the one than of the other.
    """
    known = IdIndex.of(parents)
    orphans = sum(parent(row) not in known for row in resume_iter(path, kind, report))
    if orphans:
        write_rows(path, (row for row in iter_rows(path, kind) if parent(row) in known))
        report.note(f"{path}: {orphans} rows belong to rows that are lost; they are recomputed")


def _may_be_partial(line: bytes, kind: type[Any]) -> bool:
    """Tell whether a line may be the start of a row: a file given by mistake must not lose its last line."""
    start = f'{{"{dataclasses.fields(kind)[0].name}": '.encode()
    line = line.strip(b"\0\r ")  # some file systems leave these after a loss of power
    return line.startswith(start) or start.startswith(line)


def _torn_line(file: Path) -> bytes:
    """Return the bytes after the last line feed."""
    with file.open("rb") as data:
        end, found = data.seek(0, os.SEEK_END), -1
        while end and found < 0:
            start = max(0, end - BLOCK)
            data.seek(start)
            found, end = data.read(end - start).rfind(b"\n"), start
        data.seek(end + found + 1)
        return data.read()
