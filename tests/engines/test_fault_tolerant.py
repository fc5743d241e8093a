"""The fault-tolerant engine: token counts, failed requests, and requests in flight."""

import math
from dataclasses import replace

import pytest
from srlm.engines.base import Request, Sampling
from srlm.engines.fault_tolerant import FaultTolerantEngine
from srlm.errors import EngineError, StageError
from srlm.rows.records import FailedRequest, read_rows

from tests.scripted import Recorder, ScriptedEngine, completion

SAMPLING = Sampling(1.0, 1.0, 8)


def request(key, length=3):
    return Request(key, (7,) * length, SAMPLING, 0)


@pytest.fixture
def guarded(tiny_tokenizer, tmp_path):
    """Return a function that makes a fault-tolerant engine that answers "yes", its inner engine and the reporter."""

    def make(write=lambda _: "yes", deaths=(), longest=100, group=1):
        engine, report = ScriptedEngine(tiny_tokenizer, write, group=group), Recorder()
        return (
            FaultTolerantEngine(engine, "stage", tmp_path / "rows.jsonl", dict(deaths), longest, report),
            engine,
            report,
        )

    return make


def keys(engine):
    return [request.key for request in engine.requests]


def test_every_request_is_answered_and_counted(guarded):
    some, engine, report = guarded()
    found = list(some.generate(request(key) for key in "abc"))
    assert [done.key for done in found] == keys(engine) == list("abc")
    assert some.metrics() == {"engine": "scripted", "tokens_in": 9, "tokens_out": sum(len(d.token_ids) for d in found)}
    assert report.in_flight == set()


def test_a_request_that_does_not_fit_is_marked_as_failed_and_not_retried(guarded, tmp_path):
    some, engine, _ = guarded(longest=20)
    found = list(some.generate([request("a"), request("long", 13), request("just", 12)]))
    assert [done.key for done in found] == keys(engine) == ["a", "just"]
    file = tmp_path / "rows_failed.jsonl"
    assert some.metrics()["failed"] == {"too_long": 1}
    assert read_rows(file, FailedRequest) == [FailedRequest("long", "too_long", 13, 8)]
    again, engine, _ = guarded(longest=20)
    assert list(again.generate([request("long", 13)])) == []
    assert (keys(engine), again.metrics()["failed"]) == ([], {"too_long": 1})
    assert len(read_rows(file, FailedRequest)) == 1
    longer, engine, _ = guarded(longest=1000)
    assert [done.key for done in longer.generate([request("long", 13)])] == ["long"]
    assert "failed" not in longer.metrics()
    assert read_rows(file, FailedRequest) == []


def test_suspects_run_last_and_separately_and_fail_after_three_deaths(guarded):
    """Requests with one death run in batches of sqrt(n), with two deaths alone, with three never."""
    batches = []

    class Batched(ScriptedEngine):
        def generate(self, requests):
            batch = list(requests)
            batches.append([one.key for one in batch])
            return super().generate(batch)

    deaths = {**{str(number): 1 for number in range(9)}, "two": 2, "also": 2, "three": 3}
    some, engine, _ = guarded(deaths=deaths.items())
    some._engine = Batched(engine.tokenizer, lambda _: "yes")
    names = ["three", "two", *map(str, range(9)), "new", "also", "newer"]
    found = [done.key for done in some.generate(request(name) for name in names)]
    assert batches == [["new", "newer"], ["0", "1", "2"], ["3", "4", "5"], ["6", "7", "8"], ["two"], ["also"]]
    assert set(found) == set(names) - {"three"}
    assert some.metrics()["failed"] == {"engine_died": 1}


def test_requests_in_flight_are_known_when_an_engine_fails(guarded):
    def write(one):
        if one.key == "bad":
            raise RuntimeError("CUDA error: an illegal memory access")
        return "yes"

    some, _, report = guarded(write, group=2)
    with pytest.raises(EngineError, match="RuntimeError: CUDA error: an illegal memory access"):
        list(some.generate(request(key) for key in ("a", "b", "c", "bad", "e")))
    assert report.in_flight == {("stage", "c"), ("stage", "bad")}


def test_out_of_memory_is_not_an_engine_error(guarded):
    def write(_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    some, _, _ = guarded(write)
    with pytest.raises(RuntimeError, match="can't allocate"):
        list(some.generate([request("a")]))


def test_a_request_too_large_for_memory_is_an_engine_error(guarded):
    def write(_):
        raise EngineError("one request of 80 tokens does not fit in memory: CUDA out of memory")

    some, _, report = guarded(write)
    with pytest.raises(EngineError, match="one request of 80 tokens"):
        list(some.generate([request("a")]))
    assert report.in_flight == {("stage", "a")}


def test_a_stage_that_stops_early_leaves_no_request_in_flight(guarded):
    some, _, report = guarded(group=3)
    found = some.generate(request(key) for key in "abcde")
    next(found)
    assert report.in_flight
    found.close()
    assert report.in_flight == set()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_stop_the_stage(guarded, tiny_tokenizer, value):
    some, _, _ = guarded(lambda one: replace(completion(tiny_tokenizer, one, "yes"), logprob=value))
    with pytest.raises(StageError, match="log-probabilities of request a are not finite"):
        list(some.generate([request("a")]))


# --- stages that wait for completions ---------------------------------------------------------------------------------


class Chain:
    """A stage that asks for the next keys only when the one before has been answered or has failed."""

    def __init__(self, names, engine=None, width=1):
        self.names, self.engine, self.width = names, engine, width
        self.answered = set()

    def requests(self):
        for number, name in enumerate(self.names):
            while not all(map(self._is_settled, self.names[: max(0, number - self.width + 1)])):
                yield None
            yield request(name, 13 if name.startswith("long") else 3)

    def _is_settled(self, name):
        return name in self.answered or self.engine.has_failed(name)


def run(engine, stage):
    """Answer a stage's requests; return the keys in the order of the answers."""
    stage.engine, found = engine, []
    for done in engine.generate(stage.requests()):
        stage.answered.add(done.key)
        found.append(done.key)
    return found


def test_a_stage_may_wait_for_its_completions(guarded):
    some, engine, report = guarded(group=8)
    assert sorted(run(some, Chain("abcdef", width=2))) == keys(engine) == list("abcdef")
    assert report.in_flight == set()


def test_a_stage_may_wait_for_a_suspect_or_a_failed_request(guarded):
    """Suspects still run apart, when nothing else is in flight."""
    batches = []

    class Batched(ScriptedEngine):
        def generate(self, requests):
            batches.append([])
            for done in super().generate(requests):
                batches[-1].append(done.key)
                yield done

    names = ["a", "one", "long", "also", "b", "two", "three", "c"]
    some, engine, _ = guarded(deaths={"one": 1, "also": 1, "two": 2, "three": 3}.items(), longest=20)
    some._engine = Batched(engine.tokenizer, lambda _: "yes", group=2)
    assert run(some, Chain(names, width=3)) == ["a", "one", "also", "b", "c", "two"]
    assert batches == [["a"], ["one"], ["also"], ["b", "c"], ["two"]]
    assert some.metrics()["failed"] == {"too_long": 1, "engine_died": 1}


@pytest.mark.parametrize("first", [[], [request("a")]])
def test_a_stage_that_waits_for_nothing_is_an_error_of_the_stage(guarded, first):
    some, _, _ = guarded()
    with pytest.raises(RuntimeError, match="waits for a completion, but no request is in flight"):
        list(some.generate([*first, None, None]))


def test_an_error_while_building_a_request_is_the_stages(guarded):
    def broken():
        yield request("a")
        raise KeyError("p1")

    with pytest.raises(KeyError, match="p1"):
        list(guarded()[0].generate(broken()))
