"""The protocol between the stages and whatever generates text.

An engine takes requests as token ids and hands completions back as they finish, in any order, so that a stage can write
each one at once. It knows nothing of prompts, judges or files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from transformers import PreTrainedTokenizerBase

    from srlm.rows.records import FinishReason


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a completion is drawn: temperature 0 is greedy; `watch` are token ids whose log-probabilities are wanted."""

    temperature: float
    top_p: float
    max_tokens: int
    stop: tuple[str, ...] = ()
    watch: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to draw. `key` is the caller's name for it and comes back with the completion."""

    key: str
    prompt_ids: tuple[int, ...]
    sampling: Sampling
    seed: int


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished request.

    `token_ids` end with the end token if the model stopped by itself. `text` leaves special tokens out and ends before
    a stop string. `logprob` sums the log-probabilities (nats) of `token_ids` under the model's own distribution, before
    temperature and top-p. `watched` has one row per token and one column per watched id.
    """

    key: str
    token_ids: list[int]
    text: str
    logprob: float
    finish_reason: FinishReason
    watched: list[list[float]]  # [tokens][watch], nats


def in_groups(requests: list[Request]) -> list[list[Request]]:
    """Split requests into groups of about the square root of their number: as many groups as each has members."""
    size = max(1, math.isqrt(len(requests)))
    return [requests[start : start + size] for start in range(0, len(requests), size)]


class Engine(Protocol):
    """One loaded model that generates.

    `sizes` are those that memory did not allow, by their keys: as configured, and as they worked.
    """

    name: str
    sizes: dict[str, list[int]]

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer, with the configured chat template."""

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Draw every request; yields completions as they finish, in any order.

        Each prompt and the longest answer to it must fit into the engine's context.
        """

    def batches(self, requests: list[Request]) -> list[list[Request]]:
        """Split requests so that one that ends the engine is narrowed down; what they draw stays as near as can be to
        what it would be without."""

    def logprobs(self, token_ids: list[int]) -> list[float]:
        """Return the log-probability (nats) of every token but the first, given those before it, as one forward pass
        of the loaded weights has it."""

    def close(self) -> None:
        """Release the model's memory; the engine is not used afterwards."""
