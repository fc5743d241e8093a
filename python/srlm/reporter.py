"""How a stage reports its progress."""

from __future__ import annotations

from typing import Protocol

UNITS = {"sft": "steps", "dpo": "steps", "reference": "batches"}  # what a stage counts, if not rows


def unit(stage: str) -> str:
    """Return the unit of a stage's progress."""
    return "models" if stage.startswith("model ") else UNITS.get(stage, "rows")


class Reporter(Protocol):
    """Receives the progress of stages."""

    def start(self, stage: str, total: int, done: int = 0, *, beside: bool = False) -> None:
        """A stage starts: `total` rows (see `unit`), of which `done` exist from an earlier run.

        `beside`: the stages that started before it go on.
        """

    def advance(self, rows: int = 1, stage: str | None = None) -> None:
        """A stage, by default the one that started last, has finished `rows` more."""

    def note(self, text: str) -> None:
        """A message for the user, in one line."""

    def request_started(self, stage: str, key: str) -> None:
        """A request of a stage, by its name in the manifest, was passed to the engine."""

    def request_finished(self, stage: str, key: str) -> None:
        """The request was answered or dropped."""


class SilentReporter:
    """Ignores everything."""

    def start(self, stage: str, total: int, done: int = 0, *, beside: bool = False) -> None:
        """See `Reporter.start`."""

    def advance(self, rows: int = 1, stage: str | None = None) -> None:
        """See `Reporter.advance`."""

    def note(self, text: str) -> None:
        """See `Reporter.note`."""

    def request_started(self, stage: str, key: str) -> None:
        """See `Reporter.request_started`."""

    def request_finished(self, stage: str, key: str) -> None:
        """See `Reporter.request_finished`."""


class SharedReporter:
    """The reporter of one of several stages that run at the same time; `is_first` is the first one to start."""

    def __init__(self, report: Reporter, *, is_first: bool) -> None:
        self._report, self._is_first, self._stage = report, is_first, ""
        self.note, self.request_started, self.request_finished = (
            report.note,
            report.request_started,
            report.request_finished,
        )

    def start(self, stage: str, total: int, done: int = 0, *, beside: bool = True) -> None:
        """See `Reporter.start`."""
        self._stage = stage
        self._report.start(stage, total, done, beside=beside and not self._is_first)

    def advance(self, rows: int = 1, stage: str | None = None) -> None:
        """See `Reporter.advance`."""
        self._report.advance(rows, stage or self._stage)
