"""Parse the body of a chat completion as servers send it, which is often not as OpenAI's API declares it.

Only what is said is the text. Reasoning is kept apart, wherever the server puts it: in `reasoning_content` (DeepSeek,
SGLang, older vLLM), `reasoning` (vLLM, OpenRouter, Groq), `thinking` (Ollama), `reasoning_details` (OpenRouter),
`thinking_blocks` (LiteLLM), or in parts of the content (Mistral, Anthropic). All other fields are optional. A value of
a wrong type where the text should be is an error, so that it is never cached; elsewhere it counts as missing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from srlm.evaluation.endpoint_errors import MalformedReplyError, NoChoiceError, NotACompletionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MODEL_REFUSAL = "refusal"  # the finish reason of a reply that is a refusal of the model (OpenAI's `refusal`)
_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking", "thought", "reasoning_details", "thinking_blocks")
_THOUGHT_TYPES = ("think", "thought", "reason")  # in the type of a part: `thinking`, `reasoning.text` …
_TEXT_KEYS = ("text", "thinking", "thought", "reasoning", "reasoning_content", "content", "summary", "value")
_FAILED = frozenset({"error", "abort"})  # finish reasons of replies that the server did not complete
_MAX_DEPTH = 6  # of nested parts


@dataclass(frozen=True, slots=True)
class ChatResult:
    """One chat completion: what was said and thought, the server's finish reason (or ""), and the token usage."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    thought: str | None = None


@dataclass(slots=True)
class _Parts:
    """The texts of a message's content, by kind."""

    said: list[str] = field(default_factory=list)
    thought: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)


def parse_reply(data: bytes) -> ChatResult:
    """Return the first choice of a chat completion.

    Text parts are joined without a separator. A null content is an empty text, as is that of a tool call; a refusal of
    the model is the text if there is no other, with the finish reason `refusal`. Of a legacy completion, `text` counts.

    Raises:
        NotACompletionError: the body is not JSON, or not that of a chat completion.
        NoChoiceError: there is an error in the body, or no choice.
        MalformedReplyError: a value that the text depends on has a wrong type, or there is no text at all.
    """
    choice, usage = _first_choice(_object(data))
    where = "choices[0]"
    message = _message(choice)
    finish = _string(choice.get("finish_reason"))
    if choice.get("error") or finish.lower() in _FAILED:
        raise NoChoiceError(choice.get("error") or {"message": f"finish_reason {finish}"})
    parts = _Parts()
    _read_content(message.get("content"), f"{where}.message.content", parts)
    if not parts.said and message.get("content") is None:
        _read_content(choice.get("text"), f"{where}.text", parts)
    parts.refusal += _texts(message.get("refusal"))
    if not finish and any(message.get(name) for name in ("tool_calls", "function_call")):
        finish = "tool_calls"
    text, refusal = "".join(parts.said), "".join(parts.refusal)
    if refusal and not text:
        text, finish = refusal, MODEL_REFUSAL
    thought = _thought(message) or _thought(choice) or "".join(parts.thought)
    if not (text or thought or finish or isinstance(message.get("content"), str | list) or "text" in choice):
        raise MalformedReplyError(f"{where} has neither a text nor a finish_reason")
    return ChatResult(
        text, finish, _tokens(usage, "prompt_tokens"), _tokens(usage, "completion_tokens"), thought or None
    )


def _object(data: bytes) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise NotACompletionError("invalid JSON") from None
    if not isinstance(body, dict):
        raise NotACompletionError("other JSON")
    return body


def _first_choice(body: Mapping[str, Any]) -> tuple[Mapping[str, Any], object]:
    """Return the first choice and the usage."""
    error = body if body.get("object") == "error" else body.get("error")
    if _is_error(error):
        raise NoChoiceError(error)
    if "choices" not in body:
        raise NotACompletionError("other JSON", body)
    choices = body["choices"]
    if choices is None or choices == []:
        raise NoChoiceError(None)
    if not isinstance(choices, list) or not isinstance(choices[0], dict):
        name, value = ("choices[0]", choices[0]) if isinstance(choices, list) else ("choices", choices)
        raise MalformedReplyError(f"{name} is {_kind(value)}")
    return choices[0], body.get("usage")


def _is_error(error: object) -> bool:
    """Tell whether the field `error` has an error: some servers send one with only null fields on success."""
    return any(error.values()) if isinstance(error, dict) else bool(error)


def _message(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in ("message", "delta"):  # `delta` is that of servers that stream unasked
        message = choice.get(name)
        if message is not None:
            if not isinstance(message, dict):
                raise MalformedReplyError(f"choices[0].{name} is {_kind(message)}")
            return message
    return {}


def _read_content(content: object, where: str, parts: _Parts) -> None:
    """Add the texts of a content: null, a string, a part, or a list of strings and parts."""
    if isinstance(content, list):
        for index, part in enumerate(content):
            _read_part(part, f"{where}[{index}]", parts)
    else:
        _read_part(content, where, parts)


def _read_part(part: object, where: str, parts: _Parts) -> None:
    if part is None:
        return
    if isinstance(part, str):
        parts.said.append(part)
        return
    if not isinstance(part, dict):
        raise MalformedReplyError(f"{where} is {_kind(part)}")
    kind = _string(part.get("type")).lower()
    if part.get("thought") is True or any(word in kind for word in _THOUGHT_TYPES):
        parts.thought += _texts(part)
    elif kind == "refusal":
        parts.refusal += _texts(part.get("refusal"))
    else:
        text = part.get("text")
        if isinstance(text, dict):
            text = text.get("value")
        if text is not None and not isinstance(text, str):
            raise MalformedReplyError(f"{where}.text is {_kind(text)}")
        parts.said.append(text or "")  # a part of another kind, such as an image, says nothing


def _thought(source: Mapping[str, Any]) -> str:
    """Return the first of the reasoning fields with a text: servers repeat the same text under several names."""
    return next((text for name in _THOUGHT_FIELDS if (text := "".join(_texts(source.get(name))))), "")


def _texts(value: object, depth: int = 0) -> Iterator[str]:
    """Yield the strings of a text, a part, or a list of them; values of other types have none."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, depth + 1)
    elif isinstance(value, dict):
        key = next((key for key in _TEXT_KEYS if isinstance(value.get(key), str | list | dict)), None)
        yield from _texts(None if key is None else value[key], depth + 1)


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _tokens(usage: object, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _kind(value: object) -> str:
    """Return the JSON type of a value."""
    kinds = {type(None): "null", bool: "a boolean", str: "a string", list: "an array", dict: "an object"}
    return kinds.get(type(value), "a number")
