"""What a stage says while it works."""

from __future__ import annotations

from typing import Protocol

UNITS = {"sft": "steps", "dpo": "steps", "reference": "batches"}  # what is counted of a stage, if not rows


def unit(stage: str) -> str:
    """Return what is counted of a stage."""
    return "models" if stage.startswith("model ") else UNITS.get(stage, "rows")


class Reporter(Protocol):
    """Told by a stage how far it is."""

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """A stage begins: `total` rows (see `unit`), of which an earlier run has `done`."""

    def advance(self, rows: int = 1) -> None:
        """The stage that began last has finished `rows` more."""

    def note(self, text: str) -> None:
        """Something a person would want to know, in one line."""

    def sent(self, key: str) -> None:
        """A request was handed to the engine."""

    def back(self, key: str) -> None:
        """Its answer has come, or is not wanted any more."""


class SilentReporter:
    """Says nothing."""

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """See `Reporter.start`."""

    def advance(self, rows: int = 1) -> None:
        """See `Reporter.advance`."""

    def note(self, text: str) -> None:
        """See `Reporter.note`."""

    def sent(self, key: str) -> None:
        """See `Reporter.sent`."""

    def back(self, key: str) -> None:
        """See `Reporter.back`."""
