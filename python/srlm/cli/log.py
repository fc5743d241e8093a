"""The event log of a run (`log.jsonl`): also keeps what the terminal shows, one event per line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from srlm.reporter import unit

if TYPE_CHECKING:
    from srlm.cli.display import Display
    from srlm.run.run_dir import RunDir


class LoggedDisplay:
    """A reporter that forwards to a display, and logs notes and the starts of stages."""

    def __init__(self, display: Display, run_dir: RunDir) -> None:
        self._display, self._run_dir = display, run_dir
        self._title = ""

    def set_title(self, title: str) -> None:
        """See `Display.set_title`."""
        self._title = title
        self._display.set_title(title)

    def start(self, stage: str, total: int, done: int = 0, *, beside: bool = False) -> None:
        """See `Reporter.start`."""
        self._run_dir.log("began", stage=f"{self._title} {stage}".strip(), total=total, done=done, unit=unit(stage))
        self._display.start(stage, total, done, beside=beside)

    def advance(self, rows: int = 1, stage: str | None = None) -> None:
        """See `Reporter.advance`."""
        self._display.advance(rows, stage)

    def note(self, text: str) -> None:
        """See `Reporter.note`."""
        self._run_dir.log("note", text=text)
        self._display.note(text)

    def request_started(self, stage: str, key: str) -> None:
        """See `Reporter.request_started`."""

    def request_finished(self, stage: str, key: str) -> None:
        """See `Reporter.request_finished`."""
