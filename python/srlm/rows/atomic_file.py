"""Atomic file writes: a file appears complete or not at all; and a file of its own before a write in place."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write to; it gets the name `path` once it is complete and synced to disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(path)
    fsync(path.parent)


def own_copy(path: Path) -> None:
    """Give a file that has other names (hard links) content of its own, before it is written to in place."""
    if path.exists() and path.stat().st_nlink > 1:
        with path.open("rb") as source, atomic_write(path) as target:
            shutil.copyfileobj(source, target)


def fsync(path: Path) -> None:
    """Sync a file's content, or a folder's entries, to disk, so that a renamed file survives a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems cannot sync a folder
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
