"""Pointwise head to head: the winner, the judge's calls, and answers without a score."""

import pytest
from srlm import config as configuration
from srlm.evaluation.pointwise import scores_file
from srlm.evaluation.tasks import CompareTask
from srlm.rows.records import Candidate, Comparison, Prompt, Verdict, read_rows, write_rows

from tests.scripted import Interrupted, Recorder, ScriptedEngine

PROMPTS = [Prompt(name, f"question {name}", "seed", [], -1) for name in ("won", "lost", "tied", "same", "unparseable")]
ANSWERS = {  # by prompt: (a's answer, its score's text), (b's answer, …)
    "won": (("wa", "Score: 4"), ("wb", "Score: 2")),
    "lost": (("la", "Score: 1"), ("lb", "Score: 5")),
    "tied": (("ta", "Score: 3"), ("tb", "Score: 3")),
    "same": (("sx", "Score: 3"), ("sx", "Score: 3")),
    "unparseable": (("ua", "no idea"), ("ub", "Score: 5")),
}


def config(**judge):
    sections = {"judge": {"samples": 1, "max_tokens": 16, **judge}, "head_to_head": {"by": "pointwise"}}
    return configuration.build({"model": {"name": "m"}} | sections)


def task(folder):
    write_rows(folder / "prompts.jsonl", PROMPTS)
    for side, name in enumerate("ab"):
        rows = [
            Candidate(f"{name}{row.id}", row.id, 0, ANSWERS[row.id][side][0], [1], -1.0, "stop", 0) for row in PROMPTS
        ]
        write_rows(folder / f"{name}.jsonl", rows)
    files = (folder / f"{name}.jsonl" for name in ("prompts", "a", "b", "vs_m1"))
    return CompareTask("m2/vs_m1", *files, "m1")


def engine(tokenizer, fail_after=None):
    replies = {text: reply for sides in ANSWERS.values() for text, reply in sides}
    asked = []

    def write(request):
        if len(asked) == fail_after:
            raise Interrupted
        question = tokenizer.decode(request.prompt_ids)
        asked.append(next(text for text in replies if f"\n{text}\n" in question))
        return replies[asked[-1]]

    return ScriptedEngine(tokenizer, write), asked


def test_the_higher_score_wins(tmp_path, tiny_tokenizer):
    scripted, asked = engine(tiny_tokenizer)
    found = task(tmp_path).run(scripted, config(), 0, Recorder())
    assert (found["wins"], found["losses"], found["ties"], found["unparseable"]) == (1, 1, 2, 1)
    assert found["win_rate"]["value"] == pytest.approx(0.5)
    assert (found["disagreements"], found["rows"], found["judge"]) == (None, 10, "m1")
    assert found["first_position_rate"] is None
    assert len(asked) == 9  # the answer of both models is scored once
    rows = {(row.prompt_id, row.first): row for row in read_rows(tmp_path / "vs_m1.jsonl", Comparison)}
    assert (rows["won", "a"].text, rows["won", "a"].verdict) == ("4 against 2", "first")
    assert (rows["won", "b"].text, rows["won", "b"].verdict) == ("2 against 4", "second")
    assert rows["unparseable", "a"].verdict == "missing"


def test_an_interrupted_comparison_resumes(tmp_path, tiny_tokenizer):
    stopped, _ = engine(tiny_tokenizer, fail_after=4)
    job = task(tmp_path)
    with pytest.raises(Interrupted):
        job.run(stopped, config(), 0, Recorder())
    assert not job.file.exists()
    scripted, asked = engine(tiny_tokenizer)
    found = job.run(scripted, config(), 0, Recorder())
    assert len(asked) == 5
    assert (found["wins"], found["losses"]) == (1, 1)
    assert len(read_rows(scores_file(job.file), Verdict)) == 9


def test_answers_that_are_too_long_are_not_scored(tmp_path, tiny_tokenizer):
    scripted, asked = engine(tiny_tokenizer)
    small = config().model_copy(update={"engine": config().engine.model_copy(update={"max_model_len": 20})})
    found = task(tmp_path).run(scripted, small, 0, Recorder())
    assert (found["unparseable"], asked) == (5, [])
