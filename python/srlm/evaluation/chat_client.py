"""Client for one chat completions server, with retries of transient failures.

The OpenAI client's own retries are disabled: six of them wait at most 24 seconds, too short for a limit on requests per
minute, and it does not report the number of retries of a request that fails in the end.

Servers accept different parameters. Requests use `max_completion_tokens`, which OpenAI and vLLM both accept (OpenAI's
reasoning models refuse `max_tokens`). All sampling parameters are sent even if they equal OpenAI's defaults, as vLLM
takes its defaults from the model. If a server refuses a parameter by name, later requests omit it where the meaning
stays the same: `max_tokens` replaces `max_completion_tokens`, a `temperature` or `top_p` of 1 is dropped, and so is
`seed`, which is best effort everywhere. Any other refusal is an error.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import openai

from srlm.errors import InputError
from srlm.evaluation import endpoint_errors
from srlm.evaluation.chat_reply import parse_reply
from srlm.evaluation.endpoint_access import address
from srlm.evaluation.endpoint_errors import FAILURES, NotACompletionError

if TYPE_CHECKING:
    from srlm.config import EndpointSection
    from srlm.evaluation.chat_records import ChatRequest
    from srlm.evaluation.chat_reply import ChatResult
    from srlm.evaluation.endpoint_errors import Failure

_MAX_BACKOFF = 60.0  # seconds
_MAX_RETRY_AFTER = 600.0  # seconds; a request whose server asks for a longer wait fails
_CONNECT_TIMEOUT = 10.0  # seconds
_MAX_NAMES = 20
_FIX_BASE_URL = "fix endpoint.base_url, which usually ends in /v1"


class ChatClient:
    """Sends requests to one model on one server.

    `retries` counts the retries of all requests. `has_answered` is whether the server has answered any request with
    these settings: they are right then, and a page of a gateway in place of a reply is a transient failure.
    """

    def __init__(self, endpoint: EndpointSection, key: str, first_wait: float) -> None:
        self.retries = 0
        self.has_answered = False
        self._endpoint, self._key, self._first_wait = endpoint, key, first_wait
        self._unsupported: set[str] = set()
        self._client = openai.AsyncOpenAI(
            api_key=key, base_url=endpoint.base_url, timeout=_timeout(endpoint), max_retries=0
        )

    async def complete(self, request: ChatRequest) -> ChatResult:
        """Send a request, with retries, and return the completion.

        Raises:
            InputError: the server refuses the API key, the model or the request, or has no chat completions API.
            StageError: all attempts failed with transient errors (UnreadableError: with malformed replies).
        """
        failures = 0
        while True:
            parameters = self._parameters(request)
            try:
                result = await self._send(parameters)
                self.has_answered = True
                return result
            except FAILURES as error:
                droppable = [name for name in parameters if _is_droppable(name, parameters)]
                refused = endpoint_errors.unsupported_parameters(error, droppable)
                self._unsupported.update(refused)
                failures += not refused
                wait = 0.0 if refused else self._wait_after(error, failures)
            self.retries += 1
            await asyncio.sleep(wait)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    def _parameters(self, request: ChatRequest) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "model": self._endpoint.model,
            "messages": [{name: _encodable(text) for name, text in message.items()} for message in request.messages],
            "max_completion_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
        }
        for name in self._unsupported:
            if _is_droppable(name, parameters):
                value = parameters.pop(name)
                if name == "max_completion_tokens":
                    parameters["max_tokens"] = value
        return parameters

    async def _send(self, parameters: dict[str, Any]) -> ChatResult:
        # The client's timeout restarts with every byte, and some servers send whitespace while they compute.
        async with asyncio.timeout(self._endpoint.timeout):
            # The body itself: the client's types do not validate it, and have no field for reasoning.
            response = await self._client.chat.completions.with_raw_response.create(**parameters)
        return parse_reply(response.http_response.content)

    def _wait_after(self, error: Failure, failures: int) -> float:
        """Return the seconds to wait after the `failures`-th failure of a request, or raise the final error.

        Exponential backoff, with up to 50 % jitter so that requests that failed together are not retried together.
        """
        if endpoint_errors.is_refusal(error):
            raise endpoint_errors.refusal_error(error, self._endpoint, self._key) from None
        if isinstance(error, NotACompletionError) and not self.has_answered:
            where, what = address(self._endpoint), endpoint_errors.sanitize(str(error), self._key)
            raise InputError(f"{where} returns {what}, not a chat completion; {_FIX_BASE_URL}") from None
        retry_after = endpoint_errors.retry_after(error) or 0.0
        max_failures = endpoint_errors.max_failures(error, self._endpoint.max_retries)
        exhausted = failures > max_failures or retry_after > _MAX_RETRY_AFTER
        if exhausted or not endpoint_errors.is_retryable(error):
            raise endpoint_errors.retries_exhausted(error, self._endpoint, self._key, failures) from None
        backoff = min(self._first_wait * 2.0 ** min(failures - 1, 30), _MAX_BACKOFF)
        return retry_after + random.uniform(0, self._first_wait) if retry_after else backoff * random.uniform(1, 1.5)


def missing_model_error(endpoint: EndpointSection, key: str) -> InputError:
    """Return the error for a missing `endpoint.model`, with the names of the server's models if it lists them."""
    message = f"endpoint.model is not set; set it to the name of a model at {address(endpoint)}"
    client = openai.OpenAI(
        api_key=key, base_url=endpoint.base_url, timeout=min(endpoint.timeout, _CONNECT_TIMEOUT), max_retries=0
    )
    with client:
        try:
            names = sorted(model.id for model in client.models.list() if isinstance(model.id, str))
        except (openai.OpenAIError, ValueError, AttributeError, TypeError):  # the server may be of another kind
            return InputError(f"{message}, which does not list its models")
    shown = ", ".join(names[:_MAX_NAMES]) + (" …" if len(names) > _MAX_NAMES else "")
    return InputError(f"{message}, which serves: {endpoint_errors.sanitize(shown, key)}" if names else message)


def _timeout(endpoint: EndpointSection) -> openai.Timeout:
    return openai.Timeout(endpoint.timeout, connect=min(endpoint.timeout, _CONNECT_TIMEOUT))


def _is_droppable(name: str, parameters: dict[str, Any]) -> bool:
    """Return whether a request means the same without this parameter, or with its older name."""
    return name in ("seed", "max_completion_tokens") or (name in ("temperature", "top_p") and parameters[name] == 1)


def _encodable(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot encode."""
    return text.encode("utf-8", "replace").decode()
