"""Endpoints that fail: retries, refusals and messages."""

import json
import logging
import time
from email.utils import formatdate

import httpx2
import openai
import pytest
from srlm.config import EndpointSection
from srlm.errors import InputError, StageError
from srlm.evaluation import endpoint_errors
from srlm.evaluation.chat_records import REFUSED, Usage
from srlm.evaluation.endpoint_access import address, api_key
from srlm.evaluation.pairwise import parse_verdict

from tests.scripted_server import (
    KEY,
    Handler,
    cache,
    chat_request,
    chat_requests,
    completion,
    echo,
    failure,
    question,
    server,
    start,
    texts_by_key,
)

__all__ = ["cache", "server", "start"]  # fixtures


# --- retries ----------------------------------------------------------------------------------------------------------


def too_slow(*_):
    time.sleep(1.5)
    return 200, {}, completion("late")


TRANSIENT = {
    "timeout": too_slow,
    "closed connection": lambda *_: (0, {}, ""),
    **{str(status): lambda *_, status=status: (status, {}, {}) for status in (408, 409, 429, 500, 502, 503, 529)},
    "web page": lambda *_: (502, {}, "<html>bad gateway</html>"),
    "error in a success": lambda *_: (200, {}, {"error": {"message": "overloaded"}}),
    "no choice": lambda *_: (200, {}, completion() | {"choices": []}),
}


@pytest.mark.parametrize("kind", TRANSIENT)
def test_transient_failures_are_retried(server, start, kind):
    server.respond = lambda body, number: TRANSIENT[kind]() if number < 2 else echo(body, number)
    endpoint = start(timeout=1.0 if kind == "timeout" else 60.0)
    assert [response.text for response in endpoint.complete([chat_request()])] == ["re: which?"]
    assert len(server.bodies) == 3
    assert endpoint.usage == Usage(1, 0, 2, 10, 2, 0.0)


def test_retry_after_is_respected(server, start):
    server.respond = lambda body, number: (429, {"retry-after": "0.2"}, {}) if not number else echo(body, number)
    assert len(list(start().complete([chat_request()]))) == 1
    assert 0.2 <= server.times[1] - server.times[0] < 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3", 3.0),
        ("0.25", 0.25),
        ("-1", 0.0),
        (None, None),
        ("soon", None),
    ],
)
def test_retry_after_in_seconds(value, expected):
    assert retry_after(value) == (expected and pytest.approx(expected))


@pytest.mark.parametrize(("seconds", "expected"), [(1000, 1000.0), (-1000, 0.0)])
def test_retry_after_as_a_date(seconds, expected):
    assert retry_after(formatdate(time.time() + seconds, usegmt=True)) == pytest.approx(expected, abs=30)


def retry_after(value):
    response = httpx2.Response(429, headers={"retry-after": value} if value else {})
    response.request = httpx2.Request("POST", "http://h")
    error = openai.RateLimitError("", response=response, body=None)
    return endpoint_errors.retry_after(error)


def test_waits_double(server, start):
    server.respond = lambda *_: (500, {}, {})
    failure(start(first_wait=0.02, max_retries=4))
    gaps = [after - before for before, after in zip(server.times, server.times[1:], strict=False)]
    assert all(gap >= 0.02 * 2**number for number, gap in enumerate(gaps))
    assert sum(gaps) < 0.02 * (1 + 2 + 4 + 8) * 1.5 + 2


@pytest.mark.parametrize("retries", [0, 3])
def test_a_server_that_never_recovers(server, start, retries):
    server.respond = lambda *_: (500, {}, {"error": {"message": f"out of\nmemory {KEY}"}})
    error = failure(start(max_retries=retries))
    times = "1 attempt" if retries == 0 else "4 attempts"
    assert isinstance(error, StageError)
    assert str(error) == (
        f"{server.url} gave no response in {times} (HTTP 500: out of memory ***); responses so far are cached; run "
        "the same command again"
    )
    assert len(server.bodies) == retries + 1


def test_a_server_that_never_responds(server, start):
    server.respond = too_slow
    assert "in 2 attempts (timeout after 0.2 seconds (endpoint.timeout))" in str(
        failure(start(timeout=0.2, max_retries=1))
    )


def test_whitespace_is_no_response(server, start, monkeypatch):
    """A server that keeps sending whitespace times out."""

    def dribble(self, *_):
        self.send_response(200)
        self.send_header("content-length", "1000")
        self.end_headers()
        for _ in range(400):
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.05)

    monkeypatch.setattr(Handler, "answer", dribble)
    began = time.monotonic()
    assert "timeout after 0.3 seconds" in str(failure(start(timeout=0.3, max_retries=0)))
    assert time.monotonic() - began < 10  # of the 20 that the server takes


def test_no_server(server, start):
    server.shutdown()
    server.server_close()
    error = failure(start(max_retries=1))
    assert isinstance(error, StageError)
    assert f"{server.url} gave no response in 2 attempts (connection error" in str(error)


@pytest.mark.parametrize(
    ("headers", "body", "said"),
    [
        ({}, {"error": {"message": "no credit", "code": "insufficient_quota"}}, "(HTTP 429: no credit)"),
        ({"x-should-retry": "false"}, {}, "(HTTP 429: Too Many Requests)"),
        ({"retry-after": "86400"}, {}, "(HTTP 429, retry after 86400 seconds: Too Many Requests)"),
    ],
)
def test_failures_that_are_not_retried(server, start, headers, body, said):
    server.respond = lambda *_: (429, headers, body)
    error = failure(start())
    assert isinstance(error, StageError)
    assert f"gave no response in 1 attempt {said}; responses so far are cached" in str(error)
    assert len(server.bodies) == 1


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "parts"),
    [
        (401, {"error": {"message": f"wrong key: {KEY}"}}, ["JUDGE_KEY", "(HTTP 401: wrong key: ***)"]),
        (403, {"error": "not for\r\nyou"}, ["JUDGE_KEY", "access to 'judge'", "(HTTP 403: not for you)"]),
        (404, {"error": {"message": "no model `judge`"}}, ["endpoint.model", "endpoint.base_url", "no model `judge`"]),
        (404, "<html>\n<h1>nothing</h1>", ["endpoint.base_url", "(HTTP 404: Not Found)"]),
        (404, {"detail": "Not Found"}, ["endpoint.base_url", "(HTTP 404: Not Found)"]),
        (400, {"error": {"message": "context is 512 tokens"}}, ["endpoint.model", "(HTTP 400: context is 512 tokens)"]),
        (413, "too large", ["(HTTP 413: too large)"]),
        (422, {"detail": [{"loc": ["body", "model"], "msg": "bad"}]}, ["HTTP 422", '"loc": ["body", "model"]']),
        (400, {"error": {"message": "long " * 1000}}, ["(HTTP 400: long long", "long…)"]),
    ],
)
def test_a_refusal_is_one_line_and_not_retried(server, start, cache, caplog, status, body, parts):
    server.respond = lambda *_: (status, {}, body)
    with caplog.at_level(logging.DEBUG):
        error = failure(start())
    assert isinstance(error, InputError)
    assert all(part in str(error) for part in [server.url, *parts]), str(error)
    assert len(server.bodies) == 1
    assert KEY not in caplog.text
    assert cache.read_text() == ""


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_single_refused_request_is_not_an_error(server, start, cache, status):
    """A server that has answered others has valid settings: a content filter, for example, does not stop it."""

    def respond(body, number):
        return (
            (status, {}, {"error": {"message": "Verdict: A is filtered"}})
            if question(body) == "bad"
            else echo(body, number)
        )

    server.respond = respond
    for _ in range(2):  # a cached response counts as well
        endpoint = start(concurrency=1)
        responses = {response.key: response for response in endpoint.complete(chat_requests("good", "bad", "fine"))}
        assert [responses[f"key {name}"].text for name in ("good", "fine")] == ["re: good", "re: fine"]
        refused = responses["key bad"]
        assert (refused.finish_reason, refused.cached) == (REFUSED, False)
        assert refused.text == f"(no response: the server refuses this request, HTTP {status})"
        assert parse_verdict(refused.text) == "missing"
        assert endpoint.usage.refused == 1
        assert "Verdict: A is filtered" in endpoint.first_refusal
    assert "bad" not in cache.read_text()
    assert [question(body) for body in server.bodies] == ["good", "bad", "fine", "bad"]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_key_or_a_model_that_is_refused_later_is_an_error(server, start, status):
    server.respond = lambda body, number: echo(body, number) if number == 0 else (status, {}, {"error": "no more"})
    error = failure(start(concurrency=1), *chat_requests("good", "bad"))
    assert isinstance(error, InputError)
    assert f"HTTP {status}" in str(error)


@pytest.mark.parametrize("body", ["<html>welcome</html>", '{"hello": 1}', '{"id": ', "[]"])
def test_a_server_without_chat_completions(server, start, body):
    server.respond = lambda *_: (200, {}, body)
    error = failure(start())
    assert isinstance(error, InputError)
    assert "not a chat completion; fix endpoint.base_url" in str(error)


def refuse(server, *names, message, status=400):
    """Let the server refuse every request with one of these parameters."""

    def respond(body, number):
        found = [name for name in names if name in body]
        if found:
            said = message.replace("NAME", found[0])
            return status, {}, json.loads(said) if said[0] == "{" else {"error": {"message": said}}
        return echo(body, number)

    server.respond = respond


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Unsupported parameter: 'NAME' is not supported with this model."),
        (400, 'Invalid JSON payload received. Unknown name "NAME": Cannot find field.'),
        (422, '{"detail": [{"type": "extra_forbidden", "loc": ["body", "NAME"], "msg": "Extra inputs"}]}'),
    ],
)
def test_unsupported_parameters_are_omitted(server, start, status, message):
    refuse(server, "seed", "max_completion_tokens", "temperature", "top_p", message=message, status=status)
    endpoint = start(concurrency=1)
    some = [chat_request("a", "x", temperature=1.0, top_p=1.0), chat_request("b", "y", temperature=1.0, top_p=1.0)]
    assert texts_by_key(endpoint.complete(some)) == {"a": "re: x", "b": "re: y"}
    assert [set(body) for body in server.bodies[-2:]] == [{"model", "messages", "max_tokens"}] * 2
    assert server.bodies[-1]["max_tokens"] == 32
    assert len(server.bodies) == 6
    assert endpoint.usage.retries == 4


@pytest.mark.parametrize(("name", "value"), [("temperature", 0.0), ("top_p", 0.5)])
def test_sampling_is_not_changed_silently(server, start, name, value):
    refuse(server, name, message="Unsupported value: 'NAME' does not support this with this model.")
    error = failure(start(), chat_request(**{name: value}))
    assert isinstance(error, InputError)
    assert f"'{name}' does not support" in str(error)
    assert len(server.bodies) == 1


def test_a_refused_value_is_not_an_unsupported_parameter(server, start):
    refuse(server, "max_completion_tokens", message="NAME=32 cannot be greater than max_model_len=16.")
    assert isinstance(failure(start()), InputError)
    assert len(server.bodies) == 1


# --- base URL and API key ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "needs_key"),
    [
        ("http://localhost:8000/v1", False),
        ("http://judge.localhost/v1", False),
        ("http://127.0.0.1:8000/v1", False),
        ("http://127.3.2.1/v1", False),
        ("https://[::1]:8000/v1", False),
        ("https://api.openai.com/v1", True),
        ("http://localhost.example.org/v1", True),
        ("http://10.0.0.1:8000/v1", True),
        ("http://0.0.0.0:8000/v1", True),
    ],
)
def test_only_local_servers_need_no_key(url, needs_key, monkeypatch):
    endpoint = EndpointSection(base_url=url, model="m", api_key_env="JUDGE_KEY")
    monkeypatch.setenv("JUDGE_KEY", f" {KEY}\n")
    assert api_key(endpoint) == KEY
    monkeypatch.setenv("JUDGE_KEY", " ")
    if not needs_key:
        assert api_key(endpoint) == "none"
        return
    with pytest.raises(InputError, match="needs an API key; set the environment variable JUDGE_KEY"):
        api_key(endpoint)


@pytest.mark.parametrize("key", [KEY[:9] + "\n" + KEY[9:], KEY + " " + KEY, KEY + "é", KEY + "\x07"])
def test_invalid_keys(start, monkeypatch, key):
    monkeypatch.setenv("JUDGE_KEY", key)
    with pytest.raises(InputError, match="variable JUDGE_KEY is not a valid API key") as caught:
        start()
    assert KEY[:9] not in str(caught.value)


def test_a_local_server_without_a_key(server, start, monkeypatch):
    monkeypatch.delenv("JUDGE_KEY")
    list(start().complete([chat_request()]))
    assert server.authorizations == ["Bearer none"]
    server.respond = lambda *_: (401, {}, {"error": "none of this"})
    error = failure(start(), chat_request(text="more"))
    assert "needs an API key (HTTP 401: none of this); set the environment variable JUDGE_KEY" in str(error)


@pytest.mark.parametrize(
    "url", ["", "localhost:8000/v1", "api.openai.com/v1", "ftp://h/v1", "http://", "http://h:port/v1", "http://[::1/v1"]
)
def test_invalid_base_urls(start, url):
    with pytest.raises(InputError, match=r"^endpoint\.base_url is not an HTTP URL; use one such as"):
        start(base_url=url)


def test_an_address_is_shown_without_its_secrets():
    endpoint = EndpointSection(base_url=f"https://me:{KEY}@h:8443/v1/?key={KEY}")
    assert address(endpoint) == "https://h:8443/v1"


@pytest.mark.parametrize(
    ("models", "end"),
    [
        (["judge-b", "judge-a"], ", which serves: judge-a, judge-b"),
        ([f"m{number:02}" for number in range(30)], ", ".join(f"m{number:02}" for number in range(20)) + " …"),
        ([], "/v1"),
        (None, ", which does not list its models"),
    ],
)
def test_a_model_must_be_named(server, start, models, end):
    server.models = models
    with pytest.raises(InputError) as caught:
        start(model=None)
    assert str(caught.value).startswith(f"endpoint.model is not set; set it to the name of a model at {server.url}")
    assert str(caught.value).endswith(end)
