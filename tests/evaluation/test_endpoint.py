"""Endpoints: what is sent and how often, and what is cached.

The server is scripted and runs on this machine.
"""

import math
import signal
import threading
import time
from contextlib import closing

import pytest
from srlm.evaluation.chat_records import ChatResponse, Usage

from tests.conftest import HANG_SECONDS
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
    texts_by_key,
)

__all__ = ["cache", "server", "start"]  # fixtures


# --- requests ---------------------------------------------------------------------------------------------------------


def test_what_is_sent(server, start):
    (response,) = start().complete([chat_request("mine", "Ünïcode 😀\u2028")])
    assert response == ChatResponse("mine", "re: Ünïcode 😀\u2028", "stop", cached=False)
    assert server.bodies == [
        {
            "model": "judge",
            "messages": [{"role": "user", "content": "Ünïcode 😀\u2028"}],
            "max_completion_tokens": 32,
            "temperature": 0.7,
            "top_p": 0.9,
            "seed": 5,
        }
    ]
    assert server.authorizations == [f"Bearer {KEY}"]


def test_lone_surrogates_come_and_go(server, start):
    server.respond = lambda body, _: (200, {}, completion(question(body) + "\ud800"))
    first = list(start().complete([chat_request(text="a\ud83db")]))
    assert [response.text for response in first] == ["a?b\ud800"]
    assert [response.text for response in start().complete([chat_request(text="a\ud83db")])] == ["a?b\ud800"]


def test_concurrency_is_reached_and_not_exceeded(server, start):
    together = threading.Barrier(3)

    def respond(body, number):
        together.wait(HANG_SECONDS)  # passes only with three requests at once
        time.sleep(0.01)
        return echo(body, number)

    server.respond = respond
    requests = chat_requests(*"abcdefghi")
    assert texts_by_key(start(concurrency=3).complete(requests)) == {
        f"key {text}": f"re: {text}" for text in "abcdefghi"
    }
    assert server.max_in_flight == 3


def test_requests_are_taken_one_by_one(server, start):
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield chat_request(f"k{taken[-1]}", f"q{taken[-1]}")

    responses = start(concurrency=2).complete(endless())
    seen = {next(responses).key for _ in range(5)}
    responses.close()
    assert len(seen) == 5
    assert 5 <= len(taken) <= 7
    assert len(server.bodies) <= 7


def test_responses_are_yielded_as_they_finish(server, start):
    release = threading.Event()

    def respond(body, number):
        if question(body) == "slow":
            release.wait(HANG_SECONDS)
        return echo(body, number)

    server.respond = respond
    responses = start().complete(chat_requests("slow", "quick", "quicker"))
    assert {next(responses).text for _ in range(2)} == {"re: quick", "re: quicker"}
    release.set()
    assert [response.text for response in responses] == ["re: slow"]


def test_responses_do_not_wait_for_requests(start, cache):
    asked_for = []

    def slow():
        for text in "abc":
            yield chat_request(text, text)
            while not cache.read_bytes():
                time.sleep(0.005)
            time.sleep(0.1)
            asked_for.append(text)

    responses = start().complete(slow())
    assert next(responses).key == "a"
    assert asked_for == ["a"]
    assert len(list(responses)) == 2


def test_remaining_requests_are_cancelled(server, start):
    server.respond = lambda body, number: (503, {}, {}) if question(body) == "b" else echo(body, number)
    endpoint = start(first_wait=0.02, max_retries=1000)
    responses = endpoint.complete(chat_requests("a", "b"))
    assert next(responses).key == "key a"
    responses.close()
    time.sleep(0.1)
    before = len(server.bodies)
    time.sleep(0.2)
    assert len(server.bodies) == before
    assert texts_by_key(endpoint.complete(chat_requests("c"))) == {"key c": "re: c"}


def test_the_same_content_is_sent_once(server, start):
    endpoint = start(concurrency=2)
    requests = [
        chat_request("a", "x"),
        chat_request("b", "y"),
        chat_request("c", "x"),
        chat_request("d", "y"),
        chat_request("e", "x"),
    ]
    responses = list(endpoint.complete(requests))
    assert texts_by_key(responses) == {"a": "re: x", "b": "re: y", "c": "re: x", "d": "re: y", "e": "re: x"}
    assert sorted(response.key for response in responses if not response.cached) == ["a", "b"]
    assert len(server.bodies) == 2
    assert endpoint.usage.cached == 3


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("cut", "length", ("cut", "length")),
        ("", "stop", ("", "stop")),
        (None, "content_filter", ("", "content_filter")),
        ("x", None, ("x", "")),
    ],
)
def test_any_completion_is_a_response(server, start, text, finish, expected):
    server.respond = lambda *_: (200, {}, completion(text, finish))
    first, again = (list(start().complete([chat_request()])) for _ in range(2))
    assert [(response.text, response.finish_reason) for response in first + again] == [expected] * 2
    assert len(server.bodies) == 1


def test_usage_and_cost(server, start):
    usages = {"a": (1000, 200), "b": (500, 50), "c": None, "d": (7, None)}
    server.respond = lambda body, _: (200, {}, completion(usage=usages[question(body)]))
    endpoint = start(price_in=2.5, price_out=10.0)
    list(endpoint.complete(chat_requests("a", "b", "c", "d")))
    list(endpoint.complete(chat_requests("a")))
    # 1507 prompt tokens at 2.5 a million and 250 completion tokens at 10
    assert endpoint.usage == Usage(4, 1, 0, 1507, 250, pytest.approx(0.0037675 + 0.0025))
    again = start(price_in=2.5)
    list(again.complete(chat_requests("a", "b")))
    assert again.usage == Usage(0, 2, 0, 0, 0, 0.0)


# --- the cache --------------------------------------------------------------------------------------------------------


def test_nothing_is_sent_twice(server, start, cache):
    with start() as endpoint:
        first = texts_by_key(endpoint.complete(chat_requests("a", "b", "c")))
    again = list(start().complete(chat_requests("c", "b", "a")))
    assert texts_by_key(again) == first
    assert all(response.cached for response in again)
    assert len(server.bodies) == 3
    assert len(cache.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("settings", "changes", "sent"),
    [
        ({}, {"key": "another"}, False),
        ({}, {"temperature": 0.8}, True),
        ({}, {"top_p": 1.0}, True),
        ({}, {"max_tokens": 33}, True),
        ({}, {"seed": 6}, True),
        ({}, {"text": "which?\n"}, True),
        ({"model": "other"}, {}, True),
        ({"concurrency": 1, "timeout": 3.0, "price_in": 1.0}, {}, False),
    ],
)
def test_the_cache_is_keyed_by_content(server, start, settings, changes, sent):
    list(start().complete([chat_request()]))
    (response,) = start(**settings).complete([chat_request(**changes)])
    assert response.cached is not sent
    assert len(server.bodies) == 1 + sent


def test_another_server_is_another_judge(server, start):
    list(start().complete([chat_request()]))
    (same,) = start(base_url=server.url + "/").complete([chat_request()])
    (other,) = start(base_url=server.url.replace("127.0.0.1", "localhost")).complete([chat_request()])
    assert (same.cached, other.cached) == (True, False)


def test_a_truncated_line_is_sent_again(server, start, cache):
    with start(concurrency=1) as endpoint:
        list(endpoint.complete(chat_requests("a", "b")))
    whole = cache.read_bytes()
    cache.write_bytes(whole[:-5])
    with start() as endpoint:
        assert [(response.text, response.cached) for response in endpoint.complete(chat_requests("a"))] == [
            ("re: a", True)
        ]
        assert [(response.text, response.cached) for response in endpoint.complete(chat_requests("b"))] == [
            ("re: b", False)
        ]
    assert cache.read_bytes() == whole


def test_a_broken_line_is_set_aside(start, cache):
    cache.parent.mkdir()
    cache.write_text('{"id": "x", "text": "t", "finish_reason": "stop"}\nnonsense\n')
    assert "1 line is not a response" in start().cache_note
    assert cache.read_text() == '{"id": "x", "text": "t", "finish_reason": "stop"}\n'


def test_responses_before_an_error_are_cached(server, start):
    server.respond = lambda body, number: echo(body, number) if number != 3 else (401, {}, {})
    failure(start(concurrency=1), *chat_requests(*"abcdef"))
    assert len(server.bodies) == 4
    responses = list(start().complete(chat_requests(*"abcdef")))
    assert sorted(response.key for response in responses if not response.cached) == ["key d", "key e", "key f"]
    assert len(server.bodies) == 7


def test_a_response_that_was_not_consumed_is_cached(server, start, cache):
    with start() as endpoint:
        responses = endpoint.complete(chat_requests("a", "b", "c"))
        next(responses)
        deadline = time.monotonic() + HANG_SECONDS
        while len(cache.read_bytes().splitlines()) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
        responses.close()
    assert all(response.cached for response in start().complete(chat_requests("a", "b", "c")))


def hold(server, quick):
    """Let the server answer the questions in `quick` and hold all other requests."""
    forever = threading.Event()

    def respond(body, number):
        if question(body) in quick:
            return quick[question(body)]
        forever.wait(20)
        return echo(body, number)

    server.respond = respond


def test_an_error_stops_the_rest_at_once(server, start):
    hold(server, {"d": (404, {}, {})})
    endpoint = start()
    began = time.monotonic()
    failure(endpoint, *chat_requests("a", "b", "c", "d", "e"))
    endpoint.close()
    assert time.monotonic() - began < 5
    assert "e" not in {question(body) for body in server.bodies}


@pytest.fixture
def ctrl_c():
    """Let SIGINT raise, as in a terminal: a shell starts background jobs with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield press_ctrl_c
    signal.signal(signal.SIGINT, before)


def press_ctrl_c(when):
    """Send a SIGINT to the main thread once `when()` holds; the returned list then has its time."""
    pressed = []

    def press():
        while not when():
            time.sleep(0.005)
        pressed.append(time.monotonic())
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    return pressed


def test_ctrl_c_stops_at_once_and_keeps_the_cache(server, start, cache, ctrl_c):
    hold(server, {"a": (200, {}, completion("kept"))})
    endpoint = start()
    pressed = ctrl_c(lambda: cache.read_bytes() and len(server.bodies) == 3)
    with pytest.raises(KeyboardInterrupt), endpoint:
        list(endpoint.complete(chat_requests("a", "b", "c")))
    assert time.monotonic() - pressed[0] < 5
    (response,) = start().complete(chat_requests("a"))
    assert (response.text, response.cached) == ("kept", True)


def test_ctrl_c_ends_a_wait(server, start, ctrl_c):
    server.respond = lambda *_: (503, {"retry-after": "60"}, {})
    endpoint = start()
    pressed = ctrl_c(lambda: server.bodies)
    with pytest.raises(KeyboardInterrupt), endpoint:
        list(endpoint.complete(chat_requests("a")))
    assert time.monotonic() - pressed[0] < 5


def test_closing_cancels_requests_in_flight(server, start):
    hold(server, {"a": (200, {}, completion())})
    endpoint = start()
    responses = endpoint.complete(chat_requests("a", "b"))
    next(responses)
    began = time.monotonic()
    endpoint.close()
    assert time.monotonic() - began < 5


def test_closing(server, start, cache):
    endpoint = start()
    with closing(endpoint):
        list(endpoint.complete([chat_request()]))
    endpoint.close()
    assert endpoint.usage.requests == 1
    assert not any(thread.name == "endpoint" for thread in threading.enumerate())
    assert math.isclose(endpoint.usage.cost, 0.0)
