"""A judge behind a server with OpenAI's chat completions interface: many questions at once, none paid for twice.

The requests run in an event loop on a thread of its own, so that they go on while the caller works, and so that a
Ctrl-C or an error takes back at once what is in flight: the connection is closed, and the server need not finish.
Threads with blocking requests could not be stopped before their timeout. An answer is kept as soon as it is there,
whether or not the caller has come to see it (`answer_cache.py`); how one question is sent, and tried again, is in
`chat_client.py`. Left out: streaming, since a verdict is of use only as a whole, and batches that are answered within
a day, which few servers have.
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
from srlm.evaluation.answer_cache import AnswerCache, KeptAnswer, question_id
from srlm.evaluation.endpoint_access import api_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future
    from pathlib import Path
    from types import TracebackType

    from srlm.config import EndpointSection
    from srlm.rows.records import Message

REFUSED = "refused"
FIRST_WAIT = 1.0  # seconds: six retries wait for more than a minute in all, which is what limits are counted by
_LONGEST_BLOCK = 0.5  # seconds


@dataclass(frozen=True, slots=True)
class Ask:
    """A question: the messages, how to sample the answer, and the caller's key, which comes back with the reply."""

    key: str
    messages: list[Message]
    temperature: float
    top_p: float
    max_tokens: int
    seed: int


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to the question with this key. `finish_reason` is the server's word: `stop`, `length` …

    The text may be empty. `cached` tells that nothing was sent for this question. What the server refuses, though it
    has answered others, has the `finish_reason` REFUSED, and a text of our own that says so.
    """

    key: str
    text: str
    finish_reason: str
    cached: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """What was sent, and what it cost in the currency of the prices.

    `requests` are questions that were sent, each counted once; `retries` their further tries; `cached` the questions
    for which nothing was sent; `refused` those that the server would not answer. Tokens are as the server counts them,
    0 where it does not.
    """

    requests: int
    cached: int
    retries: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    refused: int = 0


class Endpoint:
    """A model on a server. Use it as a context manager, or close it: until then its file and its thread are open.

    Args:
        endpoint: the server, the model and how to ask.
        cache: the JSON lines that keep the answers; made where there are none.
        first_wait: seconds before the first retry of a question; each further one waits twice as long, up to a minute,
            and all up to half as long again, at random.

    Raises:
        InputError: the address is none, there is no key, or `endpoint.model` is not set.
    """

    def __init__(self, endpoint: EndpointSection, cache: Path, *, first_wait: float = FIRST_WAIT) -> None:
        from srlm.evaluation.chat_client import ChatClient, no_model

        key = api_key(endpoint)
        if endpoint.model is None:
            raise no_model(endpoint, key)
        self._endpoint = endpoint
        self._counts: Counter[str] = Counter()
        self._answers = False  # whether the server has answered anything by these settings
        self.first_refusal: str | None = None  # of a question, in the server's words
        self._client = ChatClient(endpoint, key, first_wait)
        self._cache = AnswerCache(cache)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, asks: Iterable[Ask]) -> Iterator[Reply]:
        """Yield a reply to every question as it comes, in any order.

        A question is taken from `asks` only when it can be sent: no more than `endpoint.concurrency` are in flight.
        When the caller stops early, or an error is raised, the others in flight are taken back.

        Raises:
            InputError: the server refuses the key or the model, or its first question, so that the settings are to be
                mended; one line says how.
            StageError: a question failed too often.
        """
        running: dict[str, _Running] = {}
        finished: SimpleQueue[str] = SimpleQueue()
        try:
            for ask in asks:
                question = question_id(self._endpoint, ask)
                if question in running:
                    running[question].keys.append(ask.key)
                elif (kept := self._cache.get(question)) is not None:
                    self._answers = True
                    yield self._reply(ask.key, kept, cached=True)
                else:
                    running[question] = _Running(self._start(question, ask, finished), [ask.key])
                while len(running) >= self._endpoint.concurrency or not finished.empty():
                    yield from self._replies(running, finished)
            while running:
                yield from self._replies(running, finished)
        finally:
            for left in running.values():
                left.answer.cancel()

    @property
    def usage(self) -> Usage:
        """What this object has sent so far."""
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
        )

    def close(self) -> None:
        """Take back what is in flight, and close the connections and the file. A second call does nothing."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._cache.close()

    def _start(self, question: str, ask: Ask, finished: SimpleQueue[str]) -> Future[KeptAnswer]:
        answer = asyncio.run_coroutine_threadsafe(self._answer(question, ask), self._loop)
        answer.add_done_callback(lambda _: finished.put(question))
        return answer

    async def _answer(self, question: str, ask: Ask) -> KeptAnswer:
        self._counts["requests"] += 1
        try:
            answer = await self._client.answer(ask)
        except RefusedError as error:
            if not self._answers:
                raise
            # Of one question: its content is filtered, say, or too long. That is not kept as an answer.
            self._counts[REFUSED] += 1
            self.first_refusal = self.first_refusal or str(error)
            return KeptAnswer(question, f"(no reply: the server refuses this question, HTTP {error.status})", REFUSED)
        self._answers = True
        kept = KeptAnswer(question, answer.text, answer.finish_reason)
        self._cache.add(kept)
        self._counts["prompt_tokens"] += answer.prompt_tokens
        self._counts["completion_tokens"] += answer.completion_tokens
        return kept

    def _replies(self, running: dict[str, _Running], finished: SimpleQueue[str]) -> Iterator[Reply]:
        """Wait for the next answer and yield it to everybody who asked."""
        done = running.pop(_next(finished))
        kept = done.answer.result()
        for number, key in enumerate(done.keys):
            yield self._reply(key, kept, cached=number > 0)

    def _reply(self, key: str, kept: KeptAnswer, *, cached: bool) -> Reply:
        self._counts["cached"] += cached
        return Reply(key, kept.text, kept.finish_reason, cached)

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()


@dataclass(frozen=True, slots=True)
class _Running:
    """A question in flight, and the keys of all who asked it."""

    answer: Future[KeptAnswer]
    keys: list[str]


def _next(finished: SimpleQueue[str]) -> str:
    """Wait for the next entry; a Ctrl-C that comes just as a wait begins is noticed only when that wait ends."""
    while True:
        with suppress(Empty):
            return finished.get(timeout=_LONGEST_BLOCK)
