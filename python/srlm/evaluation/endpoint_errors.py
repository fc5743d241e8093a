"""Classification of an endpoint's errors: whether and when to retry, and the one-line message for the user.

Transient errors are connection errors, timeouts and the statuses 408, 409, 429 and 5xx, except for a 429 with the code
`insufficient_quota` and responses with the header `x-should-retry: false`. Some servers and gateways send an error with
the status 200, in the body: then the error's own code counts as the status, if it is one.
"""

from __future__ import annotations

import json
import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import openai

from srlm.errors import InputError, RefusedError, StageError
from srlm.evaluation.endpoint_access import NO_KEY, address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from srlm.config import EndpointSection

RESUME_HINT = "responses so far are cached; run the same command again"
_MAX_QUOTE = 300
_UNSUPPORTED = re.compile(
    r"unsupported_parameters|not support|unknown|unrecogni[sz]ed|unexpected|not permitted|not allowed|forbidden|extra",
    re.IGNORECASE,
)


class NoChoiceError(Exception):
    """The status is 200, but the body has an error (`body`), or no choices (`body` is None)."""

    def __init__(self, body: Any) -> None:  # noqa: ANN401  any JSON value
        """See the class."""
        super().__init__(_message(body))
        self.body = body

    @property
    def code(self) -> object:
        """The error's code: an HTTP status, a name such as `insufficient_quota`, or None."""
        return self.body.get("code") if isinstance(self.body, dict) else None


class MalformedReplyError(Exception):
    """The status is 200 and there is a choice, but its text cannot be read: the message says what is wrong."""


class NotACompletionError(Exception):
    """The status is 200, but the body is something else than a chat completion: the message says what."""

    def __init__(self, what: str, body: Any = None) -> None:  # noqa: ANN401  any JSON value
        """`body` may have a message of the server."""
        said = _message(body) if isinstance(body, dict) and ("message" in body or "detail" in body) else ""
        super().__init__(f"{what} ({said})" if said else what)


class UnreadableError(StageError):
    """All replies to one request were malformed; the server may still answer others."""


Failure = (
    openai.APIConnectionError
    | openai.APIStatusError
    | TimeoutError
    | NoChoiceError
    | MalformedReplyError
    | NotACompletionError
)
FAILURES = (
    openai.APIConnectionError,
    openai.APIStatusError,
    TimeoutError,
    NoChoiceError,
    MalformedReplyError,
    NotACompletionError,
)


def status_of(error: Failure) -> int | None:
    """Return the HTTP status of an error, or the code of an error in the body if it is the status of one."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code
    code = error.code if isinstance(error, NoChoiceError) else None
    if isinstance(code, str) and code.isascii() and code.isdigit():
        code = int(code[:4])
    return code if isinstance(code, int) and 400 <= code < 600 else None


def is_refusal(error: Failure) -> bool:
    """Return whether the server refuses this request for good: a status below 500 that is not 408, 409 or 429."""
    status = status_of(error)
    return status is not None and status < 500 and status not in (408, 409, 429)


def is_retryable(error: Failure) -> bool:
    """Return whether a failure that is not a refusal is worth a retry."""
    if isinstance(error, NoChoiceError):
        return error.code != "insufficient_quota"
    if not isinstance(error, openai.APIStatusError):
        return True
    return error.code != "insufficient_quota" and error.response.headers.get("x-should-retry") != "false"


def max_failures(error: Failure, max_retries: int) -> int:
    """Return how often a request may fail: a malformed reply has been paid for, and mostly repeats itself."""
    return min(max_retries, 1) if isinstance(error, MalformedReplyError) else max_retries


def retry_after(error: Failure) -> float | None:
    """Return the seconds in the header `Retry-After` (RFC 9110, section 10.2.3), or None."""
    if not isinstance(error, openai.APIStatusError):
        return None
    text = error.response.headers.get("retry-after", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def unsupported_parameters(error: Failure, names: Iterable[str]) -> list[str]:
    """Return the parameters of `names` that the server reports as unknown or unsupported."""
    if not isinstance(error, openai.APIStatusError) or error.status_code not in (400, 422):
        return []
    body = error.body if isinstance(error.body, str) else json.dumps(error.body, default=str)
    if not _UNSUPPORTED.search(body):
        return []
    return [name for name in names if error.param == name or re.search(rf"\b{name}\b", body)]


def refusal_error(error: Failure, endpoint: EndpointSection, key: str) -> InputError:
    """Return the error for a refused request: the server's message, and what to fix."""
    where, what, status = address(endpoint), describe(error, endpoint, key), status_of(error) or 0
    if status in (401, 403):
        variable = f"the environment variable {endpoint.api_key_env}"
        if key == NO_KEY:
            return InputError(f"{where} needs an API key ({what}); set {variable}")
        return InputError(f"{where} refuses the key in {variable} ({what}); use one with access to {endpoint.model!r}")
    if status == 404:
        return InputError(
            f"{where} has no model {endpoint.model!r}, or is not the base URL ({what}); fix endpoint.model or "
            "endpoint.base_url, which usually ends in /v1"
        )
    return RefusedError(
        f"{where} refuses the request ({what}); use an endpoint.model that supports it, or fix the setting that the "
        "server names",
        status,
    )


def retries_exhausted(error: Failure, endpoint: EndpointSection, key: str, attempts: int) -> StageError:
    """Return the error for a request that failed after all retries."""
    times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    if isinstance(error, MalformedReplyError):
        return UnreadableError(
            f"{address(endpoint)} sends replies that are no valid chat completions ({describe(error, endpoint, key)}, "
            f"in {times}); use another server, or another version of it"
        )
    return StageError(
        f"{address(endpoint)} gave no response in {times} ({describe(error, endpoint, key)}); {RESUME_HINT}"
    )


def describe(error: Failure, endpoint: EndpointSection, key: str) -> str:
    """Return one line on a failure, with the server's message if there is one; the API key is masked."""
    if isinstance(error, openai.APIStatusError):
        wait = retry_after(error)
        status = f"HTTP {error.status_code}" + (f", retry after {wait:.0f} seconds" if wait else "")
        parts = status, _message(error.body) or error.response.reason_phrase
    elif isinstance(error, TimeoutError | openai.APITimeoutError):
        parts = f"timeout after {endpoint.timeout:g} seconds (endpoint.timeout)", ""
    elif isinstance(error, openai.APIConnectionError):
        parts = "connection error", str(error.__cause__ or "")
    elif isinstance(error, NoChoiceError):
        code = status_of(error)
        parts = f"HTTP {code} in the response" if code else "no choices in the response", str(error)
    elif isinstance(error, MalformedReplyError):
        parts = "malformed response", str(error)
    else:
        parts = f"{error}, not a chat completion", ""
    return sanitize(": ".join(part for part in parts if part), key)


def sanitize(text: str, key: str) -> str:
    """Return a text from the server as one line of bounded length, with the API key masked."""
    line = " ".join((text if key == NO_KEY else text.replace(key, "***")).split())
    return line if len(line) <= _MAX_QUOTE else line[: _MAX_QUOTE - 1] + "…"


def _message(body: object) -> str:
    """Return the message in an error's body: OpenAI's `message`, FastAPI's `detail`, or a text that is not HTML."""
    if isinstance(body, dict) and body:
        found = body.get("message") or body.get("detail") or body
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str)
    return body if isinstance(body, str) and not body.startswith("<") else ""
