"""An engine as a stage sees it: one whose requests are counted, and which no single request can stop.

A request that does not fit the engine, or that an engine has died of several times, is set aside as a row with the
reason (`FILE_failed.jsonl`), and its completion never comes. Which requests are out is told as it happens, so that the
driver knows what an engine was at when it died (`srlm.supervisor`). Suspects run last and apart: those that were there
at one death a batch at a time, at two deaths alone, so that the third death has one cause.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from srlm.errors import EngineError, InputError, StageError, is_out_of_memory
from srlm.rows.records import FailedRequest, resume_rows, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from srlm.engines.base import Completion, Engine, Request
    from srlm.reporter import Reporter

MOST_DEATHS = 3


class GuardedEngine:
    """Wraps an engine for one stage."""

    def __init__(
        self, engine: Engine, file: Path, deaths: Mapping[str, int], max_model_len: int, report: Reporter
    ) -> None:
        """`deaths` are those that a request, by its key, was there at; `file` is the stage's."""
        self._engine, self._deaths, self._max_model_len, self._report = engine, deaths, max_model_len, report
        self.name, self.tokenizer, self.sizes = engine.name, engine.tokenizer, engine.sizes
        self.tokens = {"tokens_in": 0, "tokens_out": 0}
        self.failed_file = file.with_name(f"{file.stem}_failed.jsonl")
        self._failed = {row.key: row for row in resume_rows(self.failed_file, FailedRequest, report)}
        self._out: set[str] = set()
        self._error_of_stage: Exception | None = None

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """See `Engine.generate`; of a request that is set aside no completion comes."""
        suspects: list[Request] = []
        yield from self._completions(self._sound(requests, suspects))
        once = [request for request in suspects if self._deaths[request.key] == 1]
        alone = [[request] for request in suspects if self._deaths[request.key] > 1]
        for group in (*self.batches(once), *alone):
            yield from self._completions(self._sent(group))

    def batches(self, requests: list[Request]) -> list[list[Request]]:
        """See `Engine.batches`."""
        return self._engine.batches(requests)

    def logprobs(self, token_ids: list[int]) -> list[float]:
        """See `Engine.logprobs`."""
        return self._engine.logprobs(token_ids)

    def close(self) -> None:
        """See `Engine.close`."""
        self._engine.close()

    def facts(self) -> dict[str, Any]:
        """Return what the manifest keeps of a stage that is done, whose requests without an answer are on the disk."""
        self._keep()
        failed = {"failed": dict(Counter(row.reason for row in self._failed.values()))} if self._failed else {}
        sizes = {"sizes": self._engine.sizes} if self._engine.sizes else {}
        return {"engine": self.name, **self.tokens, **failed, **sizes}

    def _sound(self, requests: Iterable[Request], suspects: list[Request]) -> Iterator[Request]:
        """Hand on the requests that nothing is known against, and put aside or back the others."""
        for request in self._asked(requests):
            deaths, failed = self._deaths.get(request.key, 0), self._failed.get(request.key)
            if len(request.prompt_ids) + request.sampling.max_tokens > self._max_model_len:
                self._fail(request, "too_long")
            elif failed is not None and failed.reason == "engine_died":
                continue
            elif deaths >= MOST_DEATHS:
                self._fail(request, "engine_died")
                self._keep()  # at once: only the driver that is at work now knows
            elif deaths:
                suspects.append(request)
            else:
                yield from self._sent([request])

    def _asked(self, requests: Iterable[Request]) -> Iterator[Request]:
        """Hand on requests; an error in making one is the stage's, not the engine's."""
        try:
            yield from requests
        except Exception as error:
            self._error_of_stage = error
            raise

    def _sent(self, requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            self.tokens["tokens_in"] += len(request.prompt_ids)
            self._out.add(request.key)
            self._failed.pop(request.key, None)  # it was too long for another engine
            self._report.sent(request.key)
            yield request

    def _completions(self, requests: Iterator[Request]) -> Iterator[Completion]:
        try:
            for completion in self._engine.generate(requests):
                _check_finite(completion)
                self._back(completion.key)
                self.tokens["tokens_out"] += len(completion.token_ids)
                yield completion
        except GeneratorExit:  # the stage has enough
            for key in list(self._out):
                self._back(key)
            raise
        except (EngineError, InputError, StageError, OSError):
            raise
        except Exception as error:
            if is_out_of_memory(error) or error is self._error_of_stage:
                raise
            raise EngineError(f"{type(error).__name__}: {error}") from error

    def _back(self, key: str) -> None:
        self._out.discard(key)
        self._report.back(key)

    def _fail(self, request: Request, reason: str) -> None:
        length, longest = len(request.prompt_ids), request.sampling.max_tokens
        self._failed[request.key] = FailedRequest(request.key, reason, length, longest)

    def _keep(self) -> None:
        if self._failed or self.failed_file.exists():
            write_rows(self.failed_file, self._failed.values())


def _check_finite(completion: Completion) -> None:
    if not math.isfinite(completion.logprob):
        raise StageError(
            f"engine: the log-probabilities of request {completion.key} are not finite: the weights are broken, or "
            "overflow in their type; look at the training's curve, or set engine.dtype=float32. Rows so far are kept"
        )
