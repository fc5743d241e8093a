"""Stop a worker with all processes that it started, and wait until their memory is released."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from srlm.errors import StageError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

RELEASE_SECONDS = 60  # a killed process releases its memory, on GPUs too, before it can be reaped


def stop(process: BaseProcess) -> None:
    """Terminate a process, and kill it if it does not exit."""
    process.terminate()
    process.join(5)
    if process.is_alive():
        process.kill()
        process.join()


def wait_until_released(group: int | None) -> None:
    """Kill the remaining processes of a worker's group, including an engine's own, and wait until all have ended.

    Raises:
        StageError: processes of the group do not end, and hold memory that the next worker needs.
    """
    deadline = time.monotonic() + RELEASE_SECONDS
    while _signal_group(group, signal.SIGKILL):
        if time.monotonic() > deadline:
            if _only_zombies(group):
                return
            raise StageError(
                f"processes of worker {group} did not end and still hold memory; kill them, then run the same command "
                "again"
            )
        time.sleep(0.05)


def _only_zombies(group: int | None) -> bool:
    """Tell whether all processes of a group have ended without being reaped: they hold no memory."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:3]
            if its_group == str(group) and state not in "ZX":
                return False
    return True


def _signal_group(group: int | None, number: int) -> bool:
    """Send a signal to a process group; False if the group does not exist any more."""
    if group is None:
        return False
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True
