"""One process at a time works in a run's folder: another one is refused, and told who it is.

The lock is the operating system's (flock) on a file that stays there, so it ends with the process that holds it,
however that ended; what is left in the file only says who it was. Over NFS it holds between machines as well.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from typing import TYPE_CHECKING

from srlm.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = "run.lock"
# A file system without locks says one of these.
NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder, which is made where there is none.

    A folder of something else is left as it is; a file system that has no locks is used without one.

    Raises:
        InputError: another process holds it (names its number and machine), or the folder cannot be written.
    """
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if names and not names & {"config.yaml", LOCK}:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(f"run directory {folder}: {error.strerror}; give another --run-dir") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InputError(
                f"{folder}: {_owner(file.read())} is at work in it; wait until it is done, or stop it"
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        file.truncate(0)
        facts = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        file.write(json.dumps(facts) + "\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _owner(text: str) -> str:
    """Return who says to hold the lock; a moment after it was taken nothing stands there yet."""
    try:
        facts = json.loads(text)
        return f"process {facts['pid']} on {facts['host']}, since {facts['since']},"
    except (ValueError, KeyError, TypeError):
        return "another process"
