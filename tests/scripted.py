"""A scripted engine: stages run on it as on a model, and tests decide what it generates."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from srlm.engines.base import Completion, Request, available, sqrt_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from srlm.rows.records import FinishReason
    from transformers import PreTrainedTokenizerBase

Reply = str | Completion


class Interrupted(Exception):  # noqa: N818  not an error of the program
    """Raised by a scripted engine after `fail_after` completions."""


class ScriptedEngine:
    """Answers each request with `write(request)`: a text, or a complete `Completion`.

    Completions are yielded in groups of `group`, each in reverse order. After `fail_after` of them the engine raises.
    A request for which `fails` is true is never answered.
    """

    name = "scripted"

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        write: Callable[[Request], Reply],
        *,
        group: int = 1,
        fail_after: float = math.inf,
        fails: Callable[[Request], bool] = lambda _: False,
    ) -> None:
        self.tokenizer, self._write = tokenizer, write
        self.sizes: dict[str, list[int]] = {}
        self.has_processes = False
        self._group, self._left, self._fails = group, fail_after, fails
        self._failed: set[str] = set()
        self.requests: list[Request] = []  # in the order received
        self.closed = False

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Completion]:
        """See `Engine.generate`."""
        waiting = self._not_failing(requests)
        while group := list(available(waiting, self._group, 0)):
            self.requests += group
            for request in reversed(group):
                yield self._answer(request)

    def _answer(self, request: Request) -> Completion:
        if self._left <= 0:
            raise Interrupted
        self._left -= 1
        reply = self._write(request)
        return completion(self.tokenizer, request, reply) if isinstance(reply, str) else reply

    def _not_failing(self, requests: Iterable[Request | None]) -> Iterator[Request | None]:
        for request in requests:
            if request is not None and self._fails(request):
                self._failed.add(request.key)
            else:
                yield request

    def has_failed(self, key: str) -> bool:
        """See `Engine.has_failed`."""
        return key in self._failed

    def batches(self, requests: list[Request]) -> list[list[Request]]:
        """See `Engine.batches`."""
        return sqrt_batches(requests)

    def logprobs(self, token_ids: list[int]) -> list[float]:
        """See `Engine.logprobs`; every token has the same log-probability."""
        return [-1.0] * (len(token_ids) - 1)

    def close(self) -> None:
        """See `Engine.close`."""
        self.closed = True

    def prompt_text(self, number: int) -> str:
        """Return the text of a request's prompt, special tokens included."""
        return self.tokenizer.decode(self.requests[number].prompt_ids)


class Unordered(ScriptedEngine):
    """Returns the completion that `choose` picks from the keys in flight, and takes more requests after each one."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        write: Callable[[Request], Reply],
        *,
        choose: Callable[[list[str]], str],
        most: int = 1000,
        fail_after: float = math.inf,
        fails: Callable[[Request], bool] = lambda _: False,
    ) -> None:
        super().__init__(tokenizer, write, fail_after=fail_after, fails=fails)
        self._choose, self._most = choose, most
        self.in_flight: list[int] = []  # how many requests were in flight at each completion

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Completion]:
        """See `Engine.generate`."""
        running: dict[str, Request] = {}
        waiting = self._not_failing(requests)
        while True:
            for request in available(waiting, self._most - len(running), len(running)):
                self.requests.append(request)
                running[request.key] = request
            if not running:
                return
            self.in_flight.append(len(running))
            yield self._answer(running.pop(self._choose(list(running))))


def completion(
    tokenizer: PreTrainedTokenizerBase,
    request: Request,
    text: str,
    *,
    finish_reason: FinishReason = "stop",
    requested: Callable[[int], list[float]] | None = None,
) -> Completion:
    """Return the completion of an engine for `text`; `requested` gives the requested log-probabilities by position."""
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if finish_reason == "stop" and len(ids) < request.sampling.max_tokens:
        ids.append(tokenizer.eos_token_id)
    uniform = [-1.0] * len(request.sampling.logprob_token_ids)
    return Completion(
        key=request.key,
        token_ids=ids,
        text=text,
        logprob=-0.5 * len(ids),
        finish_reason=finish_reason,
        requested_logprobs=[requested(position) if requested else uniform for position in range(len(ids))],
    )


class Recorder:
    """A reporter that records its calls."""

    def __init__(self) -> None:
        self.starts: list[tuple[str, int, int]] = []
        self.advanced = 0
        self.current = ""
        self.by_stage: Counter[str] = Counter()
        self.notes: list[str] = []
        self.in_flight: set[tuple[str, str]] = set()  # requests in flight, with their stages

    def start(self, stage: str, total: int, done: int = 0, *, beside: bool = False) -> None:
        """See `Reporter.start`."""
        self.starts.append((stage, total, done))
        self.current = stage

    def advance(self, rows: int = 1, stage: str | None = None) -> None:
        """See `Reporter.advance`."""
        self.advanced += rows
        self.by_stage[stage or self.current] += rows

    def note(self, text: str) -> None:
        """See `Reporter.note`."""
        self.notes.append(text)

    def request_started(self, stage: str, key: str) -> None:
        """See `Reporter.request_started`."""
        self.in_flight.add((stage, key))

    def request_finished(self, stage: str, key: str) -> None:
        """See `Reporter.request_finished`."""
        self.in_flight.discard((stage, key))


def folder_of(name):
    """Return a stand-in for a model folder, whose content depends on the name."""
    folder = Path("models") / name.replace("/", "_")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.json").exists():
        (folder / "config.json").write_text(f'{{"name": "{name}"}}', encoding="utf-8")
    return str(folder)
