"""Bodies of chat completions: what was said, what was thought, and what is refused before it reaches the cache."""

import json
import random

import pytest
from srlm.errors import InputError, StageError
from srlm.evaluation import endpoint_errors
from srlm.evaluation.chat_records import UNREADABLE, ChatResponse
from srlm.evaluation.chat_reply import ChatResult, parse_reply
from srlm.evaluation.endpoint_errors import MalformedReplyError, NoChoiceError, NotACompletionError
from srlm.evaluation.response_cache import CachedResponse
from srlm.rows.checks import row_problem
from srlm.rows.records import read_rows

from tests.scripted_server import (
    KEY,
    cache,
    chat_request,
    chat_requests,
    completion,
    echo,
    failure,
    question,
    server,
    start,
)

__all__ = ["cache", "server", "start"]  # fixtures

PARTS = [{"type": "text", "text": "Verdict: "}, {"type": "text", "text": "A"}]
MISTRAL = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm. "}, {"type": "text", "text": "Well."}]}


def body(message=None, finish="stop", **choice):
    said = {} if message is None else {"message": message}
    return {"object": "chat.completion", "choices": [{"index": 0, "finish_reason": finish, **said, **choice}]}


def said(content, **fields):
    return body({"role": "assistant", "content": content, **fields})


def parsed(value):
    return parse_reply(value if isinstance(value, bytes) else json.dumps(value).encode())


# Body -> what was said, what was thought, the finish reason.
REPLIES = {
    "plain": (said("A"), ("A", None, "stop")),
    "empty": (said(""), ("", None, "stop")),
    "null": (said(None), ("", None, "stop")),
    "no content": (body({"role": "assistant"}, "length"), ("", None, "length")),
    "filtered, an empty message": (body({}, "content_filter"), ("", None, "content_filter")),
    "filtered, no message": (body(None, "content_filter"), ("", None, "content_filter")),
    "filtered, a null message": (
        {"choices": [{"message": None, "finish_reason": "content_filter"}]},
        ("", None, "content_filter"),
    ),
    # lists of parts
    "parts": (said(PARTS), ("Verdict: A", None, "stop")),
    "no part": (said([]), ("", None, "stop")),
    "strings as parts": (said(["Verdict: ", "A", None]), ("Verdict: A", None, "stop")),
    "a single part": (said(PARTS[0]), ("Verdict: ", None, "stop")),
    "parts without a type": (said([{"text": "A"}]), ("A", None, "stop")),
    "output_text": (said([{"type": "output_text", "text": "A", "annotations": []}]), ("A", None, "stop")),
    "text with a value": (said([{"type": "text", "text": {"value": "A", "annotations": []}}]), ("A", None, "stop")),
    "parts that are no text": (
        said([{"type": "image_url", "image_url": {"url": "x"}}, {"type": "reference", "reference_ids": [1]}, PARTS[1]]),
        ("A", None, "stop"),
    ),
    "a null text": (said([{"type": "text", "text": None}]), ("", None, "stop")),
    # reasoning
    "reasoning_content": (said("A", reasoning_content="Hm."), ("A", "Hm.", "stop")),
    "reasoning": (said("A", reasoning="Hm."), ("A", "Hm.", "stop")),
    "both, equal": (said("A", reasoning="Hm.", reasoning_content="Hm."), ("A", "Hm.", "stop")),
    "one of both": (said("A", reasoning="Hm.", reasoning_content=None), ("A", "Hm.", "stop")),
    "an empty one": (said("A", reasoning="Hm.", reasoning_content=""), ("A", "Hm.", "stop")),
    "no reasoning": (said("A", reasoning="", reasoning_content=None), ("A", None, "stop")),
    "thinking": (said("A", thinking="Hm."), ("A", "Hm.", "stop")),
    "a flag": (said("A", thinking=True), ("A", None, "stop")),
    "reasoning alone": (
        body({"content": None, "reasoning_content": "Verdict: B?"}, "length"),
        ("", "Verdict: B?", "length"),
    ),
    "reasoning beside the message": (body({"content": "A"}, reasoning="Hm."), ("A", "Hm.", "stop")),
    "an object": (said("A", reasoning={"text": "Hm."}), ("A", "Hm.", "stop")),
    "a list": (said("A", reasoning=[{"type": "text", "text": "H"}, "m."]), ("A", "Hm.", "stop")),
    "details": (
        said("A", reasoning_details=[{"type": "reasoning.text", "text": "Hm."}, {"type": "reasoning.encrypted"}]),
        ("A", "Hm.", "stop"),
    ),
    "a summary": (said("A", reasoning_details=[{"type": "reasoning.summary", "summary": "Hm."}]), ("A", "Hm.", "stop")),
    "blocks": (
        said("A", thinking_blocks=[{"type": "thinking", "thinking": "Hm.", "signature": "x"}, {"type": "redacted"}]),
        ("A", "Hm.", "stop"),
    ),
    "thinking as a part": (said([{"type": "thinking", "thinking": "Hm."}, *PARTS]), ("Verdict: A", "Hm.", "stop")),
    "nested thinking": (said([MISTRAL, PARTS[1]]), ("A", "Hm. Well.", "stop")),
    "a redacted thought": (said([{"type": "redacted_thinking", "data": "x"}, PARTS[1]]), ("A", None, "stop")),
    "a part of reasoning": (said([{"type": "reasoning", "reasoning": "Hm."}, PARTS[1]]), ("A", "Hm.", "stop")),
    "a part marked as thought": (said([{"text": "Hm.", "thought": True}, {"text": "A"}]), ("A", "Hm.", "stop")),
    "reasoning of a wrong type": (said("A", reasoning_content=3), ("A", None, "stop")),
    # refusals and tool calls
    "refusal": (said(None, refusal="I cannot."), ("I cannot.", None, "refusal")),
    "refusal and text": (said("A", refusal="I cannot."), ("A", None, "stop")),
    "a null refusal": (said("A", refusal=None), ("A", None, "stop")),
    "refusal as a part": (said([{"type": "refusal", "refusal": "I cannot."}]), ("I cannot.", None, "refusal")),
    "tool call": (
        body({"content": None, "tool_calls": [{"type": "function", "function": {"arguments": "A"}}]}, None),
        ("", None, "tool_calls"),
    ),
    "function call": (
        body({"content": None, "function_call": {"name": "f"}}, "function_call"),
        ("", None, "function_call"),
    ),
    # other places of the text
    "legacy": (body(None, text="A"), ("A", None, "stop")),
    "legacy beside a null content": (body({"content": None}, text="A"), ("A", None, "stop")),
    "content wins over legacy": (body({"content": "A"}, text="B"), ("A", None, "stop")),
    "delta": (body(None, delta={"content": "A"}), ("A", None, "stop")),
    # finish reasons
    "null finish": (body({"content": "A"}, None), ("A", None, "")),
    "a number as finish": (body({"content": "A"}, 3), ("A", None, "")),
    "cut off": (body({"content": "A"}, "length"), ("A", None, "length")),
    "another word": (body({"content": "A"}, "MAX_TOKENS"), ("A", None, "MAX_TOKENS")),
    # the rest of the body
    "a null error": (said("A") | {"error": None}, ("A", None, "stop")),
    "an error of nulls": (said("A") | {"error": {"message": None, "code": None}}, ("A", None, "stop")),
    "NaN somewhere": (b'{"choices": [{"logprobs": NaN, "message": {"content": "A"}}]}', ("A", None, "")),
    "byte order mark": (b'\xef\xbb\xbf{"choices": [{"message": {"content": "A"}}]}', ("A", None, "")),
}  # fmt: skip


@pytest.mark.parametrize("name", REPLIES)
def test_what_was_said_and_thought(name):
    value, expected = REPLIES[name]
    result = parsed(value)
    assert (result.text, result.thought, result.finish_reason) == expected


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, (3, 2)),
        ({"prompt_tokens": 3.0, "completion_tokens": None}, (3, 0)),
        ({"prompt_tokens": "3", "completion_tokens": True}, (0, 0)),
        ({"prompt_tokens": -3, "completion_tokens": 2.5}, (0, 0)),
        ({}, (0, 0)),
        (None, (0, 0)),
        ([3, 2], (0, 0)),
        ("none", (0, 0)),
    ],
)
def test_usage(usage, expected):
    for value in (said("A") | {"usage": usage}, said("A")):
        result = parsed(value)
        assert (result.prompt_tokens, result.completion_tokens) == (expected if "usage" in value else (0, 0))


MALFORMED = {
    "choices[0].message.content is a number": said(3),
    "choices[0].message.content is a boolean": said(False),
    "choices[0].message.content[1] is a number": said([PARTS[0], 4.5]),
    "choices[0].message.content[0] is an array": said([["A"]]),
    "choices[0].message.content[0].text is an array": said([{"type": "text", "text": ["A"]}]),
    "choices[0].message.content[0].text is a number": said([{"type": "text", "text": {"value": 3}}]),
    "choices[0].message is a string": body("A"),
    "choices[0].message is an array": body([{"content": "A"}]),
    "choices[0].text is a number": body(None, text=3),
    "choices[0] is null": {"choices": [None]},
    "choices[0] is a string": {"choices": ["A"]},
    "choices is an object": {"choices": {"0": {}}},
    "choices is a number": {"choices": 3},
    "choices[0] has neither a text nor a finish_reason": {"choices": [{"index": 0}]},
}


@pytest.mark.parametrize("message", MALFORMED)
def test_a_wrong_type_where_the_text_should_be(message):
    with pytest.raises(MalformedReplyError) as caught:
        parsed(MALFORMED[message])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "kind", "status"),
    [
        ({"error": {"message": "overloaded"}}, NoChoiceError, None),
        ({"error": "overloaded"}, NoChoiceError, None),
        ({"error": {"message": "x", "code": 429}}, NoChoiceError, 429),
        ({"error": {"message": "x", "code": "400"}}, NoChoiceError, 400),
        ({"error": {"message": "x", "code": 1301}}, NoChoiceError, None),
        ({"object": "error", "message": "x", "code": 400}, NoChoiceError, 400),
        ({"choices": []}, NoChoiceError, None),
        ({"choices": None}, NoChoiceError, None),
        ({**body({"content": "A"}), "error": {"message": "cut"}}, NoChoiceError, None),
        (body({"content": "half"}, "error", error={"code": 502, "message": "x"}), NoChoiceError, 502),
        (body({"content": "half"}, "error"), NoChoiceError, None),
        (body({"content": "half"}, "abort"), NoChoiceError, None),
        ({}, NotACompletionError, None),
        ({"detail": "Not Found"}, NotACompletionError, None),
        ({"response": "A", "done": True}, NotACompletionError, None),
        ([], NotACompletionError, None),
        (None, NotACompletionError, None),
        (b"", NotACompletionError, None),
        (b"<html>", NotACompletionError, None),
        (b"data: {}\n\ndata: [DONE]\n\n", NotACompletionError, None),
        (b'{"choices": [', NotACompletionError, None),
        (b'{"choices": "\xff"}', NotACompletionError, None),
        (b"[" * 200_000, NotACompletionError, None),
    ],
)
def test_bodies_without_a_reply(value, kind, status):
    with pytest.raises(kind) as caught:
        parsed(value)
    assert endpoint_errors.status_of(caught.value) == status


VALUES = [None, True, 3, -1.5, "", "text", [], ["a", 3], {}, {"text": "b"}, [{"type": "text", "text": "c"}], [[]]]
FIELDS = ("content", "reasoning_content", "reasoning", "refusal", "tool_calls", "thinking_blocks", "role")


def test_any_types_anywhere_give_a_valid_row_or_an_error_of_the_server():
    """Random values in every field: what is returned can be cached, and read back."""
    rng = random.Random(17)
    kinds = (NoChoiceError, MalformedReplyError, NotACompletionError)
    seen = dict.fromkeys((*kinds, ChatResult), 0)
    for _ in range(5000):
        message = {name: rng.choice(VALUES) for name in rng.sample(FIELDS, 4)}
        choice = {"message": message, "finish_reason": rng.choice(VALUES), "text": rng.choice(VALUES)}
        value = {"choices": [choice], "usage": rng.choice(VALUES)}
        holder, name = rng.choice([(value, "choices"), (value, "error"), (choice, "message"), (choice, "delta")])
        if rng.random() < 0.3:
            holder[name] = rng.choice(VALUES)
        try:
            result = parsed(value)
        except kinds as error:
            seen[type(error)] += 1
            continue
        seen[ChatResult] += 1
        row = CachedResponse("x", result.text, result.finish_reason, result.thought)
        assert row_problem(row) is None
        assert type(result.prompt_tokens) is type(result.completion_tokens) is int
    assert min(seen[kind] for kind in (NoChoiceError, MalformedReplyError, ChatResult)) > 200


# --- through the client -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["parts", "null", "nested thinking", "reasoning alone", "refusal", "legacy", "cut off"]
)
def test_replies_are_cached_as_they_were_read(server, start, cache, name):
    value, (text, thought, finish) = REPLIES[name]
    server.respond = lambda *_: (200, {}, value)
    replies = [response for _ in range(2) for response in start().complete([chat_request()])]
    assert replies == [ChatResponse("a", text, finish, cached, thought) for cached in (False, True)]
    assert [response.cut_off for response in replies] == [finish == "length"] * 2
    assert [(row.text, row.thought) for row in read_rows(cache, CachedResponse)] == [(text, thought)]
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("finish", "cut_off"),
    [("length", True), ("MAX_TOKENS", True), ("model_length", True), ("stop", False), ("", False), (None, False)],
)
def test_replies_that_were_cut_off_are_counted(server, start, finish, cut_off):
    server.respond = lambda *_: (200, {}, completion("x", finish))
    for _ in range(2):
        endpoint = start()
        assert [response.cut_off for response in endpoint.complete([chat_request()])] == [cut_off]
        assert endpoint.usage.cut_off == cut_off


def bad_for(name, reply):
    return lambda body, number: reply if question(body) == name else echo(body, number)


@pytest.mark.parametrize("message", list(MALFORMED)[::4])
def test_a_malformed_reply_is_never_cached(server, start, cache, message):
    """One retry, then the request has no response; the others have."""
    server.respond = bad_for("bad", (200, {}, MALFORMED[message]))
    for sent in (4, 2):
        before = len(server.bodies)
        endpoint = start(concurrency=1)
        replies = {reply.key: reply for reply in endpoint.complete(chat_requests("good", "bad", "fine"))}
        assert [replies[f"key {name}"].text for name in ("good", "fine")] == ["re: good", "re: fine"]
        assert replies["key bad"].finish_reason == UNREADABLE
        assert replies["key bad"].text == "(no response: the server's reply is malformed)"
        assert endpoint.usage.unreadable == 1
        assert message in endpoint.first_unreadable
        assert len(server.bodies) - before == sent
    assert [row.text for row in read_rows(cache, CachedResponse)] == ["re: good", "re: fine"]


def test_a_server_whose_first_replies_are_malformed(server, start, cache):
    server.respond = lambda *_: (200, {}, said(3))
    error = failure(start())
    assert isinstance(error, StageError)
    assert str(error) == (
        f"{server.url} sends replies that are no valid chat completions (malformed response: "
        "choices[0].message.content is a number, in 2 attempts); use another server, or another version of it"
    )
    assert cache.read_text() == ""


@pytest.mark.parametrize("page", ["<html>please wait</html>", '{"id": ', "[]", ""])
def test_a_page_of_a_gateway_after_an_answer_is_transient(server, start, page):
    server.respond = lambda body, number: (200, {}, page) if number in (1, 2) else echo(body, number)
    endpoint = start(concurrency=1)
    assert [reply.text for reply in endpoint.complete(chat_requests("a", "b"))] == ["re: a", "re: b"]
    assert endpoint.usage.retries == 2
    server.respond = lambda *_: (200, {}, page)
    error = failure(
        start(max_retries=1, concurrency=1), *chat_requests("a", "c")
    )  # a is cached: the settings are right
    assert isinstance(error, StageError)
    assert "gave no response in 2 attempts" in str(error)


@pytest.mark.parametrize(
    ("code", "kind", "part", "sent"),
    [
        (400, InputError, "refuses the request (HTTP 400 in the response: too *** long)", 1),
        ("413", InputError, "refuses the request (HTTP 413 in the response", 1),
        (401, InputError, "refuses the key in the environment variable JUDGE_KEY", 1),
        (404, InputError, "has no model 'judge'", 1),
        ("insufficient_quota", StageError, "in 1 attempt (no choices in the response: too *** long)", 1),
        (429, StageError, "in 3 attempts (HTTP 429 in the response", 3),
        (503, StageError, "in 3 attempts", 3),
        (None, StageError, "in 3 attempts", 3),
    ],
)
def test_an_error_with_status_200_is_what_its_code_says(server, start, code, kind, part, sent):
    server.respond = lambda *_: (200, {}, {"error": {"message": f"too {KEY} long", "code": code}})
    error = failure(start(max_retries=2))
    assert isinstance(error, kind)
    assert part in str(error)
    assert len(server.bodies) == sent


def test_the_servers_own_words_are_shown(server, start):
    server.respond = lambda *_: (200, {}, {"detail": f"no such\nroute {KEY}"})
    assert "returns other JSON (no such route ***), not a chat completion; fix" in str(failure(start()))
