"""Files that stages append rows to: how many rows they have, also meanwhile, and where the last whole one ends.

Counting the lines of some gigabytes takes seconds. So a stage that writes millions of rows notes beside its file, once
a second, how many rows its first bytes hold; files of rows only grow, so whoever asks counts no more than what has
come since. The note goes when the stage's rows are complete, as the manifest has their number then.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = 2**18  # bytes read at once: they stay in a core's cache while they are searched


def count_lines(file: Path, start: int = 0, end: int | None = None) -> int:
    """Return how many lines end between two bytes, by default in all; what follows the last line feed is no line."""
    lines, block, left = 0, bytearray(BLOCK), sys.maxsize if end is None else end - start
    with file.open("rb", buffering=0) as data:
        data.seek(start)
        while left and (size := data.readinto(block)):
            size = min(size, left)
            lines, left = lines + block.count(b"\n", 0, size), left - size
    return lines


def torn_line(file: Path) -> bytes:
    """Return what follows the last line feed."""
    with file.open("rb") as data:
        end, found = data.seek(0, os.SEEK_END), -1
        while end and found < 0:
            start = max(0, end - BLOCK)
            data.seek(start)
            found, end = data.read(end - start).rfind(b"\n"), start
        data.seek(end + found + 1)
        return data.read()


def rows_so_far(file: Path) -> int:
    """Return the number of whole lines in a file that may be growing; 0 without one."""
    if not file.is_file():
        return 0
    size, rows = _noted(file)
    if size > file.stat().st_size:  # a torn line was cut off, or another file is there now
        size, rows = 0, 0
    return rows + count_lines(file, size)


def note(file: Path, size: int, rows: int) -> None:
    """Note that the first `size` bytes of `file`, which end with a line, hold `rows` lines."""
    partial = file.with_name(f"{file.name}.rows.partial")
    partial.write_text(json.dumps({"bytes": size, "rows": rows}), encoding="utf-8")
    partial.replace(_note_of(file))


def forget(file: Path) -> None:
    """Remove the note beside `file`, if there is one."""
    _note_of(file).unlink(missing_ok=True)


def _note_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.rows")


def _noted(file: Path) -> tuple[int, int]:
    try:
        found = json.loads(_note_of(file).read_text(encoding="utf-8"))
        return int(found["bytes"]), int(found["rows"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0  # none, or what a loss of power left of one: all lines are counted
