"""One question to a chat completions server, tried again while what went wrong may pass.

The client's own retries are off: six of them wait for 24 seconds at most, and a limit of requests a minute lifts later;
nor is their number told of a request that fails in the end.

Servers differ in what they take. `max_completion_tokens` is sent, which OpenAI and vLLM both take today, where
OpenAI's reasoning models refuse `max_tokens`; all sampling settings are sent even if they are OpenAI's defaults, as
vLLM's defaults come from the model. A server that refuses one of these by name is asked without it from there on, if
that asks for the same: the older `max_tokens`, no `temperature` or `top_p` of 1, and no `seed`, which is a hint
everywhere. Anything else that is refused is an error.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import openai

from srlm.errors import InputError
from srlm.evaluation import endpoint_errors
from srlm.evaluation.endpoint_access import address
from srlm.evaluation.endpoint_errors import FAILURES, NoChoiceError

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

    from srlm.config import EndpointSection
    from srlm.evaluation.endpoint import Ask
    from srlm.evaluation.endpoint_errors import Failure

_LONGEST_WAIT = 60.0  # seconds, of a back-off
_LONGEST_WANTED_WAIT = 600.0  # seconds, of a wait that the server asks for
_CONNECT_TIMEOUT = 10.0  # seconds
_MOST_NAMES = 20
_WRONG_ADDRESS = "mend endpoint.base_url, which mostly ends in /v1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model wrote, why it stopped, and how many tokens the server counted."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class ChatClient:
    """Asks one server for one model's answers. `retries` counts the tries of all questions beyond each one's first."""

    def __init__(self, endpoint: EndpointSection, key: str, first_wait: float) -> None:
        self.retries = 0
        self._endpoint, self._key, self._first_wait = endpoint, key, first_wait
        self._refused: set[str] = set()
        self._client = openai.AsyncOpenAI(
            api_key=key, base_url=endpoint.base_url, timeout=_timeout(endpoint), max_retries=0
        )

    async def answer(self, ask: Ask) -> Answer:
        """Send a question until there is an answer.

        Raises:
            InputError: the server refuses the key, the model or the request, or is no such server.
            StageError: all tries failed in a way that may pass.
        """
        failures = 0
        while True:
            parameters = self._parameters(ask)
            try:
                return await self._send(parameters)
            except FAILURES as error:
                refused = endpoint_errors.unsupported(error, [name for name in parameters if _spare(name, parameters)])
                self._refused.update(refused)
                failures += not refused
                wait = 0.0 if refused else self._wait_after(error, failures)
            self.retries += 1
            await asyncio.sleep(wait)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    def _parameters(self, ask: Ask) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "model": self._endpoint.model,
            "messages": [{name: _encodable(text) for name, text in message.items()} for message in ask.messages],
            "max_completion_tokens": ask.max_tokens,
            "temperature": ask.temperature,
            "top_p": ask.top_p,
            "seed": ask.seed,
        }
        for name in self._refused:
            if _spare(name, parameters):
                value = parameters.pop(name)
                if name == "max_completion_tokens":
                    parameters["max_tokens"] = value
        return parameters

    async def _send(self, parameters: dict[str, Any]) -> Answer:
        # The client's timeout starts anew with every byte, and some servers send blanks while they compute.
        async with asyncio.timeout(self._endpoint.timeout):
            try:
                completion: ChatCompletion = await self._client.chat.completions.create(**parameters)
            except json.JSONDecodeError:
                raise self._no_completion("JSON that is broken") from None
        choices = getattr(completion, "choices", None)
        error = getattr(completion, "error", None)
        if error or choices == []:
            raise NoChoiceError(json.dumps(error, ensure_ascii=False, default=str) if error else "")
        if not isinstance(choices, list):
            raise self._no_completion("something else")
        # Some servers leave out, or set to null, what the client's types promise.
        usage = completion.usage
        return Answer(
            text=getattr(getattr(choices[0], "message", None), "content", None) or "",
            finish_reason=getattr(choices[0], "finish_reason", None) or "",
            prompt_tokens=getattr(usage, "prompt_tokens", None) or 0,
            completion_tokens=getattr(usage, "completion_tokens", None) or 0,
        )

    def _wait_after(self, error: Failure, failures: int) -> float:
        """Return the seconds to wait after a question's failure number `failures`, or raise what ends it.

        The back-off doubles, with up to half as much at random, so that those who failed together do not come back
        together.
        """
        if endpoint_errors.is_refusal(error):
            raise endpoint_errors.refusal(error, self._endpoint, self._key) from None
        wanted = endpoint_errors.wanted_wait(error) or 0.0
        exhausted = failures > self._endpoint.max_retries or wanted > _LONGEST_WANTED_WAIT
        if exhausted or not endpoint_errors.waiting_helps(error):
            raise endpoint_errors.given_up(error, self._endpoint, self._key, failures) from None
        backoff = min(self._first_wait * 2.0 ** min(failures - 1, 30), _LONGEST_WAIT)
        return wanted + random.uniform(0, self._first_wait) if wanted else backoff * random.uniform(1, 1.5)

    def _no_completion(self, what: str) -> InputError:
        return InputError(f"{address(self._endpoint)} answers with {what}, not a chat completion; {_WRONG_ADDRESS}")


def no_model(endpoint: EndpointSection, key: str) -> InputError:
    """Return the error of a missing `endpoint.model`, with the names of what the server offers if it tells them."""
    message = f"endpoint.model is not set: give the name of a model at {address(endpoint)}"
    client = openai.OpenAI(
        api_key=key, base_url=endpoint.base_url, timeout=min(endpoint.timeout, _CONNECT_TIMEOUT), max_retries=0
    )
    with client:
        try:
            names = sorted(model.id for model in client.models.list())
        except (openai.OpenAIError, ValueError, AttributeError):  # what answers may be no such server
            return InputError(f"{message}, which does not tell what it has")
    shown = ", ".join(names[:_MOST_NAMES]) + (" …" if len(names) > _MOST_NAMES else "")
    return InputError(f"{message}, which has: {endpoint_errors.quoted(shown, key)}" if names else message)


def _timeout(endpoint: EndpointSection) -> openai.Timeout:
    return openai.Timeout(endpoint.timeout, connect=min(endpoint.timeout, _CONNECT_TIMEOUT))


def _spare(name: str, parameters: dict[str, Any]) -> bool:
    """Tell whether a server that refuses this parameter can be asked for the same without it."""
    return name in ("seed", "max_completion_tokens") or (name in ("temperature", "top_p") and parameters[name] == 1)


def _encodable(text: str) -> str:
    """Replace lone surrogates, which no UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode()
