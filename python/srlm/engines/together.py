"""Runs the requests of one stage, or of several that share an engine, in one call of the engine.

A request is taken from the first stage that has one, so that the engine only idles where all of them wait. Suspects run
apart: when the others are done, or when all stages wait and nothing else is in flight, as one may wait for a suspect.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from srlm.errors import EngineError, InputError, StageError, is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from srlm.engines.base import Completion, Engine, Request
    from srlm.engines.stage_requests import StageRequests


def generate_together(
    engine: Engine, stages: Sequence[tuple[StageRequests, Iterable[Request | None]]]
) -> Iterator[tuple[int, Completion]]:
    """Generate the requests of several stages; yield completions with their stage's number.

    Raises:
        EngineError: the engine failed.
        RuntimeError: all stages wait for a completion, but no request is in flight.
    """
    together = _Together(engine, stages)
    while not together.ended:
        yield from together.completions(together.trusted())
        for number, group in together.suspects():
            yield from together.completions(together.apart(number, group))


class _Together:
    """The stages' requests under the engine's keys: with the stage's number, where there are several stages."""

    def __init__(self, engine: Engine, stages: Sequence[tuple[StageRequests, Iterable[Request | None]]]) -> None:
        self._engine, self._stages = engine, [stage for stage, _ in stages]
        self._waiting = {number: stage.trusted(requests) for number, (stage, requests) in enumerate(stages)}
        self._prefixes = [f"{number}:" * (len(stages) > 1) for number in range(len(stages))]
        self._running: dict[str, int] = {}  # the engine's key: the stage's number
        self._stage_error: Exception | None = None

    @property
    def ended(self) -> bool:
        """Whether every stage has ended and every request has been answered or has failed."""
        return not self._waiting and all(stage.is_idle for stage in self._stages)

    def trusted(self) -> Iterator[Request | None]:
        """Yield requests as long as a stage has any and none has to wait for a suspect."""
        while self._waiting:
            found = self._next()
            if found == "ended":
                continue
            if found is not None:
                yield self.started(*found)
            elif self._running:
                yield None
            elif all(stage.is_idle for stage in self._stages):
                self._stage_error = RuntimeError("every stage waits for a completion, but no request is in flight")
                raise self._stage_error
            else:
                return

    def started(self, number: int, request: Request) -> Request:
        """Return the request for the engine."""
        self._stages[number].started(request)
        key = self._prefixes[number] + request.key
        self._running[key] = number
        return replace(request, key=key)

    def apart(self, number: int, group: list[Request]) -> Iterator[Request]:
        """Yield the requests of one group of suspects."""
        for request in group:
            yield self.started(number, request)

    def suspects(self) -> Iterator[tuple[int, list[Request]]]:
        """Yield the groups of suspects so far, with their stage's number."""
        for number, stage in enumerate(self._stages):
            for group in stage.suspects(self._engine.batches):
                yield number, group

    def completions(self, requests: Iterator[Request | None]) -> Iterator[tuple[int, Completion]]:
        """Yield the engine's completions under their stage's own keys; see `generate_together`."""
        try:
            for completion in self._engine.generate(requests):
                number = self._running.pop(completion.key)
                answer = replace(completion, key=completion.key.removeprefix(self._prefixes[number]))
                self._stages[number].answered(answer)
                yield number, answer
        except GeneratorExit:  # the caller stopped early
            for stage in self._stages:
                stage.abandon()
            raise
        except (EngineError, InputError, StageError, OSError):
            raise
        except Exception as error:
            if is_out_of_memory(error) or error is self._stage_error:
                raise
            raise EngineError(f"{type(error).__name__}: {error}") from error

    def _next(self) -> tuple[int, Request] | Literal["ended"] | None:
        """Return a request with its stage's number; None if all stages wait; "ended" if one has ended, which another
        may have waited for."""
        for number, requests in self._waiting.items():
            try:
                request = next(requests)
            except StopIteration:
                del self._waiting[number]
                return "ended"
            except Exception as error:  # the stage's, not the engine's
                self._stage_error = error
                raise
            if request is not None:
                return number, request
        return None
