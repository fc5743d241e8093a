"""Several stages that share one call of an engine."""

import pytest
from srlm.engines.stage_requests import StageRequests
from srlm.engines.together import generate_together

from tests.engines.test_fault_tolerant import Chain, keys, request
from tests.scripted import Recorder, ScriptedEngine


@pytest.fixture
def stage(tmp_path):
    """Return a function that makes the requests of a stage, with its engine deaths."""
    report = Recorder()
    return lambda name, deaths=(): StageRequests(name, tmp_path / f"{name}.jsonl", dict(deaths), 100, report)


def answers(engine, *stages):
    return [(number, done.key) for number, done in generate_together(engine, stages)]


def test_the_first_stage_that_has_a_request_goes_first(tiny_tokenizer, stage):
    """Equal keys of two stages are not confused."""
    engine = ScriptedEngine(tiny_tokenizer, lambda _: "yes", group=3)
    one, two = stage("one"), stage("two")
    found = answers(engine, (one, map(request, "ab")), (two, map(request, "abc")))
    assert keys(engine) == ["0:a", "0:b", "1:a", "1:b", "1:c"]
    assert found == [(1, "a"), (0, "b"), (0, "a"), (1, "c"), (1, "b")]
    assert (one.tokens["tokens_in"], two.tokens["tokens_in"]) == (6, 9)


def test_a_stage_that_waits_leaves_the_engine_to_the_other(tiny_tokenizer, stage):
    engine, one, two = ScriptedEngine(tiny_tokenizer, lambda _: "yes", group=2), stage("one"), stage("two")
    first, found = Chain("abcd", one), []
    for number, done in generate_together(engine, [(one, first.requests()), (two, map(request, "xyz"))]):
        found.append((number, done.key))
        if number == 0:
            first.answered.add(done.key)
    assert keys(engine) == ["0:a", "1:x", "0:b", "1:y", "0:c", "1:z", "0:d"]
    assert sorted(found) == [*((0, key) for key in "abcd"), *((1, key) for key in "xyz")]


def test_a_stage_may_wait_for_a_suspect_of_another(tiny_tokenizer, stage):
    engine = ScriptedEngine(tiny_tokenizer, lambda _: "yes", group=4)
    one, two, seen = stage("one"), stage("two", {"x": 1, "z": 1}), []

    def behind():
        while (1, "x") not in seen:
            yield None
        yield request("a")

    for number, done in generate_together(engine, [(one, behind()), (two, map(request, "xyz"))]):
        seen += [(number, done.key)]
    assert seen == [(1, "y"), (1, "x"), (1, "z"), (0, "a")]


def test_is_idle_only_when_every_suspect_has_run(tiny_tokenizer, stage):
    engine, one = ScriptedEngine(tiny_tokenizer, lambda _: "yes"), stage("one", {"a": 2, "b": 2})
    assert [one.is_idle for _ in generate_together(engine, [(one, map(request, "abc"))])] == [False, False, True]


def test_requests_in_flight_are_those_of_each_stage(tiny_tokenizer, tmp_path):
    report = Recorder()
    stages = [StageRequests(name, tmp_path / name, {}, 100, report) for name in ("one", "two")]
    engine = ScriptedEngine(tiny_tokenizer, lambda _: "yes", group=4)
    drawn = generate_together(engine, [(stages[0], map(request, "ab")), (stages[1], map(request, "ab"))])
    assert next(drawn)[0] == 1
    assert report.in_flight == {("one", "a"), ("one", "b"), ("two", "a")}
    drawn.close()
    assert report.in_flight == set()
