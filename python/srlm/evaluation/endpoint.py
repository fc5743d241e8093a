"""An OpenAI-compatible chat completions endpoint: concurrent requests, with a cache so that none is paid for twice.

The requests run in an event loop on a separate thread. They continue while the caller works, and Ctrl-C or an error
cancels all requests in flight at once: the connections are closed, and the server can abort. Threads with blocking
requests could not be stopped before their timeout. A response is cached as soon as it arrives, whether or not the
caller has consumed it (`response_cache.py`); `chat_client.py` sends a single request, with retries. Not supported:
streaming, as only a complete verdict is of use, and batch APIs with a 24-hour window, which few servers have.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Self

from srlm.errors import RefusedError
from srlm.evaluation.chat_records import REFUSED, UNREADABLE, ChatRequest, ChatResponse, Usage
from srlm.evaluation.endpoint_access import api_key
from srlm.evaluation.endpoint_errors import UnreadableError
from srlm.evaluation.response_cache import CachedResponse, ResponseCache, request_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future
    from pathlib import Path
    from types import TracebackType

    from srlm.config import EndpointSection

FIRST_WAIT = 1.0  # seconds: six retries then wait for more than a minute in total, the window of most rate limits
_POLL_INTERVAL = 0.5  # seconds


class Endpoint:
    """A model on a server. Use it as a context manager, or call `close`: it holds a file and a thread.

    Args:
        endpoint: the section `endpoint` of the configuration.
        cache: the JSON lines file of cached responses; created if it does not exist.
        first_wait: seconds before the first retry of a request. The wait doubles with every retry, up to a minute, and
            has up to 50 % jitter.

    Raises:
        InputError: the base URL is invalid, there is no API key, or `endpoint.model` is not set.
    """

    def __init__(self, endpoint: EndpointSection, cache: Path, *, first_wait: float = FIRST_WAIT) -> None:
        from srlm.evaluation.chat_client import ChatClient, missing_model_error

        key = api_key(endpoint)
        if endpoint.model is None:
            raise missing_model_error(endpoint, key)
        self._endpoint = endpoint
        self._counts: Counter[str] = Counter()
        self.first_refusal: str | None = None  # the server's message for the first refused request
        self.first_unreadable: str | None = None  # what is wrong with the first malformed reply
        self._client = ChatClient(endpoint, key, first_wait)
        self._cache = ResponseCache(cache)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def complete(self, requests: Iterable[ChatRequest]) -> Iterator[ChatResponse]:
        """Yield a response to every request as it arrives, in any order.

        A request is taken from `requests` only when it can be sent: at most `endpoint.concurrency` are in flight. If
        the caller stops early, or an error is raised, the other requests in flight are cancelled.

        Raises:
            InputError: the server refuses the API key, the model or the first request, so the settings must be fixed;
                the message says how.
            StageError: a request failed after all retries, or the replies to the first one were malformed.
        """
        running: dict[str, _Running] = {}
        finished: SimpleQueue[str] = SimpleQueue()
        try:
            for request in requests:
                name = request_id(self._endpoint, request)
                if name in running:
                    running[name].keys.append(request.key)
                elif (found := self._cache.get(name)) is not None:
                    self._client.has_answered = True
                    yield self._response(request.key, found, cached=True)
                else:
                    running[name] = _Running(self._start(name, request, finished), [request.key])
                while len(running) >= self._endpoint.concurrency or not finished.empty():
                    yield from self._next_responses(running, finished)
            while running:
                yield from self._next_responses(running, finished)
        finally:
            for remaining in running.values():
                remaining.answer.cancel()

    @property
    def usage(self) -> Usage:
        """The usage so far."""
        endpoint, counts = self._endpoint, self._counts
        cost = counts["prompt_tokens"] * endpoint.price_in + counts["completion_tokens"] * endpoint.price_out
        return Usage(
            requests=counts["requests"],
            cached=counts["cached"],
            retries=self._client.retries,
            prompt_tokens=counts["prompt_tokens"],
            completion_tokens=counts["completion_tokens"],
            cost=cost / 1e6,
            refused=counts[REFUSED],
            unreadable=counts[UNREADABLE],
            cut_off=counts["cut_off"],
        )

    def close(self) -> None:
        """Cancel all requests in flight, and close the connections and the file. A second call does nothing."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._cache.close()

    @property
    def cache_note(self) -> str | None:
        """A note on invalid lines of the cache, or None (see `ResponseCache`)."""
        return self._cache.note

    def _start(self, name: str, request: ChatRequest, finished: SimpleQueue[str]) -> Future[CachedResponse]:
        answer = asyncio.run_coroutine_threadsafe(self._answer(name, request), self._loop)
        answer.add_done_callback(lambda _: finished.put(name))
        return answer

    async def _answer(self, name: str, request: ChatRequest) -> CachedResponse:
        self._counts["requests"] += 1
        try:
            result = await self._client.complete(request)
        except RefusedError as error:
            if not self._client.has_answered:
                raise
            # Only this request is refused, for example by a content filter or as too long. A refusal is not cached.
            self._counts[REFUSED] += 1
            self.first_refusal = self.first_refusal or str(error)
            return CachedResponse(name, f"(no response: the server refuses this request, HTTP {error.status})", REFUSED)
        except UnreadableError as error:
            if not self._client.has_answered:
                raise
            self._counts[UNREADABLE] += 1
            self.first_unreadable = self.first_unreadable or str(error)
            return CachedResponse(name, "(no response: the server's reply is malformed)", UNREADABLE)
        answer = CachedResponse(name, result.text, result.finish_reason, result.thought)
        self._cache.add(answer)
        self._counts["prompt_tokens"] += result.prompt_tokens
        self._counts["completion_tokens"] += result.completion_tokens
        return answer

    def _next_responses(self, running: dict[str, _Running], finished: SimpleQueue[str]) -> Iterator[ChatResponse]:
        """Wait for the next completion and yield a response for each of its keys."""
        done = running.pop(_next(finished))
        answer = done.answer.result()
        for number, key in enumerate(done.keys):
            yield self._response(key, answer, cached=number > 0)

    def _response(self, key: str, answer: CachedResponse, *, cached: bool) -> ChatResponse:
        response = ChatResponse(key, answer.text, answer.finish_reason, cached, answer.thought)
        self._counts["cached"] += cached
        self._counts["cut_off"] += response.cut_off
        return response

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()


@dataclass(frozen=True, slots=True)
class _Running:
    """A request in flight, and the keys of all callers' requests with its content."""

    answer: Future[CachedResponse]
    keys: list[str]


def _next(finished: SimpleQueue[str]) -> str:
    """Wait for the next entry. Polls, as a Ctrl-C that arrives just as a wait begins takes effect only when it ends."""
    while True:
        with suppress(Empty):
            return finished.get(timeout=_POLL_INTERVAL)
