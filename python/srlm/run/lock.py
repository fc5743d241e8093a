"""Lock the run directory: only one process at a time works in it, and another one is refused with the owner's pid.

The lock is an flock on a file that stays in the directory, so the operating system releases it when the process ends,
however it ends; the file's content only names the owner. Over NFS it holds between machines as well.
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
# Errors of a file system without locks.
NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock of a run directory, which is created if missing.

    A directory with other content is left alone; on a file system without locks none is held.

    Raises:
        InputError: another process holds it (the message has its pid and host), or the directory cannot be written.
    """
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if names and not names & {"config.yaml", "seeds.yaml", LOCK}:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(f"run directory {folder}: {error.strerror}; use another --run-dir") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InputError(f"{folder}: in use by {owner(file.read())}; wait until it is done, or stop it") from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        file.truncate(0)
        file.write(owner_line())
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def owner_line() -> str:
    """Return the content of a lock file of this process."""
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    return json.dumps(owner) + "\n"


def owner(text: str) -> str:
    """Return the owner that a lock file names; right after locking it is still empty."""
    try:
        found = json.loads(text)
        return f"process {found['pid']} on {found['host']}, since {found['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
