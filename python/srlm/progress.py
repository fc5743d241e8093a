"""Row counts of files that stages append to.

Counting the lines of several gigabytes takes seconds. A stage that writes millions of rows therefore keeps a count
beside its file, updated once a second: the rows in the first N bytes. Files of rows only grow, so a reader counts only
the lines after that. The count is removed when the stage is complete, because the manifest then has the number.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = 2**18  # bytes per read: they stay in a core's cache while they are searched


def count_lines(file: Path, start: int = 0, end: int | None = None) -> int:
    """Return the number of line ends between two byte positions, by default in the whole file."""
    lines, block, left = 0, bytearray(BLOCK), sys.maxsize if end is None else end - start
    with file.open("rb", buffering=0) as data:
        data.seek(start)
        while left and (size := data.readinto(block)):
            size = min(size, left)
            lines, left = lines + block.count(b"\n", 0, size), left - size
    return lines


def rows_so_far(file: Path) -> int:
    """Return the number of complete lines in a file that may be growing; 0 if it does not exist."""
    if not file.is_file():
        return 0
    size, rows = _read_count(file)
    if size > file.stat().st_size:  # a torn line was cut off, or the file was replaced
        size, rows = 0, 0
    return rows + count_lines(file, size)


def write_count(file: Path, size: int, rows: int) -> None:
    """Record that the first `size` bytes of `file`, which end with a line end, have `rows` lines."""
    partial = file.with_name(f"{file.name}.rows.partial")
    partial.write_text(json.dumps({"bytes": size, "rows": rows}), encoding="utf-8")
    partial.replace(_count_file(file))


def remove_count(file: Path) -> None:
    """Remove the count beside `file`, if there is one."""
    _count_file(file).unlink(missing_ok=True)


def _count_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.rows")


def _read_count(file: Path) -> tuple[int, int]:
    try:
        found = json.loads(_count_file(file).read_text(encoding="utf-8"))
        return int(found["bytes"]), int(found["rows"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0  # no count, or a broken one after a power loss: all lines are counted
