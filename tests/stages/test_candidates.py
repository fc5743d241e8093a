"""Candidate answers: the requests, the rows, and resuming after an interruption."""

import tracemalloc

import pytest
from srlm.config import CandidatesSection
from srlm.engines.base import Completion
from srlm.models import chat
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import Candidate, Prompt, read_rows, write_rows
from srlm.stages.candidates import write_candidates

from tests.scripted import Interrupted, Recorder, ScriptedEngine

PROMPTS = [Prompt(f"p{n}", f"Question {n}?", "generated", [], n) for n in range(4)]


def draw(request):
    """Return ids that no tokenizer would return for this text."""
    last = "length" if request.key.endswith("1") else "stop"
    ids = [97, 98, request.seed % 200, 2]
    return Completion(request.key, ids, f"answer {request.key}", -request.seed / 7, last, [[]] * 4)


@pytest.fixture
def write(tmp_path, tiny_tokenizer):
    """Return a function that writes to a file of a name, and returns the engine, the reporter and the rows."""

    def write(name, *, seed=0, prompts=PROMPTS, section=None, **settings):
        engine, report = ScriptedEngine(tiny_tokenizer, draw, **settings), Recorder()
        file = tmp_path / name
        section = section or CandidatesSection(per_prompt=3, max_tokens=40)
        try:
            write_candidates(engine, prompts, file, candidates=section, seed=seed, report=report)
        except Interrupted:
            engine.interrupted = True
        return engine, report, read_rows(file, Candidate)

    return write


def test_rows(write):
    engine, report, rows = write("candidates")
    assert {(row.prompt_id, row.index) for row in rows} == {(f"p{n}", index) for n in range(4) for index in range(3)}
    assert len(rows) == len({row.id for row in rows}) == len({row.seed for row in rows}) == 12
    for row, request in zip(rows, engine.requests, strict=True):
        assert row.token_ids == [97, 98, request.seed % 200, 2]
        assert (row.text, row.logprob) == (f"answer {row.prompt_id}.{row.index}", -request.seed / 7)
        assert row.finish_reason == ("length" if row.index == 1 else "stop")
        assert row.seed == request.seed
    assert (report.starts, report.advanced) == ([("candidates", 12, 0)], 12)


def test_requests(write, tiny_tokenizer):
    section = CandidatesSection(per_prompt=2, temperature=0.4, top_p=0.8, max_tokens=7)
    engine, _, rows = write("candidates", section=section)
    for row, request in zip(rows, engine.requests, strict=True):
        text = next(prompt.text for prompt in PROMPTS if prompt.id == row.prompt_id)
        assert request.prompt_ids == chat.prompt_ids(tiny_tokenizer, chat.user(text))
        sampling = request.sampling
        assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0.4, 0.8, 7)
        assert (sampling.stop, sampling.logprob_token_ids) == ((), ())


def test_seed_determines_the_samples(write):
    seeds = [{row.seed for row in write(f"{name}", seed=seed)[2]} for name, seed in [("a", 1), ("b", 1), ("c", 2)]]
    assert seeds[0] == seeds[1]
    assert not seeds[0] & seeds[2]


@pytest.mark.parametrize("group", [1, 5])
@pytest.mark.parametrize("after", [0, 1, 5, 11])
def test_written_one_by_one_and_resumed(write, after, group):
    _, _, undisturbed = write("undisturbed")
    _, report, first = write("candidates", fail_after=after, group=group)
    assert len(first) == report.advanced == after
    engine, report, rows = write("candidates", group=group)
    assert rows[:after] == first
    assert len(engine.requests) == 12 - after
    assert {(row.prompt_id, row.index) for row in first}.isdisjoint(
        {tuple(request.key.split(".")) for request in engine.requests}
    )
    assert (report.starts, report.advanced) == ([("candidates", 12, after)], 12 - after)
    assert sorted(rows, key=lambda row: row.id) == sorted(undisturbed, key=lambda row: row.id)


def test_torn_last_line(write, tmp_path):
    _, _, undisturbed = write("candidates")
    file = tmp_path / "candidates"
    file.write_bytes(file.read_bytes()[:-20])
    engine, _, rows = write("candidates")
    assert [request.key for request in engine.requests] == ["p3.2"]
    assert rows == undisturbed


def test_finished(write):
    write("candidates")
    engine, report, rows = write("candidates")
    assert (engine.requests, len(rows), report.starts) == ([], 12, [("candidates", 12, 12)])


def test_unusual_text_round_trips(tmp_path, tiny_tokenizer):
    text = 'a\u2028b\u0085c\r\nd\x0b"\\ud800" \ud800 \U0001f600\0'
    engine = ScriptedEngine(tiny_tokenizer, lambda request: Completion(request.key, [2], text, -1.0, "stop", [[]]))
    file = tmp_path / "candidates"
    section = CandidatesSection(per_prompt=2)
    write_candidates(engine, PROMPTS[:1], file, candidates=section, seed=0, report=Recorder())
    assert file.read_bytes().count(b"\n") == 2
    assert [row.text for row in read_rows(file, Candidate)] == [text] * 2


def test_a_repeated_prompt_is_answered_once(write):
    engine, report, rows = write("candidates", prompts=[*PROMPTS, PROMPTS[0]])
    assert (len(engine.requests), len(rows), report.starts) == (12, 12, [("candidates", 15, 3)])


def test_rows_of_other_prompts_and_extra_answers_do_not_count(write):
    write("candidates")
    _, report, rows = write("candidates", prompts=PROMPTS[1:2], section=CandidatesSection(per_prompt=2))
    assert (len(rows), report.starts) == (12, [("candidates", 2, 2)])


class Endless:
    """An engine that stores nothing."""

    def __init__(self, tokenizer, text):
        self.tokenizer, self._text = tokenizer, text

    def generate(self, requests):
        for request in requests:
            yield Completion(request.key, [70_000] * 400, self._text, -1.0, "stop", [[]] * 400)


def test_neither_prompts_nor_answers_are_kept_in_memory(tmp_path, tiny_tokenizer):
    prompts, file = tmp_path / "prompts", tmp_path / "candidates"
    write_rows(prompts, (Prompt(f"p{n}", "x" * 500, "generated", ["a" * 16] * 8, n) for n in range(300)))
    section, report = CandidatesSection(per_prompt=4), Recorder()
    settings = {"candidates": section, "seed": 0, "report": report}
    engine = Endless(tiny_tokenizer, "y" * 300)
    write_candidates(engine, [], tmp_path / "none", **settings)  # load lazily imported modules
    tracemalloc.start()
    write_candidates(engine, RowFile(prompts, Prompt), file, **settings)
    write_candidates(engine, RowFile(prompts, Prompt), file, **settings)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.starts[1:] == [("candidates", 1_200, 0), ("candidates", 1_200, 1_200)]
    assert peak < 1_500_000  # 32 MB as rows
