"""Run one training in several processes: `accelerate launch` starts them, and on a CPU torch's own launcher.

Each process connects to the driver over a local socket and receives the same job. Rank 0 sends progress and results.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Listener, wait
from pathlib import Path
from typing import TYPE_CHECKING

from srlm.errors import StageError
from srlm.workers.messages import InFlight, listen
from srlm.workers.process_tree import wait_until_released

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from srlm.config import LaunchSection
    from srlm.reporter import Reporter
    from srlm.workers.jobs import Finish, Work

START_SECONDS = 600  # for all processes to import their packages and connect
EXIT_SECONDS = 60


def run_distributed(work: Work, launch: LaunchSection, log: Path, report: Reporter, finish: Finish) -> None:
    """Run a training in `launch.processes` processes.

    Raises:
        InputError, StageError: a process failed or died, or not all of them started.
    """
    with tempfile.TemporaryDirectory(prefix="srlm-") as folder:
        address, key = str(Path(folder) / "driver"), secrets.token_bytes(32)
        with Listener(address, authkey=key) as listener, log.open("ab") as output:
            process = subprocess.Popen(
                distributed_command(launch, address),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "SRLM_AUTHKEY": key.hex()},
                start_new_session=True,
            )
            connections: list[Connection] = []
            pids: list[int] = []
            try:
                for connection, pid in _accept(listener, launch.processes, process, log):
                    connections.append(connection)
                    pids.append(pid)
                for connection in connections:
                    connection.send(work)
                _listen_to_all(connections, report, finish)
            except BaseException:
                for connection in connections:  # a training process exits when its connection closes
                    connection.close()
                _end(process, pids, 5)
                raise
            killed = _end(process, pids, EXIT_SECONDS)
            # All processes have reported success: a launcher that is slow to exit does not undo the training.
            if process.returncode != 0 and not killed:
                raise StageError(death_message(process.returncode, log))


def _end(process: subprocess.Popen[bytes], pids: list[int], seconds: float) -> bool:
    """Wait for the launcher to exit, kill it after `seconds`, and return whether it was killed.

    Then its training processes have ended too, and released their memory: each is in a group and session of its own.
    """
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    killed = process.poll() is None
    if killed:
        process.kill()
    process.wait()
    for group in (process.pid, *pids):
        wait_until_released(group)
    return killed


def distributed_command(launch: LaunchSection, address: str) -> list[str]:
    """Return the command that starts the processes; on a CPU it is torch's, as accelerate's starts only one."""
    gpu = any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd"))  # the driver does not import torch
    work = ["-m", "srlm.workers.process", address]
    if launch.accelerate_config is None and not gpu:
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={launch.processes}"]
        return [sys.executable, *torchrun, *work]
    options = ["--num_processes", str(launch.processes)]
    if launch.accelerate_config is not None:
        options += ["--config_file", launch.accelerate_config]
    elif launch.processes > 1:
        options += ["--multi_gpu"]
    return [sys.executable, "-m", "accelerate.commands.launch", *options, *work]


def death_message(exit_code: int | None, log: Path) -> str:
    """Return the error message for a worker process that died."""
    how = f"signal {-exit_code}" if exit_code is not None and exit_code < 0 else f"exit code {exit_code}"
    hint = "; it may have run out of memory" if exit_code == -9 else ""
    return f"a worker process died ({how}{hint}); its output is in {log}. Run the same command again to resume"


def _accept(
    listener: Listener, count: int, process: subprocess.Popen[bytes], log: Path
) -> Iterator[tuple[Connection, int]]:
    """Yield the connection of each training process, and its pid, which it sends first."""
    started = 0
    # The listener's socket has no public timeout; a launcher that dies first must not leave the driver waiting.
    socket = listener._listener._socket  # type: ignore[attr-defined]
    socket.settimeout(1.0)
    deadline = time.monotonic() + START_SECONDS
    while started < count:
        try:
            connection = listener.accept()
            yield connection, connection.recv()
            started += 1
        except (TimeoutError, EOFError):
            if process.poll() is not None:
                raise StageError(death_message(process.returncode, log)) from None
            if time.monotonic() > deadline:
                raise StageError(
                    f"{started} of {count} training processes started within {START_SECONDS} s; check that "
                    f"launch.processes matches launch.accelerate_config. Their output is in {log}"
                ) from None


def _listen_to_all(connections: list[Connection], report: Reporter, finish: Finish) -> None:
    """Handle the messages of all processes until each is done."""
    running = list(connections)
    while running:
        for connection in wait(running):
            assert not isinstance(connection, int)  # noqa: S101  only connections were waited for
            listen(connection, report, finish, InFlight())  # type: ignore[arg-type]
            running.remove(connection)  # type: ignore[arg-type]
