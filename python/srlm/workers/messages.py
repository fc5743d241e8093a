"""What a worker sends to the driver over its pipe, and how the driver handles it.

Messages are small tuples: start, advance and note (a reporter's calls), request_started and request_finished (which
requests the engine has), result (a finished stage), and one of done, failed, fault and crashed at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from srlm.errors import InputError, StageError, WorkerError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from srlm.errors import Fault
    from srlm.reporter import Reporter
    from srlm.workers.jobs import Finish
    from srlm.workers.tasks import Result

SEE_LOG = "(the worker's log has the traceback)"


class Sender:
    """The worker's end: a reporter that sends its calls to the driver, and finished stages too."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def start(self, stage: str, total: int, done: int = 0, *, beside: bool = False) -> None:
        """See `Reporter.start`."""
        self._connection.send(("start", stage, total, done, beside))

    def advance(self, rows: int = 1, stage: str | None = None) -> None:
        """See `Reporter.advance`."""
        self._connection.send(("advance", rows, stage))

    def note(self, text: str) -> None:
        """See `Reporter.note`."""
        self._connection.send(("note", text))

    def request_started(self, stage: str, key: str) -> None:
        """See `Reporter.request_started`."""
        self._connection.send(("request_started", stage, key))

    def request_finished(self, stage: str, key: str) -> None:
        """See `Reporter.request_finished`."""
        self._connection.send(("request_finished", stage, key))

    def finish(self, name: str, result: Result) -> None:
        """See `Finish`."""
        self._connection.send(("result", name, result))


@dataclass
class InFlight:
    """The requests that an engine has not answered yet."""

    keys: set[tuple[str, str]] = field(default_factory=set)  # (stage, key)
    answered: bool = False  # whether any request was answered

    def fault(self, kind: Fault, text: str) -> WorkerError:
        """Return the error for a worker that ends now."""
        return WorkerError(kind, text, frozenset(self.keys), answered=self.answered)


def listen(
    connection: Connection,
    report: Reporter,
    finish: Finish,
    in_flight: InFlight,
    stall_seconds: float | None = None,
) -> bool:
    """Handle a worker's messages until it is done (True) or its end of the pipe closes (False).

    Raises:
        InputError, StageError: the worker failed.
        WorkerError: the worker failed in a way that a new worker may not, or answered no request for `stall_seconds`.
    """
    while True:
        if in_flight.keys and not connection.poll(stall_seconds):
            raise in_flight.fault("hung", f"no request answered within {stall_seconds:g} s (engine.stall_seconds)")
        try:
            message: tuple[Any, ...] = connection.recv()
        except (EOFError, ConnectionResetError):
            return False
        match message:
            case ("request_started", stage, key):
                in_flight.keys.add((stage, key))
            case ("request_finished", stage, key):
                in_flight.keys.discard((stage, key))
                in_flight.answered = True
            case ("start", stage, total, done, beside):
                report.start(stage, total, done, beside=beside)
            case ("advance", rows, stage):
                report.advance(rows, stage)
            case ("note", text):
                report.note(text)
            case ("result", name, result):
                in_flight.keys = {(stage, key) for stage, key in in_flight.keys if stage != name}
                in_flight.answered = True
                finish(name, result)
            case ("done",):
                return True
            case ("fault", kind, text):
                raise in_flight.fault(kind, f"{text} {SEE_LOG}")
            case ("failed", "InputError", text):
                raise InputError(text)
            case ("failed", _, text):
                raise StageError(text)
            case ("crashed", text):
                raise StageError(f"{text} {SEE_LOG}")
