"""The protocol between the stages and whatever generates text.

An engine takes requests as token ids and hands completions back as they finish, in any order, so that a stage can write
each one at once. It knows nothing of prompts, judges or files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from srlm.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from transformers import PreTrainedTokenizerBase

    from srlm.records import FinishReason


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


def check_fits(request: Request, max_model_len: int) -> None:
    """Check that a prompt and the longest answer to it fit into the engine's context.

    Raises:
        StageError: they do not.
    """
    length = len(request.prompt_ids)
    if length + request.sampling.max_tokens > max_model_len:
        raise StageError(
            f"a prompt of {length} tokens and an answer of up to {request.sampling.max_tokens} exceed "
            f"engine.max_model_len ({max_model_len}); raise it, or lower the stage's max_tokens"
        )


class Engine(Protocol):
    """One loaded model that generates."""

    name: str

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer, with the configured chat template."""

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Draw every request; yields completions as they finish, in any order.

        Raises:
            StageError: a request does not fit the engine (for example its prompt is too long).
        """

    def close(self) -> None:
        """Release the model's memory; the engine is not used afterwards."""
