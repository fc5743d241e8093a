"""Records of a chat completions endpoint: requests, responses and usage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from srlm.rows.records import Message

REFUSED = "refused"
UNREADABLE = "unreadable"
CUT_OFF = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})  # by server, in lower case


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """Messages and sampling parameters, with the caller's key, which the response repeats."""

    key: str
    messages: list[Message]
    temperature: float
    top_p: float
    max_tokens: int
    seed: int


@dataclass(frozen=True, slots=True)
class ChatResponse:
    """The response to the request with this key. `finish_reason` is the server's: `stop`, `length` …, or "" if unknown.

    The text may be empty; `thought` is the reasoning that the server sent apart from it. `cached` is True if no HTTP
    request was sent for it. A request that the server refuses after it has answered others has the `finish_reason`
    REFUSED and a placeholder text that says so; one whose replies are malformed, UNREADABLE.
    """

    key: str
    text: str
    finish_reason: str
    cached: bool
    thought: str | None = None

    @property
    def cut_off(self) -> bool:
        """Whether the reply reached the maximum number of tokens, so that it has no end."""
        return self.finish_reason.lower() in CUT_OFF


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts of requests and tokens, and the cost in the currency of the prices.

    `requests` counts the requests that were sent, without their `retries`; `cached` those that were answered without
    being sent; `refused` those that the server refused; `unreadable` those whose replies were malformed; `cut_off` the
    replies, cached ones included, that reached the maximum number of tokens. Token counts are the server's, 0 where it
    returns none.
    """

    requests: int
    cached: int
    retries: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    refused: int = 0
    unreadable: int = 0
    cut_off: int = 0
