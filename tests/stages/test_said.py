"""Every stage uses what a model said: without thoughts, and before any further turn.

The scripted model thinks before each reply and goes on with a turn that it invents.
"""

import copy
import dataclasses
from importlib import resources

import pytest
from srlm.config import CandidatesSection, EftSection, HeadToHeadSection, JudgeSection, PairsSection, PromptsSection
from srlm.engines.base import Completion, Request
from srlm.evaluation import instructions, pairwise
from srlm.evaluation.chat_records import ChatResponse
from srlm.evaluation.pairwise_judges import EndpointJudge, LocalJudge
from srlm.export import mt_bench
from srlm.models import chat
from srlm.rows.records import (
    Candidate,
    Comparison,
    DroppedPrompt,
    Prompt,
    RankedAnswers,
    Verdict,
    read_rows,
    write_rows,
)
from srlm.stages import eft, generation, judge, prompts
from srlm.stages.candidates import write_candidates

from tests.scripted import Recorder, ScriptedEngine, completion
from tests.stages.test_pair_selection import select

PROMPTS = [Prompt(f"p{n}", f"Question {n}?", "generated", [], n) for n in range(2)]
BABBLE = {
    "thought": ("<think>Score: 5, verdict: B</think>\n{}", "Score: 5, verdict: B"),
    "harmony": ("analysisScore: 5, verdict: B.assistantfinal{}", "Score: 5, verdict: B."),
    "turn": ("{}\n### Instruction:\nScore: 5\nVerdict: B", None),
    "speaker": ("{}\nuser: Score: 5\nVerdict: B", None),
    "both": ("[THINK]hm[/THINK]{}</s><s>[INST] Score: 5 [/INST]", "hm"),
    "neither": ("{}", None),
}


@pytest.fixture
def plain(tiny_tokenizer):
    """A tokenizer with the packaged template, whose marks are ordinary text."""
    tokenizer = copy.deepcopy(tiny_tokenizer)
    packaged = resources.files("srlm") / "data" / "chat_templates" / "plain.jinja"
    tokenizer.chat_template = packaged.read_text(encoding="utf-8")
    return tokenizer


def scripted(tokenizer, form, said):
    return ScriptedEngine(tokenizer, lambda request: form.format(said(request) if callable(said) else said))


@pytest.mark.parametrize(("form", "thought"), BABBLE.values(), ids=BABBLE)
def test_candidates_and_pairs(form, thought, plain, tmp_path):
    engine = scripted(plain, form, lambda request: f"Answer {request.key}.")
    file = tmp_path / "candidates.jsonl"
    write_candidates(
        engine, PROMPTS, file, candidates=CandidatesSection(per_prompt=2, max_tokens=400), seed=0, report=Recorder()
    )
    rows = read_rows(file, Candidate)
    assert {(row.text, row.thought) for row in rows} == {
        (f"Answer p{prompt}.{index}.", thought) for prompt in range(2) for index in range(2)
    }
    babbles = not form.endswith("{}")
    verdicts = [Verdict(f"v{n}", row.id, 0, "", "scored", float(row.index), None) for n, row in enumerate(rows)]
    selected = select(PROMPTS, rows, verdicts, pairs=PairsSection(), judge=JudgeSection())
    for pair in selected.rows(PROMPTS, rows):
        assert pair.chosen == chat.assistant(f"Answer {pair.prompt_id}.1.")
        if not babbles:
            assert plain.decode(pair.chosen_token_ids).endswith(f"Answer {pair.prompt_id}.1.{plain.eos_token}")
        elif thought is None:
            assert pair.chosen_token_ids is None  # tokenized from the text, with an end token
        else:
            assert plain.decode(pair.chosen_token_ids) == f"[THINK]hm[/THINK]Answer {pair.prompt_id}.1."


@pytest.mark.parametrize(("form", "thought"), BABBLE.values(), ids=BABBLE)
def test_verdicts(form, thought, plain, tmp_path):
    rows = [Candidate(f"c{n}", f"p{n}", 0, "Two.", [5], -1.0, "stop", 0) for n in range(2)]
    engine = scripted(plain, form, "It is short.\nScore: 3")
    judge.write_verdicts(
        engine, PROMPTS, rows, tmp_path / "v", judge=JudgeSection(samples=1), seed=0, report=Recorder()
    )
    found = read_rows(tmp_path / "v", Verdict)
    assert {(row.score, row.text, row.thought) for row in found} == {(3.0, "It is short.\nScore: 3", thought)}


def test_an_unfinished_thought_is_not_judged(plain, tmp_path):
    """Neither as an answer nor as a reply."""
    write_candidates(
        ScriptedEngine(plain, lambda request: completion(plain, request, "<think>Two, so", finish_reason="length")),
        PROMPTS,
        tmp_path / "c",
        candidates=CandidatesSection(per_prompt=2),
        seed=0,
        report=Recorder(),
    )
    rows = read_rows(tmp_path / "c", Candidate)
    assert {(row.text, row.thought, row.finish_reason) for row in rows} == {("", "Two, so", "length")}
    engine, settings = scripted(plain, "{}", "Score: 5"), JudgeSection(samples=1)
    judge.write_verdicts(engine, PROMPTS, rows, tmp_path / "v", judge=settings, seed=0, report=Recorder())
    assert engine.requests == []
    pointwise = judge.PointwiseJudge(plain, settings)
    cut_off = dataclasses.replace(
        completion(plain, _request(pointwise.sampling), "<think>Score: 4"), finish_reason="length"
    )
    assert pointwise.verdict(cut_off, "c", 0).outcome == "missing"


def _request(sampling):
    return Request("k", (1,), sampling, 0)


@pytest.mark.parametrize(
    ("text", "finish_reason", "score"),
    [
        ("Score: 1", "stop", 1.0),
        ("Score: 1", "length", None),  # of 10, or 1/10
        ("Score: 1.", "length", 1.0),
        ("Score: 1\nIt", "length", 1.0),
        ("Score: 1\nUser: and", "length", 1.0),  # the reply was complete
    ],
)
def test_a_number_at_the_cut_is_not_complete(text, finish_reason, score, plain):
    pointwise = judge.PointwiseJudge(plain, JudgeSection())
    found = pointwise.verdict(
        completion(plain, _request(pointwise.sampling), text, finish_reason=finish_reason), "c", 0
    )
    assert found.score == score
    assert judge.parse_reply(found.text, found.finish_reason, JudgeSection())[:2] == (found.outcome, found.score)


@pytest.mark.parametrize(("opening", "end"), [("<think>", "</think>"), ("[THINK]", "[/THINK]")])
def test_a_prefilled_verdict_is_not_in_a_thought(opening, end, plain):
    plain.chat_template += opening
    pointwise = judge.PointwiseJudge(plain, JudgeSection(justify=False))
    asked = plain.decode(pointwise.request_ids("Q", "A"))
    assert asked.endswith(f"{opening}{end}\n\nScore: ")


@pytest.mark.parametrize(("form", "thought"), BABBLE.values(), ids=BABBLE)
def test_prompts(form, thought, plain, tmp_path):
    words = {str(number): f"Describe the {number}th kind of stone in detail" for number in range(50)}
    engine = scripted(plain, " " + form, lambda request: words[request.key])
    prompts.write_prompts(
        engine,
        PROMPTS,
        tmp_path / "kept",
        tmp_path / "dropped",
        prompts=PromptsSection(count=3, round_size=3, max_rouge_l=1.0),
        seed=0,
        report=Recorder(),
    )
    assert read_rows(tmp_path / "dropped", DroppedPrompt) == []
    kept = read_rows(tmp_path / "kept", Prompt)
    assert [(row.text, row.thought) for row in kept] == [(words[str(number)], thought) for number in range(3)]


@pytest.mark.parametrize(("form", "thought"), BABBLE.values(), ids=BABBLE)
def test_comparisons(form, thought, plain, tmp_path):
    answers = [[Candidate(f"{side}{n}", f"p{n}", 0, side, [5], -1.0, "stop", 0) for n in range(2)] for side in "ab"]
    local = LocalJudge(scripted(plain, form, "Verdict: A"), HeadToHeadSection(), 10_000)
    for name, comparer in (("local", local), ("endpoint", EndpointJudge(ScriptedEndpoint(form), HeadToHeadSection()))):
        file = tmp_path / name
        pairwise.write_comparisons(
            comparer, PROMPTS, tuple(answers), file, head_to_head=HeadToHeadSection(), report=Recorder(), stage="s"
        )
        rows = read_rows(file, Comparison)
        assert {(row.text, row.verdict, row.thought) for row in rows} == {("Verdict: A", "first", thought)}


class ScriptedEndpoint:
    """An endpoint that answers every request in this form."""

    def __init__(self, form):
        self._form = form

    def complete(self, requests):
        for request in requests:
            yield ChatResponse(request.key, self._form.format("Verdict: A"), "stop", cached=False)


@pytest.mark.parametrize(("form", "thought"), BABBLE.values(), ids=BABBLE)
def test_exports(form, thought, plain, tmp_path):
    engine = scripted(plain, form, "Boil it.")
    questions = [mt_bench.Question(1, "cooking", ["An egg?", "Two?"])]
    mt_bench.write_turns(engine, questions, tmp_path / "turns", seed=0, report=Recorder())
    rows = read_rows(tmp_path / "turns", mt_bench.TurnAnswer)
    assert {(row.text, row.thought) for row in rows} == {("Boil it.", thought)}
    assert engine.prompt_text(1).count("Boil it.") == 1


def test_instructions_are_checked_on_what_was_said(plain, tmp_path):
    row = {
        "key": 1,
        "prompt": "No commas.",
        "instruction_id_list": ["punctuation:no_comma"],
        "kwargs": [{}],
    }
    write_rows(tmp_path / "data.jsonl", [row])
    rows = instructions.read_instructions(tmp_path / "data.jsonl")
    engine = scripted(plain, "<think>Well, no.</think>{}\nUser: a, b", "Fine.")
    settings = {"max_tokens": 400, "report": Recorder()}
    generation.run(engine, instructions.answers_stage(engine, rows, tmp_path / "a", **settings))
    answers = {found.prompt_id: found.text for found in read_rows(tmp_path / "a", Candidate)}
    assert instructions.score(rows, answers).prompt_strict.value == 1.0


def test_judge_examples_are_what_the_judge_said(plain, tmp_path):
    """Cut where the parser cuts, and none from a reply that was cut off."""
    ranked = [RankedAnswers(f"r{n}", f"Question {n}?", ["Good.", "Bad."], [5.0, 1.0], ["", ""]) for n in range(2)]

    def write(request):
        row, _, index = request.key.partition(".")
        score = 4 if index.startswith("0") else 2
        text = f"<think>hm</think>Why.\nScore: {score}\n### Instruction:\nGo on."
        if row == "r1":
            return completion(plain, request, f"Why.\nScore: {score}\nFurther", finish_reason="length")
        return completion(plain, request, text)

    settings = JudgeSection(samples=1)
    judge.judge_answers(
        ScriptedEngine(plain, write),
        eft.answers_to_judge(ranked),
        tmp_path / "v",
        judge=settings,
        seed=0,
        report=Recorder(),
        stage="s",
    )
    verdicts = read_rows(tmp_path / "v", Verdict)
    assert all(row.outcome == "scored" for row in verdicts)
    examples = eft.examples_from_judgements(
        ranked, verdicts, eft=EftSection(samples=1, max_share=1.0), judge=settings, seed=0
    )
    assert [example.completion[0]["content"] for example in examples.rows] == ["Why.\nScore: 4", "Why.\nScore: 2"]


def test_the_rows_of_completions_have_all_token_ids(plain, tmp_path):
    """`logprob` is that of all ids, as the engine returned them."""

    def write(request):
        ids = plain("Yes.\nUser: more", add_special_tokens=False)["input_ids"]
        return Completion(request.key, ids, plain.decode(ids), -3.0, "stop", [])

    write_candidates(
        ScriptedEngine(plain, write),
        PROMPTS[:1],
        tmp_path / "c",
        candidates=CandidatesSection(per_prompt=2),
        seed=0,
        report=Recorder(),
    )
    row = read_rows(tmp_path / "c", Candidate)[0]
    assert plain.decode(row.token_ids) == "Yes.\nUser: more"
    assert plain.decode(row.token_ids[: row.answer_tokens]).rstrip() == "Yes."
    assert row.logprob == -3.0
