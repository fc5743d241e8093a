"""A wrapper that counts an engine's tokens and keeps a single request from stopping a stage.

No completion is yielded for a request that is marked as failed, and suspects run last and apart (`stage_requests`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from srlm.engines.stage_requests import StageRequests
from srlm.engines.together import generate_together

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from srlm.engines.base import Completion, Engine, Request
    from srlm.reporter import Reporter


class FaultTolerantEngine:
    """Wraps an engine for one stage."""

    def __init__(
        self, engine: Engine, stage: str, file: Path, deaths: Mapping[str, int], max_model_len: int, report: Reporter
    ) -> None:
        """See `StageRequests`."""
        self._engine, self.requests = engine, StageRequests(stage, file, deaths, max_model_len, report)
        self.name, self.tokenizer, self.sizes = engine.name, engine.tokenizer, engine.sizes
        self.has_processes = engine.has_processes

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Completion]:
        """See `Engine.generate`; a request that is marked as failed yields no completion."""
        for _, completion in generate_together(self._engine, [(self.requests, requests)]):
            yield completion

    def has_failed(self, key: str) -> bool:
        """See `Engine.has_failed`."""
        return self.requests.has_failed(key)

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
        failed = self.requests.failures()
        sizes = {"sizes": self._engine.sizes} if self._engine.sizes else {}
        return {"engine": self.name, **self.requests.tokens, **({"failed": failed} if failed else {}), **sizes}
