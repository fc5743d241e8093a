"""A wrapper that counts an engine's tokens and keeps a single request from stopping a stage.

A request that does not fit the engine, or on which the engine has died several times, is marked as failed: a row with
the reason goes to `FILE_failed.jsonl`, and no completion is yielded. The wrapper reports the start and end of each
request, so that the driver knows which requests were in flight when an engine died (`workers.supervisor`). Suspects run
last and separately: requests that were in flight at one death batch by batch, at two deaths one by one, so that the
third death has a single cause.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from srlm.errors import EngineError, InputError, StageError, is_out_of_memory
from srlm.rows.records import FailedRequest, write_rows
from srlm.rows.resume import resume_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from srlm.engines.base import Completion, Engine, Request
    from srlm.reporter import Reporter

MAX_ENGINE_DEATHS = 3


class FaultTolerantEngine:
    """Wraps an engine for one stage."""

    def __init__(
        self, engine: Engine, file: Path, deaths: Mapping[str, int], max_model_len: int, report: Reporter
    ) -> None:
        """`deaths` maps a request's key to the engine deaths while it was in flight; `file` is the stage's output."""
        self._engine, self._deaths, self._max_model_len, self._report = engine, deaths, max_model_len, report
        self.name, self.tokenizer, self.sizes = engine.name, engine.tokenizer, engine.sizes
        self.tokens = {"tokens_in": 0, "tokens_out": 0}
        self.failed_file = file.with_name(f"{file.stem}_failed.jsonl")
        self._failed = {row.key: row for row in resume_rows(self.failed_file, FailedRequest, report)}
        self._in_flight: set[str] = set()
        self._stage_error: Exception | None = None

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """See `Engine.generate`; a request that is marked as failed yields no completion."""
        suspects: list[Request] = []
        yield from self._completions(self._trusted(requests, suspects))
        one_death = [request for request in suspects if self._deaths[request.key] == 1]
        singles = [[request] for request in suspects if self._deaths[request.key] > 1]
        for group in (*self.batches(one_death), *singles):
            yield from self._completions(self._submitted(group))

    def batches(self, requests: list[Request]) -> list[list[Request]]:
        """See `Engine.batches`."""
        return self._engine.batches(requests)

    def logprobs(self, token_ids: list[int]) -> list[float]:
        """See `Engine.logprobs`."""
        return self._engine.logprobs(token_ids)

    def close(self) -> None:
        """See `Engine.close`."""
        self._engine.close()

    def metrics(self) -> dict[str, Any]:
        """Save the failed requests, and return the manifest's fields of the finished stage."""
        self._save_failed()
        failed = {"failed": dict(Counter(row.reason for row in self._failed.values()))} if self._failed else {}
        sizes = {"sizes": self._engine.sizes} if self._engine.sizes else {}
        return {"engine": self.name, **self.tokens, **failed, **sizes}

    def _trusted(self, requests: Iterable[Request], suspects: list[Request]) -> Iterator[Request]:
        """Yield the requests without a known problem; mark others as failed, or defer them to `suspects`."""
        for request in self._incoming(requests):
            deaths, failed = self._deaths.get(request.key, 0), self._failed.get(request.key)
            if len(request.prompt_ids) + request.sampling.max_tokens > self._max_model_len:
                self._fail(request, "too_long")
            elif failed is not None and failed.reason == "engine_died":
                continue
            elif deaths >= MAX_ENGINE_DEATHS:
                self._fail(request, "engine_died")
                self._save_failed()  # immediately: the death count is kept by the running driver only
            elif deaths:
                suspects.append(request)
            else:
                yield from self._submitted([request])

    def _incoming(self, requests: Iterable[Request]) -> Iterator[Request]:
        """Yield requests; an error while building one is the stage's, not the engine's."""
        try:
            yield from requests
        except Exception as error:
            self._stage_error = error
            raise

    def _submitted(self, requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            self.tokens["tokens_in"] += len(request.prompt_ids)
            self._in_flight.add(request.key)
            self._failed.pop(request.key, None)  # it was too long for the engine of an earlier run
            self._report.request_started(request.key)
            yield request

    def _completions(self, requests: Iterator[Request]) -> Iterator[Completion]:
        try:
            for completion in self._engine.generate(requests):
                _check_finite(completion)
                self._finish(completion.key)
                self.tokens["tokens_out"] += len(completion.token_ids)
                yield completion
        except GeneratorExit:  # the stage stopped early
            for key in list(self._in_flight):
                self._finish(key)
            raise
        except (EngineError, InputError, StageError, OSError):
            raise
        except Exception as error:
            if is_out_of_memory(error) or error is self._stage_error:
                raise
            raise EngineError(f"{type(error).__name__}: {error}") from error

    def _finish(self, key: str) -> None:
        self._in_flight.discard(key)
        self._report.request_finished(key)

    def _fail(self, request: Request, reason: str) -> None:
        length, max_tokens = len(request.prompt_ids), request.sampling.max_tokens
        self._failed[request.key] = FailedRequest(request.key, reason, length, max_tokens)

    def _save_failed(self) -> None:
        if self._failed or self.failed_file.exists():
            write_rows(self.failed_file, self._failed.values())


def _check_finite(completion: Completion) -> None:
    if not math.isfinite(completion.logprob):
        raise StageError(
            f"engine: the log-probabilities of request {completion.key} are not finite: the weights are broken, or "
            "overflow in their dtype; check the training curve, or set engine.dtype=float32. Existing rows are kept"
        )
