"""Trainings in processes of their own that take turns: one optimizer step each, while all others wait.

Each process is a whole training by a public function, which reports every step to a `Reporter`; this one lets the
process sleep there until its next turn. So trainings are compared step by step in rounds, although none of them can be
stepped from outside, and a process's peak memory is that of one training.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preference.measuring import resident
from srlm.reporter import SilentReporter

from training.trainings import Outcome, read_outcome, run_training

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from training.cases import Case, Line


class ReferenceDoneError(Exception):
    """Ends a training of which only the reference pass is measured."""


class Turns(SilentReporter):
    """Ends a turn after every step, or after a reference pass, and waits for the next one.

    Args:
        connection: gets the seconds of each turn, and gives the next one.
        stage: what is measured.
    """

    def __init__(self, connection: Connection, stage: str) -> None:
        self._connection, self._measured, self._stage = connection, stage, ""
        self._start = self._end = 0.0
        self.peak: int | None = None  # resident bytes since the measured stage began

    def wait(self) -> None:
        """Sleep until the next turn."""
        self._connection.recv()
        self._start = time.perf_counter()

    def end_turn(self) -> None:
        """Send the seconds of the turn, and wait for the next one."""
        self._connection.send(self._end - self._start)
        self.wait()

    def start(self, stage: str, total: int, done: int = 0, *, beside: bool = False) -> None:
        """Begin to measure where the stage begins: loading a model does not count."""
        if self._measured == "reference" and stage != self._measured:
            raise ReferenceDoneError
        self._stage = stage
        with contextlib.suppress(OSError):  # Linux resets its high-water mark on request
            Path("/proc/self/clear_refs").write_text("5")
        self._start = time.perf_counter()

    def advance(self, rows: int = 1, stage: str | None = None) -> None:
        """End the turn after a step; a reference pass has several batches."""
        self._end = time.perf_counter()
        if self._stage != self._measured:
            return
        with contextlib.suppress(OSError):
            self.peak = resident("VmHWM")
        if self._measured != "reference":
            self.end_turn()


@dataclass(slots=True)
class Worker:
    """A line's process, and what it has measured."""

    line: Line
    process: Any
    connection: Connection
    seconds: list[float] = field(default_factory=list)  # of each turn; the first one is a warm-up
    outcome: Outcome | None = None
    failure: str | None = None

    def take_turn(self) -> None:
        """Let the process run one step or pass, and wait for its end."""
        if self.failure is None:
            answer = self._ask()
            if isinstance(answer, float):
                self.seconds.append(answer)

    def finish(self) -> None:
        """Let the process run to its end, and wait for it."""
        if self.failure is None:
            answer = self._ask()
            if isinstance(answer, Outcome):
                self.outcome = answer
        self.process.join()

    def _ask(self) -> object:
        try:
            self.connection.send(None)
            answer = self.connection.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            answer = "the process died"
        if isinstance(answer, str):
            self.failure = answer
        return answer


def start_worker(case: Case, line: Line, model: str, turns: int) -> Worker:
    """Start a process that waits for its first turn."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imports the libraries once
    connection, child = context.Pipe()
    process = context.Process(target=_serve, args=(child, case, line, model, turns), daemon=True)
    process.start()
    child.close()
    return Worker(line, process, connection)


def _serve(connection: Connection, case: Case, line: Line, model: str, turns: int) -> None:
    """Run a line's training; sends the seconds of its turns and then its outcome, or its error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # transformers prints its logs
    report = Turns(connection, case.stage)
    report.wait()
    try:
        connection.send(_measure(report, case, line, model, turns))
    except Exception as error:  # any error of a trainer is its result
        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        connection.send(f"{type(error).__name__}: {lines[0][:150]}")


def _measure(report: Turns, case: Case, line: Line, model: str, turns: int) -> Outcome:
    """Train for as many steps as there are turns, or repeat the reference pass with a new trainer each time."""
    once = case.stage != "reference"
    for _ in range(1 if once else turns):
        with tempfile.TemporaryDirectory() as folder:
            with contextlib.suppress(ReferenceDoneError):
                run_training(case, line, model, Path(folder), report, steps=turns if once else 1)
            outcome = read_outcome(Path(folder))
        if not once:
            report.end_turn()
    outcome.peak = report.peak
    return outcome
