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

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from srlm.workers.jobs import Work
    from srlm.workers.tasks import Result


class _Sender:
    """A reporter that sends to the driver; it also passes results on."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def start(self, stage: str, total: int, done: int = 0) -> None:
        self._connection.send(("start", stage, total, done))

    def advance(self, rows: int = 1) -> None:
        self._connection.send(("advance", rows))

    def note(self, text: str) -> None:
        self._connection.send(("note", text))

    def sent(self, key: str) -> None:
        self._connection.send(("sent", key))

    def back(self, key: str) -> None:
        self._connection.send(("back", key))

    def finish(self, name: str, result: Result) -> None:
        self._connection.send(("result", name, result))


class _Mute(SilentReporter):
    """What the other processes of a distributed training report to: nobody."""

    def finish(self, name: str, result: Result) -> None:
        pass


def main(connection: Connection, work: Work, log: Path | None) -> None:
    """Do `work` in this process, which ends with it.

    Ctrl-C is the driver's to handle: it stops its workers itself. A driver that was killed takes its workers with it: a
    next one might write the same files. The process leaves by `os._exit`, because libraries that still hold threads
    would otherwise keep it, and with it the memory.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if log is not None:  # not one of several, which their launcher holds together
        os.setsid()  # what this process starts shares its group, by which the driver sees that all of it has ended
    ending = threading.Event()
    threading.Thread(target=_end_with_driver, args=(connection, ending), name="driver", daemon=True).start()
    if log is not None:
        redirect_output(log)
    faulthandler.enable()
    code = _perform(connection, work, leader=int(os.environ.get("RANK", "0")) == 0)
    ending.set()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _end_with_driver(connection: Connection, ending: threading.Event) -> None:
    """Wait for the driver's end of the connection to close, since nothing else comes through it, and leave at once."""
    wait([connection])
    if not ending.is_set():
        if os.getpgrp() == os.getpid():  # what this process started goes with it
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def _perform(connection: Connection, work: Work, *, leader: bool) -> int:
    sender = _Sender(connection) if leader else _Mute()
    try:
        work.run(sender, sender.finish)
    except (InputError, StageError) as error:
        traceback.print_exc()
        connection.send(("failed", type(error).__name__, str(error)))
    except OSError as error:
        traceback.print_exc()
        connection.send(("failed", "StageError", _disk(error)))
    except EngineError as error:
        traceback.print_exc()
        connection.send(("fault", "engine_error", str(error)))
    except BaseException as error:  # the driver is told of every end, whatever it was
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        connection.send(("fault", "out_of_memory", message) if is_out_of_memory(error) else ("crashed", message))
    else:
        connection.send(("done",))
        return 0
    return 1


def _disk(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return (
        f"{where}{error.strerror or error}; rows written so far are kept: run the same command again once it is mended"
    )


def redirect_output(log: Path) -> None:
    """Send everything this process prints, C libraries included, to the end of `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(target, stream)
    os.close(target)


def launched() -> None:
    """Entry point of a process started by `accelerate launch`: fetch the work from the driver, and do it."""
    from multiprocessing.connection import Client

    connection = Client(sys.argv[1], authkey=bytes.fromhex(os.environ["SRLM_AUTHKEY"]))
    main(connection, connection.recv(), None)


if __name__ == "__main__":
    launched()
