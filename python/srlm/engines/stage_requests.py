"""The requests of one stage: which may be sent with others, which only apart, and which have failed.

A request that does not fit the engine, or on which the engine has died several times, is marked as failed: a row with
the reason goes to `FILE_failed.jsonl`. The start and end of each request are reported, so that the driver knows which
requests were in flight when an engine died (`workers.supervisor`). Those are suspects and run apart: after one death
batch by batch, after two one by one, so that the third death has a single cause.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from srlm.errors import StageError
from srlm.rows.records import FailedRequest, write_rows
from srlm.rows.resume import resume_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from srlm.engines.base import Completion, Request
    from srlm.reporter import Reporter

MAX_ENGINE_DEATHS = 3


class StageRequests:
    """Counts a stage's tokens, and knows its requests in flight, its suspects and its failed requests."""

    def __init__(self, stage: str, file: Path, deaths: Mapping[str, int], max_model_len: int, report: Reporter) -> None:
        """`deaths` maps a request's key to the engine deaths while it was in flight; `file` is the stage's output."""
        self._stage, self._deaths, self._max_model_len, self._report = stage, deaths, max_model_len, report
        self.tokens = {"tokens_in": 0, "tokens_out": 0}
        self.failed_file = file.with_name(f"{file.stem}_failed.jsonl")
        self._failed = {row.key: row for row in resume_rows(self.failed_file, FailedRequest, report)}
        self._in_flight: set[str] = set()
        self._suspects: dict[str, Request] = {}

    @property
    def is_idle(self) -> bool:
        """Whether every request that was taken has been answered or has failed."""
        return not self._in_flight and not self._suspects

    def has_failed(self, key: str) -> bool:
        """See `Engine.has_failed`."""
        return key in self._failed

    def trusted(self, requests: Iterable[Request | None]) -> Iterator[Request | None]:
        """Yield the requests without a known problem; mark others as failed, or defer them as suspects."""
        for request in requests:
            if request is None or self._is_trusted(request):
                yield request

    def suspects(self, batches: Callable[[list[Request]], list[list[Request]]]) -> list[list[Request]]:
        """Return the suspects so far, in the groups that have to run apart; `batches` is the engine's."""
        one_death = [request for key, request in self._suspects.items() if self._deaths[key] == 1]
        return [*batches(one_death), *([request] for key, request in self._suspects.items() if self._deaths[key] > 1)]

    def started(self, request: Request) -> None:
        """Note that the engine has a request."""
        self.tokens["tokens_in"] += len(request.prompt_ids)
        self._suspects.pop(request.key, None)
        self._in_flight.add(request.key)
        self._report.request_started(self._stage, request.key)

    def answered(self, completion: Completion) -> None:
        """Note that a request is answered.

        Raises:
            StageError: the log-probabilities are not finite.
        """
        _check_finite(completion)
        self.tokens["tokens_out"] += len(completion.token_ids)
        self._finish(completion.key)

    def abandon(self) -> None:
        """Note that the stage no longer waits for its requests."""
        for key in list(self._in_flight):
            self._finish(key)

    def failures(self) -> dict[str, int]:
        """Save the failed requests, and return how many there are of each reason."""
        self._save_failed()
        return dict(Counter(row.reason for row in self._failed.values()))

    def _is_trusted(self, request: Request) -> bool:
        deaths, failed = self._deaths.get(request.key, 0), self._failed.get(request.key)
        if len(request.prompt_ids) + request.sampling.max_tokens > self._max_model_len:
            self._fail(request, "too_long")
        elif deaths >= MAX_ENGINE_DEATHS:
            self._fail(request, "engine_died")
            self._save_failed()  # immediately: the death count is kept by the running driver only
        elif failed is None or failed.reason != "engine_died":
            self._failed.pop(request.key, None)  # it was too long for the engine of an earlier run
            if not deaths:
                return True
            self._suspects[request.key] = request
        return False

    def _finish(self, key: str) -> None:
        self._in_flight.discard(key)
        self._report.request_finished(self._stage, key)

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
