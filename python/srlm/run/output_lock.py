"""Locks of the outputs of commands that run individually: only one process at a time writes a file or a model folder.

An output has a lock file beside it, `.NAME.srlm-lock`, with an flock as in `lock`: the operating system releases it
when the process ends, however it ends. The lock file is removed at the end; one that a killed process leaves is free,
and the next command on the same output reuses and removes it. Readers take no lock. The name of an output is resolved,
so that all paths to a file have the same lock; the existing file or folder is locked itself too, for a file with
several names (hard links), and where its folder does not allow a lock file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from srlm.errors import InputError
from srlm.run.lock import NO_LOCKS, owner, owner_line

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIX = ".srlm-lock"
_MAX_NAME_BYTES = 200  # of 255 that file systems allow; longer names are hashed
# An NFS client cannot lock a file that is open for reading only, nor a folder.
_NO_LOCKS = NO_LOCKS | {errno.EBADF}
_MAX_ATTEMPTS = 100  # each fails only if another process releases the lock at this moment
_READ_ONLY = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@contextlib.contextmanager
def held(*outputs: Path) -> Iterator[None]:
    """Hold the locks of the outputs of a command: files or folders, which need not exist.

    On a file system without locks none is held. The folders of the outputs are created if missing, and removed again
    if nothing was written into them.

    Raises:
        InputError: another process writes one of the outputs (the message has its pid and host), or the output's folder
            cannot be written.
    """
    with contextlib.ExitStack() as stack:
        locks = _Locks(stack)
        for out in outputs:
            locks.take(out)
        yield


def lock_file(path: Path) -> Path:
    """Return the lock file of an output with this resolved name."""
    name = path.name
    if len(os.fsencode(name)) > _MAX_NAME_BYTES:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return path.with_name(f".{name}{SUFFIX}")


class _Locks:
    """The locks of one command; `stack` releases them."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._held: set[tuple[int, int]] = set()  # device and inode of locked files: two outputs may be the same file

    def take(self, out: Path) -> None:
        """Lock an output under its name, under that of the file that it links to, and the file itself."""
        beside = Path(os.path.realpath(out.parent)) / out.name
        target = Path(os.path.realpath(out))
        for name in sorted({beside, target}):
            if name == beside or name.parent.is_dir():  # a pipe links to a target without a folder
                self._take_name(out, name)
        if out.is_file() or out.is_dir():
            self._take_itself(out)

    def _take_name(self, out: Path, name: Path) -> None:
        """Lock the lock file of a name."""
        try:
            handle = self._locked(out, name)
        except OSError as error:
            if error.errno in _READ_ONLY and os.access(name, os.W_OK):
                return  # the output itself can be written, and locked
            no_folder = isinstance(error, FileExistsError | NotADirectoryError)  # a file where a folder should be
            reason = "is not a folder" if no_folder else f"cannot be written: {error.strerror}"
            raise InputError(f"{out}: {name.parent} {reason}; use another output") from error
        if handle is not None:
            self._stack.callback(_release, handle, lock_file(name))

    def _take_itself(self, out: Path) -> None:
        """Lock an existing output."""
        try:
            handle = os.open(out, (os.O_RDONLY if out.is_dir() else os.O_RDWR) | os.O_CLOEXEC)
        except OSError:
            return  # the command says why it cannot write it
        self._stack.callback(os.close, handle)
        if _inode(handle) not in self._held:
            _lock(handle, out, "another process")
            self._held.add(_inode(handle))

    def _locked(self, out: Path, name: Path) -> int | None:
        """Return the locked lock file of a name, or None if this command holds it already."""
        path = lock_file(name)
        for attempt in range(_MAX_ATTEMPTS):
            try:
                self._create_folders(name.parent)
                handle = _open(path)
            except FileNotFoundError:  # the previous owner has just removed the folder that it had created
                if attempt == _MAX_ATTEMPTS - 1:
                    raise
                continue
            try:
                if _inode(handle) in self._held:
                    os.close(handle)
                    return None
                _lock(handle, out, None)
                if _is_at(handle, path):
                    self._held.add(_inode(handle))
                    _write_owner(handle)
                    return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)  # the previous owner removed it after it was opened here
        raise InputError(f"{out}: {path} is removed again and again; use another output")

    def _create_folders(self, folder: Path) -> None:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for path in reversed(missing):  # the innermost is removed first
            self._stack.callback(_remove_if_empty, path)


def _lock(handle: int, out: Path, holder: str | None) -> None:
    """Lock an open file; `holder` is who holds it, if its content does not name the process."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = holder or owner(os.pread(handle, 1000, 0).decode("utf-8", "replace"))
        raise InputError(
            f"{out}: being written by {holder}; wait until it is done, stop it, or use another output"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _write_owner(handle: int) -> None:
    with contextlib.suppress(OSError):  # opened for reading: the file of another user
        os.ftruncate(handle, 0)
        os.pwrite(handle, owner_line().encode(), 0)


def _open(path: Path) -> int:
    """Open a lock file, which is created if missing; a link is not followed, as the file is written to."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags | os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        if not path.exists():
            raise
        return os.open(path, flags | os.O_RDONLY)  # another user's file: it can be locked, not written


def _release(handle: int, path: Path) -> None:
    """Remove the lock file while the lock is held, then release it."""
    with contextlib.suppress(OSError):
        if _is_at(handle, path):
            path.unlink()
    os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    """Tell whether an open file still has this path."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _inode(handle: int) -> tuple[int, int]:
    status = os.fstat(handle)
    return status.st_dev, status.st_ino


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
