"""A stage that generates, as the requests that it asks and what it makes of their completions.

In this form several stages can share one call of an engine (`workers.overlap`): a stage whose input is still being
written gives None where it has to wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from srlm.engines.base import Completion, Engine, Request


class GenerationStage(Protocol):
    """Appends rows to its file while it is entered as a context."""

    @property
    def is_complete(self) -> bool:
        """Whether the stage needs no more completions, not even of requests in flight."""

    def __enter__(self) -> Self:
        """Open the file."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; without an error, it is synced to disk."""

    def requests(self) -> Iterator[Request | None]:
        """Yield the requests that the file lacks; see `Engine.generate`."""

    def receive(self, completion: Completion) -> None:
        """Write what follows from a completion."""


def run(engine: Engine, stage: GenerationStage) -> None:
    """Run one stage alone."""
    with stage:
        for completion in engine.generate(stage.requests()):
            stage.receive(completion)
            if stage.is_complete:
                return  # which closes the generator, and thereby ends the requests in flight
