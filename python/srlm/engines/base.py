"""The protocol between the stages and the inference engines.

An engine takes requests as token ids and yields completions as they finish, in any order, so that a stage can write
each one immediately. A stage whose requests depend on completions says None where it has to wait for one. Engines know
nothing of prompts, judges or files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from transformers import PreTrainedTokenizerBase

    from srlm.rows.records import FinishReason


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters: temperature 0 is greedy; the engine returns the log-probabilities of `logprob_token_ids`."""

    temperature: float
    top_p: float
    max_tokens: int
    stop: tuple[str, ...] = ()
    logprob_token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """A request for one completion. `key` is the caller's name for it and is returned with the completion."""

    key: str
    prompt_ids: tuple[int, ...]
    sampling: Sampling
    seed: int


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished request.

    `token_ids` end with the end token if the model generated it. `text` excludes special tokens and ends before a stop
    string. `logprob` is the sum of the log-probabilities (nats) of `token_ids` under the model's own distribution,
    before temperature and top-p. `requested_logprobs` has one row per token and one column per `logprob_token_ids`.
    """

    key: str
    token_ids: list[int]
    text: str
    logprob: float
    finish_reason: FinishReason
    requested_logprobs: list[list[float]]  # [tokens][logprob_token_ids], nats


def sqrt_batches(requests: list[Request]) -> list[list[Request]]:
    """Split n requests into about sqrt(n) batches of about sqrt(n) requests."""
    size = max(1, math.isqrt(len(requests)))
    return [requests[start : start + size] for start in range(0, len(requests), size)]


def available(requests: Iterator[Request | None], most: int, in_flight: int) -> Iterator[Request]:
    """Yield the requests that an engine may take now: up to `most`, and none behind a None.

    Raises:
        RuntimeError: the source waits for a completion, though no request is in flight; its stage would never end.
    """
    for taken, request in enumerate(islice(requests, most)):
        if request is None:
            if not in_flight + taken:
                raise RuntimeError("a stage waits for a completion, but no request is in flight")
            return
        yield request


class Engine(Protocol):
    """A loaded model that generates completions.

    `sizes` maps the configuration keys of sizes that did not fit in memory to [configured, used]. `has_processes` tells
    whether `close` ends processes; otherwise a process that is about to end need not close its engine.
    """

    name: str
    sizes: dict[str, list[int]]
    has_processes: bool

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer, with the configured chat template."""

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Completion]:
        """Generate all requests; yield completions as they finish, in any order.

        Each prompt plus its `max_tokens` must fit into the engine's context. A None says that there is no request
        until another completion has been returned; the engine goes on with what it has, and asks again then.

        Raises:
            RuntimeError: a None, though no request is in flight.
        """

    def has_failed(self, key: str) -> bool:
        """Tell whether a request that was taken will never be answered."""

    def batches(self, requests: list[Request]) -> list[list[Request]]:
        """Split requests into batches, to isolate one that crashes the engine, with as little effect on their
        completions as possible."""

    def logprobs(self, token_ids: list[int]) -> list[float]:
        """Return the log-probability (nats) of every token but the first, given its prefix, from one forward pass of
        the loaded weights."""

    def close(self) -> None:
        """Release the model's memory; the engine must not be used afterwards."""
