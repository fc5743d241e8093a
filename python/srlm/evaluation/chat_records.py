"""Records of a chat completions endpoint: requests, responses and usage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from srlm.rows.records import Message

REFUSED = "refused"


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
    """The response to the request with this key. `finish_reason` is the server's: `stop`, `length` …

    The text may be empty. `cached` is True if no HTTP request was sent for it. A request that the server refuses after
    it has answered others has the `finish_reason` REFUSED and a placeholder text that says so.
    """

    key: str
    text: str
    finish_reason: str
    cached: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts of requests and tokens, and the cost in the currency of the prices.

    `requests` counts the requests that were sent, without their `retries`; `cached` those that were answered without
    being sent; `refused` those that the server refused. Token counts are the server's, 0 where it returns none.
    """

    requests: int
    cached: int
    retries: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    refused: int = 0
