"""Cache of an endpoint's responses, keyed by request content, so that a resumed evaluation pays for nothing twice.

The file holds JSON lines, one response per line. The id of a response is a hash of the base URL, the model, the
messages and all sampling parameters, but not of the caller's key. The base URL is part of the hash because names such
as `judge` or `default` mean a different model on another server: sending a request again is cheap compared with a
metric that mixes two judges. The requests are not stored: they are much longer than the responses, and the caller has
them.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srlm.rows.records import RowWriter, content_id
from srlm.rows.resume import resume_rows

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.config import EndpointSection
    from srlm.evaluation.chat_records import ChatRequest


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """The response to the request with this id, and its finish reason."""

    id: str
    text: str
    finish_reason: str


def request_id(endpoint: EndpointSection, request: ChatRequest) -> str:
    """Return the id of a request: a hash of its content, independent of the caller's key."""
    return content_id(
        "chat",
        endpoint.base_url.rstrip("/"),
        endpoint.model,
        [sorted(message.items()) for message in request.messages],
        float(request.temperature),
        float(request.top_p),
        request.max_tokens,
        request.seed,
    )


class ResponseCache:
    """The responses in a JSON lines file, which is created if it does not exist.

    Raises:
        InputError: a line other than the last one is broken. A truncated last line is removed.
    """

    def __init__(self, path: Path) -> None:
        self._answers = {row.id: row for row in resume_rows(path, CachedResponse)}
        self._open = ExitStack()
        self._writer = self._open.enter_context(RowWriter(path))

    def get(self, name: str) -> CachedResponse | None:
        """Return the response to the request with this id, or None."""
        return self._answers.get(name)

    def add(self, answer: CachedResponse) -> None:
        """Store a response. It is flushed to the operating system before this returns."""
        self._writer.write(answer)
        self._answers[answer.id] = answer

    def close(self) -> None:
        """Close the file."""
        self._open.close()
