"""Prompts, candidates and verdicts that share an engine have the rows that they would have one after the other."""

import random
import tracemalloc
from dataclasses import dataclass, replace

import pytest
from srlm import config as configuration
from srlm.engines.base import Completion
from srlm.errors import EngineError, WorkerError
from srlm.evaluation.tasks import AnswersTask, InstructionsTask
from srlm.models import chat
from srlm.rows.records import Candidate, Example, FailedRequest, Prompt, Verdict, read_rows, write_rows
from srlm.stages import pairs
from srlm.workers.jobs import Generate
from srlm.workers.overlap import overlapping
from srlm.workers.supervisor import Supervisor
from srlm.workers.tasks import CandidatesTask, JudgementsTask, PromptsTask, VerdictsTask

from tests.scripted import Interrupted, Recorder, ScriptedEngine, Unordered
from tests.stages.test_pair_selection import reader

CONFIG = configuration.build(
    {
        "model": {"name": "m"},
        "prompts": {"count": 5, "round_size": 3, "min_words": 1},
        "candidates": {"per_prompt": 3, "max_tokens": 40},
        "judge": {"samples": 2, "max_tokens": 30},
        "pairs": {"min_count": 1},
    }
)
SEEDS = [
    Example(f"s{word}", chat.user(f"Tell me about {word}"), [{"role": "assistant", "content": "Yes."}])
    for word in ("tea", "sun", "ice")
]
TOTAL = 6 + 5 * 3 + 5 * 3 * 2  # requests: one attempt is dropped


def write(request):
    """Return a text that depends on what a request is for only, as its seed does."""
    words = random.Random(request.seed)
    if request.sampling.max_tokens == CONFIG.judge.max_tokens:
        return f"Good.\nScore: {words.randint(0, 5)}"
    if request.sampling.stop and request.key.rpartition(":")[2] == "1":
        return "   "
    return " ".join("".join(words.choices("abcdefgh", k=5)) for _ in range(6))


@dataclass(frozen=True)
class Scripted(Generate):
    """Generates with a given engine."""

    engine: ScriptedEngine | None = None

    def load(self, report):
        return self.engine

    def check_weights(self, engine, report):
        return None


class Run:
    """The files of an iteration in a folder."""

    def __init__(self, folder):
        folder.mkdir()
        write_rows(folder / "ift.jsonl", SEEDS)
        self.files = {name: folder / f"{name}.jsonl" for name in ("prompts", "candidates", "verdicts")}
        self.prompts, self.candidates, self.verdicts = self.files.values()
        self.tasks = (
            PromptsTask("m2/prompts", folder / "ift.jsonl", self.prompts, folder / "prompts_dropped.jsonl"),
            CandidatesTask("m2/candidates", self.prompts, self.candidates),
            VerdictsTask("m2/verdicts", self.prompts, self.candidates, self.verdicts),
        )
        self.finished = {}

    def work(self, engine, tasks=None, **deaths):
        left = [task for task in tasks or self.tasks if task.name not in self.finished]
        return Scripted(CONFIG, "folder", 7, tuple(left), deaths, engine)

    def go(self, engine, tasks=None):
        """Run the tasks that are not finished; return the reporter."""
        report = Recorder()
        try:
            self.work(engine, tasks).run_tasks(report, self.finished.__setitem__)
        except EngineError as error:
            raise Interrupted from error
        return report

    @property
    def rows(self):
        by_id = [sorted(read_rows(file, kind), key=lambda row: row.id) for file, kind in self._unordered()]
        return (self.prompts.read_bytes(), *by_id)

    def _unordered(self):
        return (self.candidates, Candidate), (self.verdicts, Verdict)

    @property
    def pairs(self):
        file = self.prompts.with_name("pairs.jsonl")
        read = reader(self.verdicts, CONFIG.judge)
        pairs.write_pairs(self.prompts, self.candidates, file, read, pairs=CONFIG.pairs, seed=0)
        return file.read_bytes()


@pytest.fixture
def run(tmp_path):
    return lambda name="run": Run(tmp_path / name)


@pytest.fixture
def expected(run, tiny_tokenizer):
    """The stages one after the other."""
    one = run("expected")
    for task in one.tasks:
        one.go(ScriptedEngine(tiny_tokenizer, write), (task,))
    assert len(one.rows[1]) == 15
    assert len(one.rows[2]) == 30
    return one


def test_groups(run):
    prompts, candidates, verdicts = run().tasks
    other = JudgementsTask("seed/judgements", prompts.ift, prompts.file)
    answers = AnswersTask("m1/answers", prompts.ift, prompts.file)
    assert overlapping([other, prompts, candidates, verdicts]) == [[other], [prompts, candidates, verdicts]]
    assert overlapping([other, answers, prompts, candidates]) == [[other], [answers, prompts, candidates]]
    assert overlapping([candidates, verdicts, other]) == [[candidates, verdicts], [other]]
    assert overlapping([prompts, other, candidates]) == [[prompts], [other], [candidates]]
    assert overlapping([]) == []


ORDERS = {"first": lambda keys: keys[0], "last": lambda keys: keys[-1], "shuffled": random.Random(3).choice}


@pytest.mark.parametrize("most", [1, 2, 7, 100])
@pytest.mark.parametrize("choose", ORDERS.values(), ids=ORDERS)
def test_rows_and_pairs_are_those_of_stages_one_after_the_other(run, expected, tiny_tokenizer, choose, most):
    one = run()
    report = one.go(Unordered(tiny_tokenizer, write, choose=choose, most=most))
    assert (one.rows, one.pairs) == (expected.rows, expected.pairs)
    totals = {"prompts": 5, "candidates": 15, "verdicts": 30}
    assert report.starts == [(stage, total, 0) for stage, total in totals.items()]
    assert report.by_stage == totals
    assert report.in_flight == set()


@pytest.mark.parametrize("most", [1, 7, 100])
@pytest.mark.parametrize("after", [None, 0, 12, 40])
def test_answers_that_no_task_reads_share_the_engine(run, expected, tiny_tokenizer, tmp_path, most, after):
    """Their rows and results are those of a task that runs alone; the other stages come first."""
    held_out = [Prompt(f"h{number}", f"Question {number}", "seed", [], -1) for number in range(4)]
    write_rows(tmp_path / "held_out.jsonl", held_out)
    kinds = {"key": 1, "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    write_rows(tmp_path / "rules.jsonl", [{**kinds, "prompt": f"Say {number}"} for number in range(3)])

    def tasks(one):
        folder = one.prompts.parent
        return (
            AnswersTask("m1/answers", tmp_path / "held_out.jsonl", folder / "answers.jsonl"),
            InstructionsTask("m1/instructions", tmp_path / "rules.jsonl", folder / "instructions.jsonl"),
        )

    def found(one):
        rows = [sorted(read_rows(task.file, Candidate), key=lambda row: row.id) for task in tasks(one)]
        return rows, [{**one.finished[task.name], "seconds": 0} for task in tasks(one)]

    apart, one = run("apart"), run()
    for task in tasks(apart):
        apart.go(ScriptedEngine(tiny_tokenizer, write), (task,))
    every = (*tasks(one), *one.tasks)
    if after is not None:
        with pytest.raises(Interrupted):
            one.go(ScriptedEngine(tiny_tokenizer, write, fail_after=after), every)
    engine = Unordered(tiny_tokenizer, write, choose=ORDERS["first"], most=most)
    one.go(engine, every)
    assert (one.rows, one.pairs) == (expected.rows, expected.pairs)
    assert found(one) == found(apart)
    if after is None:
        assert engine.requests[0].sampling.stop  # a prompt's


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("group", [1, 4, 40])
@pytest.mark.parametrize("after", [*range(0, TOTAL, 3), TOTAL - 1])
def test_interrupted_and_resumed(run, expected, tiny_tokenizer, first, group, after):
    """With prompts, and with prompts that are done."""
    one = run()
    if first:
        one.go(ScriptedEngine(tiny_tokenizer, write), one.tasks[:1])
    with pytest.raises(Interrupted):
        one.go(ScriptedEngine(tiny_tokenizer, write, group=group, fail_after=min(after, TOTAL - 1 - 6 * first)))
    one.go(ScriptedEngine(tiny_tokenizer, write, group=group))
    assert (one.rows, one.pairs) == (expected.rows, expected.pairs)
    assert list(one.finished) == ["m2/prompts", "m2/candidates", "m2/verdicts"]


def test_interrupted_again_and_again(run, expected, tiny_tokenizer):
    one, asked = run(), 0
    while len(one.finished) < 3:
        engine = ScriptedEngine(tiny_tokenizer, write, group=5, fail_after=4)
        try:
            one.go(engine)
        except Interrupted:
            asked += len(engine.requests)
    assert one.rows == expected.rows
    assert asked > TOTAL


def test_the_engine_is_never_idle(run, tiny_tokenizer):
    """Except before the first prompt, and at the very end."""
    one, apart = run(), run("apart")
    full = Unordered(tiny_tokenizer, write, choose=ORDERS["first"], most=4)
    one.go(full)
    assert set(full.in_flight[1:-7]) == {4}  # at the end, the last candidates come before their verdicts
    nearly_idle = 0
    for task in apart.tasks:
        engine = Unordered(tiny_tokenizer, write, choose=ORDERS["first"], most=4)
        apart.go(engine, (task,))
        nearly_idle += sum(number < 4 for number in engine.in_flight)
    assert sum(number < 4 for number in full.in_flight) < nearly_idle


@pytest.mark.parametrize("has_processes", [True, False])
def test_an_engine_is_closed_if_it_has_processes(run, tiny_tokenizer, has_processes):
    engine = ScriptedEngine(tiny_tokenizer, write, group=2)
    engine.has_processes = has_processes
    run().go(engine)
    assert engine.closed == has_processes


def test_each_stage_is_finished_when_its_file_is_complete(run, tiny_tokenizer):
    one, seen = run(), []
    engine = ScriptedEngine(tiny_tokenizer, write, group=2)

    def finish(name, result):
        seen.append((name, {key: len(file.read_bytes().splitlines()) for key, file in one.files.items()}, result))

    one.work(engine).run_tasks(Recorder(), finish)
    (prompts, at_prompts, first), (candidates, at_candidates, second), (verdicts, at_verdicts, third) = seen
    assert (prompts, candidates, verdicts) == ("m2/prompts", "m2/candidates", "m2/verdicts")
    assert (first["rows"], second["rows"], third["rows"]) == (5, 15, 30)
    assert at_prompts["prompts"] == 5
    assert at_prompts["candidates"] < 15
    assert at_candidates["candidates"] == 15
    assert 0 < at_candidates["verdicts"] < 30
    assert at_verdicts["verdicts"] == 30
    asked = {name: [r for r in engine.requests if r.key.startswith(f"{n}:")] for n, name in enumerate("pvc")}
    lengths = {name: sum(len(request.prompt_ids) for request in some) for name, some in asked.items()}
    assert {"p": first["tokens_in"], "c": second["tokens_in"], "v": third["tokens_in"]} == lengths
    assert not any(file.with_name(f"{file.name}.rows").exists() for file in one.files.values())


def test_seconds_are_divided(run, tiny_tokenizer, monkeypatch):
    one, now = run(), [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def slow(request):
        now[0] += 2.0 if request.sampling.max_tokens == CONFIG.judge.max_tokens else 1.0
        return write(request)

    one.go(ScriptedEngine(tiny_tokenizer, slow))
    assert [one.finished[f"m2/{name}"]["seconds"] for name in one.files] == [6.0, 15.0, 60.0]


@pytest.mark.parametrize("lost", ["prompts", "candidates"])
@pytest.mark.parametrize("group", [1, 6])
def test_a_loss_of_power_takes_more_of_one_file(run, expected, tiny_tokenizer, lost, group):
    """Rows whose parents are lost are dropped, as the parents may come back with other texts."""
    one = run()
    with pytest.raises(Interrupted):
        one.go(ScriptedEngine(tiny_tokenizer, write, group=group, fail_after=TOTAL - 3))
    one.finished.clear()
    file = one.files[lost]
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:2]))

    def changed(request):
        return write(replace(request, seed=request.seed + 1)) if ":" in request.key else write(request)

    report = one.go(ScriptedEngine(tiny_tokenizer, changed, group=group))
    notes = [note for note in report.notes if "rows belong to rows that are lost" in note]
    assert len(notes) == (2 if lost == "prompts" else 1)
    assert [len(rows) for rows in one.rows[1:]] == [15, 30]
    assert one.pairs  # every verdict has its candidate, and every candidate its prompt


def test_requests_that_do_not_fit_do_not_hold_up_the_others(run, tiny_tokenizer):
    one = run()
    one.go(ScriptedEngine(tiny_tokenizer, write), one.tasks[:1])
    long = replace(read_rows(one.prompts, Prompt)[-1], id="long", text="word " * 3000)
    write_rows(one.prompts, [*read_rows(one.prompts, Prompt), long])
    one.go(ScriptedEngine(tiny_tokenizer, write, group=4))
    assert one.finished["m2/candidates"]["failed"] == {"too_long": 3}
    assert (one.finished["m2/candidates"]["rows"], one.finished["m2/verdicts"]["rows"]) == (15, 30)
    failed = read_rows(one.candidates.with_name("candidates_failed.jsonl"), FailedRequest)
    assert {row.key for row in failed} == {"long.0", "long.1", "long.2"}


@pytest.mark.parametrize("bad", ["candidate", "verdict", "prompt"])
def test_only_the_request_that_ends_every_engine_fails(run, expected, tiny_tokenizer, bad):
    """Whichever stage it is of; requests of the other stages are suspects for a while, and are answered."""
    one, works = run(), []
    chosen = {
        "prompt": lambda request: bool(request.sampling.stop) and request.key.rpartition(":")[2] == "1",
        "candidate": lambda request: request.seed == expected.rows[1][4].seed,
        "verdict": lambda request: request.seed % 30 == min(seeds) % 30 and request.seed == min(seeds),
    }
    seeds = []
    recorder = ScriptedEngine(tiny_tokenizer, lambda request: seeds.append(request.seed) or write(request))
    if bad == "verdict":
        copy = run("copy")
        copy.go(ScriptedEngine(tiny_tokenizer, write), copy.tasks[:2])
        copy.go(recorder)

    def deadly(request):
        if chosen[bad](request):
            raise RuntimeError("device-side assert")
        return write(request)

    def in_a_worker(work, finish):
        works.append(work)
        report = Recorder()
        try:
            replace(work, engine=ScriptedEngine(tiny_tokenizer, deadly, group=9)).run_tasks(report, finish)
        except EngineError as error:
            raise WorkerError("engine_error", str(error), frozenset(report.in_flight), answered=True) from error

    Supervisor(in_a_worker, Recorder()).run(one.work(None), one.finished.__setitem__)
    assert len(works) == 4
    stage = f"m2/{bad}s"
    assert one.finished[stage]["failed"] == {"engine_died": 1}
    assert one.finished[stage]["retries"] == {"engine_error": 3}
    assert [name for name, result in one.finished.items() if "failed" in result] == [stage]
    rows = [len(found) for found in one.rows[1:]]
    assert rows == {"candidate": [14, 28], "verdict": [15, 29], "prompt": [15, 30]}[bad]


class Endless:
    """An engine with a few requests in flight that stores nothing."""

    name = "endless"
    has_processes = False

    def __init__(self, tokenizer):
        self.tokenizer, self.sizes = tokenizer, {}

    def generate(self, requests):
        for request in requests:
            if request is not None:
                text = "Score: 3" if request.sampling.max_tokens == CONFIG.judge.max_tokens else "y" * 300
                yield Completion(request.key, [70_000] * 400, text, -1.0, "stop", [[]] * 400)

    def batches(self, requests):
        return [requests]

    def close(self):
        pass


def test_neither_candidates_nor_verdicts_are_kept_in_memory(run, tiny_tokenizer):
    few, many = run("few"), run("many")
    peaks = []
    for one, count in ((few, 5), (few, 5), (many, 300)):
        one.finished.clear()
        write_rows(one.prompts, (Prompt(f"p{n}", "x" * 500, "generated", ["a" * 16] * 8, n) for n in range(count)))
        one.candidates.unlink(missing_ok=True)
        one.verdicts.unlink(missing_ok=True)
        tracemalloc.start()
        one.go(Endless(tiny_tokenizer), one.tasks[1:])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert one.finished["m2/verdicts"]["rows"] == 300 * 3 * 2
    assert peaks[2] - peaks[1] < 800_000  # 24 MB as rows
