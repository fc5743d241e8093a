"""How a stage reports its progress."""

from __future__ import annotations

from typing import Protocol

UNITS = {"sft": "steps", "dpo": "steps", "reference": "batches"}  # what a stage counts, if not rows


def unit(stage: str) -> str:
    """Return the unit of a stage's progress."""
    return "models" if stage.startswith("model ") else UNITS.get(stage, "rows")


class Reporter(Protocol):
    """Receives the progress of stages."""

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """A stage starts: `total` rows (see `unit`), of which `done` exist from an earlier run."""

    def advance(self, rows: int = 1) -> None:
        """The current stage has finished `rows` more."""

    def note(self, text: str) -> None:
        """A message for the user, in one line."""

    def request_started(self, stage: str, key: str) -> None:
        """A request of a stage, by its name in the manifest, was passed to the engine."""

    def request_finished(self, stage: str, key: str) -> None:
        """The request was answered or dropped."""


class SilentReporter:
    """Ignores everything."""

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """See `Reporter.start`."""

    def advance(self, rows: int = 1) -> None:
        """See `Reporter.advance`."""

    def note(self, text: str) -> None:
        """See `Reporter.note`."""

    def request_started(self, stage: str, key: str) -> None:
        """See `Reporter.request_started`."""

    def request_finished(self, stage: str, key: str) -> None:
        """See `Reporter.request_finished`."""
