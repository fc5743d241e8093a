"""Evaluation tasks with a scripted engine: requests, rows, results and resuming."""

import json
from dataclasses import replace

import pytest
from srlm import config as configuration
from srlm.evaluation.paired import read_cases
from srlm.evaluation.tasks import AnswersTask, CompareTask, CompareThroughEndpoint, InstructionsTask, JudgeTask
from srlm.rows.records import Candidate, CaseResult, Comparison, Prompt, RankedAnswers, Verdict, read_rows, write_rows

from tests.scripted import Interrupted, Recorder, ScriptedEngine
from tests.scripted_server import KEY, completion, question, server

__all__ = ["server"]  # a fixture


def ranked(*scores, name):
    texts = [f"{name} answer {index}" for index in range(len(scores))]
    return RankedAnswers(name, name, texts, [float(score) for score in scores], [""] * len(scores))


ROWS = [ranked(5, 3, 1, name="first"), ranked(1, 5, name="second"), ranked(5, 1, name="third")]
REPLIES = {  # by prompt and answer, for each sample
    "first": [["Score: 5", "Score: 3"], ["Score: 2", "no idea"], ["Score: 9", "Score: 1"]],
    "second": [["Score: 4", "Score: 4"], ["Score: 4", "Score: 4"]],
    "third": [["?", "?"], ["Score: 5", "Score: 3 or 4"]],
}


def build(**sections):
    return configuration.build({"model": {"name": "m"}, "judge": {"samples": 2, "max_tokens": 16}} | sections)


def judge_engine(tokenizer, **settings):
    asked = {}

    def write(request):
        text = tokenizer.decode(request.prompt_ids)
        row = next(row for row in ROWS if f"Question: {row.prompt}\n" in text)
        index = next(n for n, answer in enumerate(row.answers) if f"\n{answer}\n" in text)
        sample = asked[row.prompt, index] = asked.get((row.prompt, index), -1) + 1
        return REPLIES[row.prompt][index][sample]

    return ScriptedEngine(tokenizer, write, **settings)


def judge_task(tmp_path, rows=ROWS, name="verdicts", limit=None):
    data = tmp_path / f"{name}_data.jsonl"
    write_rows(data, rows)
    return JudgeTask("m1/judge_held_out", data, tmp_path / f"{name}.jsonl", of_run=True, limit=limit)


def test_judging_held_out_answers(tmp_path, tiny_tokenizer):
    task = judge_task(tmp_path)
    found = task.run(judge_engine(tiny_tokenizer), build(), 0, Recorder())
    # Means: first 4, 2, 1; second 4, 4 (a tie); third none, 5.
    assert (found["pairwise_accuracy"]["value"], found["tied"]["value"]) == (3.5 / 4, 1 / 4)
    assert (found["pairs"], found["pairs_unscored"], found["prompts_unscored"]) == (4, 1, 1)
    assert found["outcomes"] == {"scored": 9, "missing": 3, "out_of_range": 1, "conflicting": 1}
    assert len(read_rows(task.file, Verdict)) == found["rows"] == 14
    assert found["too_long"] == 0


def test_the_result_of_every_pair_is_kept(tmp_path, tiny_tokenizer):
    task = judge_task(tmp_path)
    found = task.run(judge_engine(tiny_tokenizer), build(), 0, Recorder())
    cases = read_cases(task.file)
    right = [case.value for case in cases["pairwise_accuracy"]]
    assert (sum(right) / len(right), len(right)) == (found["pairwise_accuracy"]["value"], found["pairs"])
    assert sum(case.value for case in cases["tied"]) / len(right) == found["tied"]["value"]
    assert len({case.id for case in cases["tied"]}) == 4
    assert len({case.prompt for case in cases["tied"]}) == 2
    assert {case.id for case in cases["tied"]} <= {
        f"{row.id}.{better}.{worse}" for row in ROWS for better in range(3) for worse in range(3)
    }


def test_prompts_that_choose_checkpoints_are_not_judged(tmp_path, tiny_tokenizer):
    exclude = tmp_path / "early_stop.jsonl"
    write_rows(exclude, [Prompt("p", ROWS[0].prompt.upper(), "seed", [], -1)])
    task = replace(judge_task(tmp_path, limit=1), exclude=exclude)
    found = task.run(judge_engine(tiny_tokenizer), build(), 0, Recorder())
    assert (found["prompts"], found["answers"]) == (1, len(ROWS[1].answers))  # the limit applies to the remainder


def test_judging_resumes_where_it_stopped(tmp_path, tiny_tokenizer):
    whole = judge_task(tmp_path, name="whole").run(judge_engine(tiny_tokenizer), build(), 0, Recorder())
    task = judge_task(tmp_path)
    with pytest.raises(Interrupted):
        task.run(judge_engine(tiny_tokenizer, fail_after=6), build(), 0, Recorder())  # the first prompt's
    engine = judge_engine(tiny_tokenizer)
    assert task.run(engine, build(), 0, Recorder()) == whole
    assert len(engine.requests) == 8


def test_the_same_answer_is_judged_once_and_counts_for_each(tmp_path, tiny_tokenizer):
    twice = [
        RankedAnswers("x", "q", ["good", "bad"], [5.0, 1.0], ["", ""]),
        RankedAnswers("y", "q", ["good", "other"], [1.0, 5.0], ["", ""]),
    ]
    engine = ScriptedEngine(
        tiny_tokenizer, lambda request: f"Score: {4 if 'good' in tiny_tokenizer.decode(request.prompt_ids) else 2}"
    )
    found = judge_task(tmp_path, twice).run(engine, build(judge={"samples": 1}), 0, Recorder())
    assert len(engine.requests) == found["rows"] == 3
    assert (found["pairs"], found["pairwise_accuracy"]["value"]) == (2, 0.5)
    assert found["outcomes"]["scored"] == 4


def test_the_limit_on_prompts(tmp_path, tiny_tokenizer):
    found = judge_task(tmp_path, limit=1).run(judge_engine(tiny_tokenizer), build(), 0, Recorder())
    assert (found["prompts"], found["answers"]) == (1, 3)


def test_answers_too_long_for_the_engine_are_skipped_and_counted(tmp_path, tiny_tokenizer):
    long = RankedAnswers("long", "long", ["word " * 2000, "short"], [5.0, 1.0], ["", ""])
    report = Recorder()
    config = build(engine={"max_model_len": 1500})
    found = judge_task(tmp_path, [*ROWS, long]).run(judge_engine(tiny_tokenizer), config, 0, report)
    assert (found["too_long"], found["prompts"]) == (1, 3)
    assert report.notes == ["m1/judge_held_out: skipped 1 prompts that are too long for engine.max_model_len"]


@pytest.mark.parametrize("of_run", [False, True])
def test_pairs_of_equal_answers_are_not_judged_and_counted(tmp_path, tiny_tokenizer, of_run):
    """Rows of equal answers do not count toward the limit; of three answers the equal two are no pair."""
    rows = [
        RankedAnswers("x", "q", ["same", "same \n"], [5.0, 1.0], ["", ""]),
        RankedAnswers("y", "r", ["good", "bad", "bad"], [5.0, 3.0, 1.0], ["", "", ""]),
    ]
    data, report = tmp_path / "data.jsonl", Recorder()
    if of_run:
        write_rows(data, rows)
    else:
        answers = [
            {
                "prompt": row.prompt,
                "answers": [{"text": t, "score": s} for t, s in zip(row.answers, row.scores, strict=True)],
            }
            for row in rows
        ]
        write_rows(data, answers)
    task = JudgeTask("m1/judge", data, tmp_path / "v.jsonl", of_run=of_run, limit=None if of_run else 1)
    engine = ScriptedEngine(
        tiny_tokenizer, lambda request: f"Score: {4 if 'good' in tiny_tokenizer.decode(request.prompt_ids) else 2}"
    )
    found = task.run(engine, build(judge={"samples": 1}), 0, report)
    assert len(engine.requests) == found["rows"] == 2
    assert (found["prompts"], found["pairs"], found["pairs_equal"]) == (1, 2, 2)
    assert found["pairwise_accuracy"]["value"] == found["exact_match"]["value"] == 1
    assert report.notes[0] == "m1/judge: dropped 2 pairs whose two answers are the same"


def test_a_preference_set_is_judged(tmp_path, tiny_tokenizer):
    data = tmp_path / "pandalm.json"
    data.write_text(
        '[{"instruction": "i", "input": "", "response1": "good", "response2": "bad", "annotator1": 1, "annotator2": 1,'
        ' "annotator3": 0}]',
        encoding="utf-8",
    )
    task = JudgeTask("m1/judge_pandalm", data, tmp_path / "v.jsonl", of_run=False)
    engine = ScriptedEngine(
        tiny_tokenizer, lambda request: f"Score: {4 if 'good' in tiny_tokenizer.decode(request.prompt_ids) else 2}"
    )
    found = task.run(engine, build(), 0, Recorder())
    assert found["pairwise_accuracy"]["value"] == 1
    # Of the two others where they agree: annotator 3 against 1 and 2 says "tie", one half; no other two agree.
    assert found["human_agreement"]["value"] == 0.5


PROMPTS = [Prompt("p", "question p", "seed", [], -1), Prompt("q", "word " * 300, "seed", [], -1)]


def test_answers_are_sampled_like_candidates(tmp_path, tiny_tokenizer):
    write_rows(tmp_path / "prompts.jsonl", PROMPTS)
    task = AnswersTask("m1/answers", tmp_path / "prompts.jsonl", tmp_path / "answers.jsonl")
    engine, report = ScriptedEngine(tiny_tokenizer, lambda _: "an answer"), Recorder()
    config = build(candidates={"max_tokens": 50, "temperature": 0.3}, engine={"max_model_len": 200})
    found = task.run(engine, config, 0, report)
    assert found == {"rows": 1, "mean_length": 9}
    assert [row.prompt_id for row in read_rows(task.file, Candidate)] == ["p"]
    assert engine.requests[0].sampling.temperature == 0.3
    assert report.notes == ["m1/answers: skipped 1 prompts that are too long for engine.max_model_len"]


def test_only_prompts_that_both_answered_are_compared(tmp_path, tiny_tokenizer):
    write_rows(tmp_path / "prompts.jsonl", PROMPTS)
    for name, keys in (("a", "pq"), ("b", "p")):
        rows = [Candidate(f"{name}{key}", key, 0, f"by {name}", [1], -1.0, "stop", 0) for key in keys]
        write_rows(tmp_path / f"{name}.jsonl", rows)
    files = [tmp_path / f"{name}.jsonl" for name in ("prompts", "a", "b", "comparisons")]
    task = CompareTask("m2/vs_m1", *files, "m1")
    engine = ScriptedEngine(
        tiny_tokenizer,
        lambda request: "Verdict: A" if "a>\nby a" in tiny_tokenizer.decode(request.prompt_ids) else "Verdict: B",
    )
    found = task.run(engine, build(), 0, Recorder())
    assert (found["prompts"], found["wins"], found["judge"], found["rows"]) == (1, 1, "m1", 2)
    assert {row.prompt_id for row in read_rows(files[3], Comparison)} == {"p"}
    assert read_cases(files[3]) == {"win_rate": [CaseResult("win_rate", "p", "p", 1.0)]}


def test_a_request_that_an_endpoint_refuses_has_no_verdict_and_a_note(tmp_path, server, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)

    def respond(body, _):
        return (
            (400, {}, {"error": "filtered"}) if "question 1" in question(body) else (200, {}, completion("Verdict: A"))
        )

    server.respond = respond
    results, report, files = compare_through(server, tmp_path)
    assert (results["m2/vs_m1"]["unparseable"], results["m2/vs_m1"]["usage"]["refused"]) == (1, 2)
    assert report.notes[0].startswith("m2/vs_m1: the endpoint refused 2 requests, which have no verdict; the first: ")
    assert "filtered" in report.notes[0]
    assert [row.verdict for row in read_rows(files[-1], Comparison)].count("missing") == 2


def test_replies_without_a_verdict_are_noted(tmp_path, server, monkeypatch):
    """Malformed ones, those that were cut off, and invalid lines of the cache, each once."""
    monkeypatch.setenv("JUDGE_KEY", KEY)
    (tmp_path / "cache.jsonl").write_text('{"id": "x", "text": ["t"], "finish_reason": "stop"}\n', encoding="utf-8")

    def respond(body, _):
        found = completion("Verdict: A")
        if "question 1" in question(body):
            found["choices"][0]["message"]["content"] = 3
        if "question 2" in question(body):
            found = completion(None, "length")
        return 200, {}, found

    server.respond = respond
    results, report, _ = compare_through(server, tmp_path)
    usage = results["m2/vs_m1"]["usage"]
    assert (results["m2/vs_m1"]["unparseable"], usage["unreadable"], usage["cut_off"]) == (2, 2, 2)
    assert [note.partition(";")[0] for note in report.notes] == [
        f"{tmp_path / 'cache.jsonl'}: 1 line is not a response",
        "m2/vs_m1: the replies to 2 requests were malformed, so these have no verdict",
        (
            "m2/vs_m1: 2 of the endpoint's replies were cut off at head_to_head.max_tokens (512), which counts "
            "reasoning too"
        ),
    ]
    _, report, _ = compare_through(server, tmp_path)
    assert not any("cache.jsonl" in note for note in report.notes)


def compare_through(server, tmp_path):
    """Compare three answers of two models through the endpoint; returns results, reporter and files."""
    prompts = [Prompt(f"p{n}", f"question {n}", "seed", [], -1) for n in range(3)]
    write_rows(tmp_path / "prompts.jsonl", prompts)
    for side in "ab":
        rows = [Candidate(f"{side}{n}", f"p{n}", 0, f"{side} says {n}", [1], -1.0, "stop", 0) for n in range(3)]
        write_rows(tmp_path / f"{side}.jsonl", rows)
    endpoint = {"base_url": server.url, "model": "judge", "api_key_env": "JUDGE_KEY", "concurrency": 1}
    files = [tmp_path / f"{name}.jsonl" for name in ("prompts", "a", "b", "comparisons")]
    work = CompareThroughEndpoint(
        build(endpoint=endpoint), tmp_path / "cache.jsonl", (CompareTask("m2/vs_m1", *files, "judge (endpoint)"),)
    )
    results, report = {}, Recorder()
    work.run(report, results.__setitem__)
    return results, report, files


def test_an_instruction_prompt_whose_request_failed_counts_as_not_followed(tmp_path, tiny_tokenizer):
    rows = [
        {"key": key, "prompt": f"The {key} prompt.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
        for key in ("first", "second", "third", "fourth")
    ]
    (tmp_path / "rules.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    task = InstructionsTask("m1/instructions", tmp_path / "rules.jsonl", tmp_path / "rows.jsonl")
    report = Recorder()
    failing = "second"
    engine = ScriptedEngine(
        tiny_tokenizer,
        lambda _: "fine",
        fails=lambda request: failing in tiny_tokenizer.decode(request.prompt_ids),
    )
    found = task.run(engine, build(evaluate={"instructions_max_tokens": 8}), 0, report)
    assert (found["rows"], found["unanswered"]) == (3, 1)
    assert (found["prompt_strict"]["value"], found["prompt_strict"]["n"]) == (0.75, 4)
    assert found["by_kind"]["punctuation:no_comma"]["n"] == 4
    assert report.notes == ["m1/instructions: 1 of 4 prompts have no response; they count as not followed"]
    report = Recorder()
    failing = "never"
    found = task.run(engine, build(evaluate={"instructions_max_tokens": 8}), 0, report)  # resumes: one request
    assert (found["prompt_strict"]["value"], found["unanswered"], report.notes) == (1.0, 0, [])
