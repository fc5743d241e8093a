"""What an error of a server means: whether it may pass, how long to wait, and the one line that a user reads.

What may pass: no connection, no answer in time, and the statuses 408, 409, 429 and 5xx; but a 429 that says that the
credit is used up does not, nor what the server marks by `x-should-retry: false`.
"""

from __future__ import annotations

import json
import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeGuard

import openai

from srlm.errors import InputError, RefusedError, StageError
from srlm.evaluation.endpoint_access import NO_KEY, address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from srlm.config import EndpointSection

KEPT = "replies so far are kept: run the same command again"
_LONGEST_QUOTE = 300
_UNSUPPORTED = re.compile(
    r"unsupported|not support|unknown|unrecogni[sz]ed|unexpected|not permitted|not allowed|forbidden|extra",
    re.IGNORECASE,
)


class NoChoiceError(Exception):
    """The server answered with success, but with an error or nothing where the model's text should be."""


Failure = openai.APIConnectionError | openai.APIStatusError | TimeoutError | NoChoiceError
FAILURES = (openai.APIConnectionError, openai.APIStatusError, TimeoutError, NoChoiceError)


def is_refusal(error: Failure) -> TypeGuard[openai.APIStatusError]:
    """Tell whether the server will never answer this request: a status below 500 that is not 408, 409 or 429."""
    return (
        isinstance(error, openai.APIStatusError)
        and error.status_code < 500
        and error.status_code not in (408, 409, 429)
    )


def waiting_helps(error: Failure) -> bool:
    """Tell, of what is no refusal, whether the same request may succeed a little later."""
    if not isinstance(error, openai.APIStatusError):
        return True
    return error.code != "insufficient_quota" and error.response.headers.get("x-should-retry") != "false"


def wanted_wait(error: Failure) -> float | None:
    """Return the seconds that the server asks to wait by `Retry-After` (RFC 9110, section 10.2.3), or None."""
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


def unsupported(error: Failure, names: Iterable[str]) -> list[str]:
    """Return those parameters of `names` that the server says it does not know or take."""
    if not isinstance(error, openai.APIStatusError) or error.status_code not in (400, 422):
        return []
    body = error.body if isinstance(error.body, str) else json.dumps(error.body, default=str)
    if not _UNSUPPORTED.search(body):
        return []
    return [name for name in names if error.param == name or re.search(rf"\b{name}\b", body)]


def refusal(error: openai.APIStatusError, endpoint: EndpointSection, key: str) -> InputError:
    """Return the error of a request that will never be answered as it is: what was said, and what to mend."""
    where, what = address(endpoint), describe(error, endpoint, key)
    if error.status_code in (401, 403):
        variable = f"the environment variable {endpoint.api_key_env}"
        if key == NO_KEY:
            return InputError(f"{where} wants a key ({what}); put it into {variable}")
        return InputError(f"{where} refuses the key in {variable} ({what}); put in one that may use {endpoint.model!r}")
    if error.status_code == 404:
        return InputError(
            f"{where} has no model {endpoint.model!r}, or is no such address ({what}); mend endpoint.model or "
            "endpoint.base_url, which mostly ends in /v1"
        )
    return RefusedError(
        f"{where} refuses what it is asked ({what}); choose an endpoint.model that takes it, or mend the setting that "
        "is named",
        error.status_code,
    )


def given_up(error: Failure, endpoint: EndpointSection, key: str, tries: int) -> StageError:
    """Return the error of a request that failed too often."""
    times = "1 try" if tries == 1 else f"{tries} tries"
    return StageError(f"{address(endpoint)} gave no answer in {times} ({describe(error, endpoint, key)}); {KEPT}")


def describe(error: Failure, endpoint: EndpointSection, key: str) -> str:
    """Say on one line what happened, in the server's words where it has some; the key is taken out of them."""
    if isinstance(error, openai.APIStatusError):
        wanted = wanted_wait(error)
        status = f"HTTP {error.status_code}" + (f", wait {wanted:.0f} seconds" if wanted else "")
        words = status, _message(error.body) or error.response.reason_phrase
    elif isinstance(error, TimeoutError | openai.APITimeoutError):
        words = f"nothing within the {endpoint.timeout:g} seconds of endpoint.timeout", ""
    elif isinstance(error, openai.APIConnectionError):
        words = "no connection", str(error.__cause__ or "")
    else:
        words = "no choice in the answer", str(error)
    return quoted(": ".join(word for word in words if word), key)


def quoted(text: str, key: str) -> str:
    """Make a foreign text fit for a message: one line, not too long, without the key."""
    line = " ".join((text if key == NO_KEY else text.replace(key, "***")).split())
    return line if len(line) <= _LONGEST_QUOTE else line[: _LONGEST_QUOTE - 1] + "…"


def _message(body: object) -> str:
    """Return what an error's body says: OpenAI's `message`, FastAPI's `detail`, or a text that is no web page."""
    if isinstance(body, dict) and body:
        found = body.get("message") or body.get("detail") or body
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str)
    return body if isinstance(body, str) and not body.startswith("<") else ""
