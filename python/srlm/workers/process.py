"""A worker process: runs one job, sends messages to the driver, and exits, which frees its memory.

Everything that the process prints goes to the run's log.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import traceback
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from srlm.errors import EngineError, InputError, StageError, is_out_of_memory
from srlm.reporter import SilentReporter
from srlm.workers.log_tail import LogTail
from srlm.workers.messages import Sender

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from srlm.workers.jobs import Work
    from srlm.workers.tasks import Result


class _NoReport(SilentReporter):
    """The reporter of all ranks of a distributed training except rank 0."""

    def finish(self, name: str, result: Result) -> None:
        pass


def main(connection: Connection, work: Work, log: Path | None) -> None:
    """Run `work`, and exit this process.

    The driver handles Ctrl-C and stops its workers itself. If the driver is killed, its workers exit too, so that they
    cannot write the same files as those of the next driver. The process ends with `os._exit`, because threads of
    libraries would otherwise keep it alive, and its memory with it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if log is not None:  # processes of a distributed training stay in their launcher's group
        os.setsid()  # child processes share this group, so the driver can wait until all of them have ended
    ending = threading.Event()
    threading.Thread(target=_exit_with_driver, args=(connection, ending), name="driver", daemon=True).start()
    if log is not None:
        redirect_output(log)
    faulthandler.enable()
    tail = None if log is None else LogTail(log)
    code = _perform(connection, work, tail, is_main=int(os.environ.get("RANK", "0")) == 0)
    ending.set()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _exit_with_driver(connection: Connection, ending: threading.Event) -> None:
    """Exit as soon as the driver's end of the connection closes; the driver sends no messages."""
    wait([connection])
    if not ending.is_set():
        if os.getpgrp() == os.getpid():  # and its child processes
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def _perform(connection: Connection, work: Work, tail: LogTail | None, *, is_main: bool) -> int:
    sender = Sender(connection) if is_main else _NoReport()
    try:
        work.run(sender, sender.finish)
    except (InputError, StageError) as error:
        traceback.print_exc()
        connection.send(("failed", type(error).__name__, str(error)))
    except OSError as error:
        traceback.print_exc()
        connection.send(("failed", "StageError", _disk_error(error)))
    except BaseException as error:  # every failure must reach the driver
        elsewhere = tail is not None and tail.explains(error)
        traceback.print_exc()
        in_engine = isinstance(error, EngineError)  # of one request, if it says that memory ran out
        message = str(error) if in_engine else f"{type(error).__name__}: {error}"
        if elsewhere or (is_out_of_memory(error) and not in_engine):
            connection.send(("fault", "out_of_memory", message))
        elif in_engine:
            connection.send(("fault", "engine_error", message))
        else:
            connection.send(("crashed", message))
    else:
        connection.send(("done",))
        return 0
    return 1


def _disk_error(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}; rows written so far are kept: fix it and run the same command again"


def redirect_output(log: Path) -> None:
    """Append everything that this process prints, C libraries included, to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(target, stream)
    os.close(target)


def launched() -> None:
    """Entry point of a process that `accelerate launch` started: receive the job from the driver and run it."""
    from multiprocessing.connection import Client

    connection = Client(sys.argv[1], authkey=bytes.fromhex(os.environ["SRLM_AUTHKEY"]))
    connection.send(os.getpid())
    main(connection, connection.recv(), None)


if __name__ == "__main__":
    launched()
