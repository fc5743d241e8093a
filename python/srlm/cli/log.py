"""The run's log: what is shown to a person is also kept, one event a line (`log.jsonl`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from srlm.reporter import unit

if TYPE_CHECKING:
    from srlm.cli.display import Display
    from srlm.run.run_dir import RunDir


class LoggedDisplay:
    """A reporter that hands on to a display what it is told, and keeps notes and the beginnings of stages."""

    def __init__(self, display: Display, run_dir: RunDir) -> None:
        self._display, self._run_dir = display, run_dir
        self._title = ""

    def titled(self, title: str) -> None:
        """See `Display.titled`."""
        self._title = title
        self._display.titled(title)

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """See `Reporter.start`."""
        self._run_dir.log("began", stage=f"{self._title} {stage}".strip(), total=total, done=done, unit=unit(stage))
        self._display.start(stage, total, done)

    def advance(self, rows: int = 1) -> None:
        """See `Reporter.advance`."""
        self._display.advance(rows)

    def note(self, text: str) -> None:
        """See `Reporter.note`."""
        self._run_dir.log("note", text=text)
        self._display.note(text)

    def sent(self, key: str) -> None:
        """See `Reporter.sent`."""

    def back(self, key: str) -> None:
        """See `Reporter.back`."""
