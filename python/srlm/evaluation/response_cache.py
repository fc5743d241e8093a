"""Cache of an endpoint's responses, keyed by request content, so that a resumed evaluation pays for nothing twice.

The file holds JSON lines, one response per line. The id of a response is a hash of the base URL, the model, the
messages and all sampling parameters, but not of the caller's key. The base URL is part of the hash because names such
as `judge` or `default` mean a different model on another server: sending a request again is cheap compared with a
metric that mixes two judges. The requests are not stored: they are much longer than the responses, and the caller has
them.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srlm.errors import InputError
from srlm.rows.atomic_file import atomic_write, own_copy
from srlm.rows.checks import row_problem
from srlm.rows.json_lines import parse_line
from srlm.rows.records import RowWriter, content_id, row_from_json

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.config import EndpointSection
    from srlm.evaluation.chat_records import ChatRequest


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """The response to the request with this id: what was said, the finish reason, and what was thought before."""

    id: str
    text: str
    finish_reason: str
    thought: str | None = None


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

    A line that is not a response (truncated, damaged, of other fields or types) is moved to `NAME.bad` beside the file,
    and its request is sent again. `note` says so, or is None.
    """

    def __init__(self, path: Path) -> None:
        self._answers: dict[str, CachedResponse] = {}
        self.note = _load(path, self._answers)
        self._open = ExitStack()
        self._writer = self._open.enter_context(RowWriter(path))

    def get(self, name: str) -> CachedResponse | None:
        """Return the response to the request with this id, or None."""
        return self._answers.get(name)

    def add(self, answer: CachedResponse) -> None:
        """Store a response. It is flushed to the operating system before this returns.

        Raises:
            TypeError: a value has a wrong type, with which the file could not be read back.
        """
        if problem := row_problem(answer):
            raise TypeError(problem)
        self._writer.write(answer)
        self._answers[answer.id] = answer

    def close(self) -> None:
        """Close the file."""
        self._open.close()


def _load(path: Path, answers: dict[str, CachedResponse]) -> str | None:
    """Read the responses into `answers`, move lines that are none out of the file, and return a note on them."""
    if not path.exists():
        return None
    kept: list[bytes] = []
    bad: list[bytes] = []
    unterminated = False
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            unterminated = not line.endswith(b"\n")
            row = _parsed(line, path, number)
            if row is not None:
                answers[row.id] = row
            (bad if row is None and line.strip() else kept).append(line if not unterminated else line + b"\n")
    if bad:
        _append(path.with_name(f"{path.name}.bad"), bad)
    if bad or unterminated:
        with atomic_write(path) as file:
            file.writelines(kept)
    if not bad:
        return None
    lines_are = "1 line is" if len(bad) == 1 else f"{len(bad)} lines are"
    return f"{path}: {lines_are} not a response; moved to {path.name}.bad, and the requests are sent again"


def _parsed(line: bytes, path: Path, number: int) -> CachedResponse | None:
    try:
        value = parse_line(line, path, number)
        return None if value is None else row_from_json(value, CachedResponse, str(path))
    except InputError:
        return None


def _append(path: Path, lines: list[bytes]) -> None:
    """Append to a file, and sync it to disk: the lines are removed from the cache next."""
    own_copy(path)
    with path.open("ab") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
