"""A judge behind a server: what is sent and how often, and what is kept.

The server is scripted: it runs on this machine and answers what a test tells it to.
"""

import math
import signal
import threading
import time
from contextlib import closing

import pytest
from srlm.errors import InputError
from srlm.evaluation.endpoint import Reply, Usage

from tests.scripted_server import KEY, ask, asks, cache, completion, echo, failure, question, server, start, texts

__all__ = ["cache", "server", "start"]  # fixtures


# --- asking -----------------------------------------------------------------------------------------------------------


def test_what_is_sent(server, start):
    (reply,) = start().ask([ask("mine", "Ünïcode 😀\u2028")])
    assert reply == Reply("mine", "re: Ünïcode 😀\u2028", "stop", cached=False)
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
    first = list(start().ask([ask(text="a\ud83db")]))
    assert [reply.text for reply in first] == ["a?b\ud800"]
    assert [reply.text for reply in start().ask([ask(text="a\ud83db")])] == ["a?b\ud800"]


def test_as_many_as_allowed_are_in_flight_and_no_more(server, start):
    together = threading.Barrier(3)

    def respond(body, number):
        together.wait(10)  # passes only when three are there at once
        time.sleep(0.01)
        return echo(body, number)

    server.respond = respond
    some = asks(*"abcdefghi")
    assert texts(start(concurrency=3).ask(some)) == {f"key {text}": f"re: {text}" for text in "abcdefghi"}
    assert server.most_in_flight == 3


def test_questions_are_taken_one_by_one(server, start):
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield ask(f"k{taken[-1]}", f"q{taken[-1]}")

    replies = start(concurrency=2).ask(endless())
    seen = {next(replies).key for _ in range(5)}
    replies.close()
    assert len(seen) == 5
    assert 5 <= len(taken) <= 7
    assert len(server.bodies) <= 7


def test_replies_come_as_they_finish(server, start):
    release = threading.Event()

    def respond(body, number):
        if question(body) == "slow":
            release.wait(10)
        return echo(body, number)

    server.respond = respond
    replies = start().ask(asks("slow", "quick", "quicker"))
    assert {next(replies).text for _ in range(2)} == {"re: quick", "re: quicker"}
    release.set()
    assert [reply.text for reply in replies] == ["re: slow"]


def test_replies_do_not_wait_for_questions(start, cache):
    asked_for = []

    def slow():
        for text in "abc":
            yield ask(text, text)
            while not cache.read_bytes():
                time.sleep(0.005)
            time.sleep(0.1)
            asked_for.append(text)

    replies = start().ask(slow())
    assert next(replies).key == "a"
    assert asked_for == ["a"]
    assert len(list(replies)) == 2


def test_what_is_left_is_taken_back(server, start):
    server.respond = lambda body, number: (503, {}, {}) if question(body) == "b" else echo(body, number)
    endpoint = start(first_wait=0.02, max_retries=1000)
    replies = endpoint.ask(asks("a", "b"))
    assert next(replies).key == "key a"
    replies.close()
    time.sleep(0.1)
    before = len(server.bodies)
    time.sleep(0.2)
    assert len(server.bodies) == before
    assert texts(endpoint.ask(asks("c"))) == {"key c": "re: c"}


def test_the_same_content_is_sent_once(server, start):
    endpoint = start(concurrency=2)
    some = [ask("a", "x"), ask("b", "y"), ask("c", "x"), ask("d", "y"), ask("e", "x")]
    replies = list(endpoint.ask(some))
    assert texts(replies) == {"a": "re: x", "b": "re: y", "c": "re: x", "d": "re: y", "e": "re: x"}
    assert sorted(reply.key for reply in replies if not reply.cached) == ["a", "b"]
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
def test_whatever_a_model_writes_is_a_reply(server, start, text, finish, expected):
    server.respond = lambda *_: (200, {}, completion(text, finish))
    first, again = (list(start().ask([ask()])) for _ in range(2))
    assert [(reply.text, reply.finish_reason) for reply in first + again] == [expected] * 2
    assert len(server.bodies) == 1


def test_usage_and_cost(server, start):
    usages = {"a": (1000, 200), "b": (500, 50), "c": None, "d": (7, None)}
    server.respond = lambda body, _: (200, {}, completion(usage=usages[question(body)]))
    endpoint = start(price_in=2.5, price_out=10.0)
    list(endpoint.ask(asks("a", "b", "c", "d")))
    list(endpoint.ask(asks("a")))
    # 1507 prompt tokens at 2.5 a million and 250 completion tokens at 10
    assert endpoint.usage == Usage(4, 1, 0, 1507, 250, pytest.approx(0.0037675 + 0.0025))
    again = start(price_in=2.5)
    list(again.ask(asks("a", "b")))
    assert again.usage == Usage(0, 2, 0, 0, 0, 0.0)


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_nothing_is_sent_twice(server, start, cache):
    with start() as endpoint:
        first = texts(endpoint.ask(asks("a", "b", "c")))
    again = list(start().ask(asks("c", "b", "a")))
    assert texts(again) == first
    assert all(reply.cached for reply in again)
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
def test_what_is_asked_names_the_answer(server, start, settings, changes, sent):
    list(start().ask([ask()]))
    (reply,) = start(**settings).ask([ask(**changes)])
    assert reply.cached is not sent
    assert len(server.bodies) == 1 + sent


def test_another_server_is_another_judge(server, start):
    list(start().ask([ask()]))
    (same,) = start(base_url=server.url + "/").ask([ask()])
    (other,) = start(base_url=server.url.replace("127.0.0.1", "localhost")).ask([ask()])
    assert (same.cached, other.cached) == (True, False)


def test_a_torn_line_is_asked_again(server, start, cache):
    with start(concurrency=1) as endpoint:
        list(endpoint.ask(asks("a", "b")))
    whole = cache.read_bytes()
    cache.write_bytes(whole[:-5])
    with start() as endpoint:
        assert [(reply.text, reply.cached) for reply in endpoint.ask(asks("a"))] == [("re: a", True)]
        assert [(reply.text, reply.cached) for reply in endpoint.ask(asks("b"))] == [("re: b", False)]
    assert cache.read_bytes() == whole


def test_a_broken_line_is_said(start, cache):
    cache.parent.mkdir()
    cache.write_text('{"id": "x", "text": "t", "finish_reason": "stop"}\nnonsense\n')
    with pytest.raises(InputError, match=r"cache\.jsonl, line 2: not valid JSON"):
        start()


def test_what_came_before_an_error_is_kept(server, start):
    server.respond = lambda body, number: echo(body, number) if number != 3 else (401, {}, {})
    failure(start(concurrency=1), *asks(*"abcdef"))
    assert len(server.bodies) == 4
    replies = list(start().ask(asks(*"abcdef")))
    assert sorted(reply.key for reply in replies if not reply.cached) == ["key d", "key e", "key f"]
    assert len(server.bodies) == 7


def test_an_answer_that_nobody_came_for_is_kept(server, start, cache):
    with start() as endpoint:
        replies = endpoint.ask(asks("a", "b", "c"))
        next(replies)
        deadline = time.monotonic() + 10
        while len(cache.read_bytes().splitlines()) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
        replies.close()
    assert all(reply.cached for reply in start().ask(asks("a", "b", "c")))


def hold(server, quick):
    """Let the server answer `quick` and hold everything else until the test is over."""
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
    failure(endpoint, *asks("a", "b", "c", "d", "e"))
    endpoint.close()
    assert time.monotonic() - began < 5
    assert "e" not in {question(body) for body in server.bodies}


@pytest.fixture
def ctrl_c():
    """SIGINT raises, as in a terminal: a shell starts its background jobs with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield press_ctrl_c
    signal.signal(signal.SIGINT, before)


def press_ctrl_c(when):
    """Send this process a SIGINT once `when()` holds, from a thread, and return where it puts down the time."""
    pressed = []

    def press():
        while not when():
            time.sleep(0.005)
        pressed.append(time.monotonic())
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    return pressed


def test_ctrl_c_stops_at_once_and_keeps_what_is_there(server, start, cache, ctrl_c):
    hold(server, {"a": (200, {}, completion("kept"))})
    endpoint = start()
    pressed = ctrl_c(lambda: cache.read_bytes() and len(server.bodies) == 3)
    with pytest.raises(KeyboardInterrupt), endpoint:
        list(endpoint.ask(asks("a", "b", "c")))
    assert time.monotonic() - pressed[0] < 5
    (reply,) = start().ask(asks("a"))
    assert (reply.text, reply.cached) == ("kept", True)


def test_ctrl_c_ends_a_wait(server, start, ctrl_c):
    server.respond = lambda *_: (503, {"retry-after": "60"}, {})
    endpoint = start()
    pressed = ctrl_c(lambda: server.bodies)
    with pytest.raises(KeyboardInterrupt), endpoint:
        list(endpoint.ask(asks("a")))
    assert time.monotonic() - pressed[0] < 5


def test_closing_takes_back_what_is_in_flight(server, start):
    hold(server, {"a": (200, {}, completion())})
    endpoint = start()
    replies = endpoint.ask(asks("a", "b"))
    next(replies)
    began = time.monotonic()
    endpoint.close()
    assert time.monotonic() - began < 5


def test_closing(server, start, cache):
    endpoint = start()
    with closing(endpoint):
        list(endpoint.ask([ask()]))
    endpoint.close()
    assert endpoint.usage.requests == 1
    assert not any(thread.name == "endpoint" for thread in threading.enumerate())
    assert math.isclose(endpoint.usage.cost, 0.0)
