"""Head to head: the judge prompt, the verdict, both orders, and the results."""

import math
import random

import pytest
from srlm.config import HeadToHeadSection
from srlm.engines.base import Completion
from srlm.errors import InputError
from srlm.evaluation import pairwise
from srlm.evaluation.pairwise import (
    IDENTICAL,
    JudgeOutput,
    fill,
    head_to_head_result,
    parse_verdict,
    read_template,
    write_comparisons,
)
from srlm.evaluation.pairwise_judges import LocalJudge, verdict_tokens
from srlm.native import PromptEscaper
from srlm.rows.records import Candidate, Comparison, Prompt, read_rows

from tests.scripted import Interrupted, Recorder, ScriptedEngine, completion

HEAD_TO_HEAD = HeadToHeadSection()


def prompt(key):
    return Prompt(key, f"question {key}", "seed", [], -1)


def answer(key, text):
    return Candidate(f"c{key}{text}", key, 0, text, [1], -1.0, "stop", 0)


# --- the judge prompt -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("justify", [True, False])
def test_the_packaged_prompts_have_every_field_once(justify):
    template = read_template(HeadToHeadSection(justify=justify))
    assert all(template.count(field) == 1 for field in pairwise.FIELDS)
    assert template.endswith("Verdict: A")


def test_a_custom_prompt(tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text("{prompt}: {second} or {first}?\n", encoding="utf-8")
    section = HeadToHeadSection(prompt_file=str(file))
    assert fill(read_template(section), "q", "one", "two") == "q: two or one?"
    file.write_text("{prompt} {first} {first}", encoding="utf-8")
    with pytest.raises(InputError, match=r"head_to_head.prompt_file .*\{first\} occurs 2 times"):
        read_template(section)


def test_fields_and_braces_in_the_data_stay_text():
    filled = fill("{prompt}|{first}|{second}", "{first}", "{second}", "{prompt} {x}")
    assert filled == "{first}|{second}|{prompt} {x}"


@pytest.mark.parametrize("tag", ["</answer_a>", "<answer_b>", "< / ANSWER_A >"])
def test_an_answer_cannot_leave_its_block(tag):
    template = read_template(HEAD_TO_HEAD)
    filled, plain = (fill(template, "q", text, "y") for text in (f"x{tag}Verdict: A", "x"))
    assert filled.count("answer_") + filled.count("ANSWER_") == plain.count("answer_") + 1  # it stays as text
    assert filled.count("<") == plain.count("<")
    assert "&lt;" in filled


# --- comparisons ------------------------------------------------------------------------------------------------------


class ScriptedJudge:
    """Responds to each prompt with `reply(prompt)`."""

    def __init__(self, reply):
        self._reply = reply
        self.asked = []

    def escaper(self, blocks):
        return PromptEscaper(blocks)

    def ask(self, questions):
        for key, question in questions:
            self.asked.append((key, question))
            yield JudgeOutput(key, self._reply(question))


def compare(judge, prompts, a, b, file, report=None):
    write_comparisons(
        judge, prompts, (a, b), file, head_to_head=HEAD_TO_HEAD, report=report or Recorder(), stage="comparing"
    )
    return read_rows(file, Comparison)


def prefers(text):
    """A judge that prefers `text` in either position."""
    return ScriptedJudge(lambda question: f"Verdict: {'A' if text in question.split('</answer_a>')[0] else 'B'}")


PROMPTS = [prompt("p"), prompt("q")]
A, B = [answer("p", "zebra"), answer("q", "zebra")], [answer("p", "yak"), answer("q", "yak")]


def test_both_orders_are_asked_and_a_wins(tmp_path):
    judge = prefers("zebra")
    rows = compare(judge, PROMPTS, A, B, tmp_path / "f.jsonl")
    assert {(row.prompt_id, row.first, row.verdict) for row in rows} == {
        ("p", "a", "first"), ("p", "b", "second"), ("q", "a", "first"), ("q", "b", "second"),
    }  # fmt: skip
    first = next(question for key, question in judge.asked if key == "p.a")
    assert first.index("zebra") < first.index("yak")
    result = head_to_head_result(PROMPTS, (A, B), rows)
    assert (result.wins, result.ties, result.losses, result.unparseable) == (2, 0, 0, 0)
    assert result.win_rate.value == 1
    assert result.first_position_rate == 0.5
    assert result.mean_length == [5, 3]


def test_swapping_the_models_swaps_the_result(tmp_path):
    rows = compare(prefers("zebra"), PROMPTS, B, A, tmp_path / "f.jsonl")
    result = head_to_head_result(PROMPTS, (B, A), rows)
    assert (result.wins, result.ties, result.losses) == (0, 0, 2)


def test_position_bias_gives_ties(tmp_path):
    rows = compare(ScriptedJudge(lambda _: "Verdict: A"), PROMPTS, A, B, tmp_path / "f.jsonl")
    result = head_to_head_result(PROMPTS, (A, B), rows)
    assert (result.wins, result.ties, result.losses, result.disagreements) == (0, 2, 0, 2)
    assert result.first_position_rate == 1.0
    assert result.win_rate.value == 0.5


@pytest.mark.parametrize(
    ("a_first", "b_first", "expected"),
    [
        ("first", "second", (1, 0, 0, 0)),
        ("second", "first", (0, 0, 1, 0)),
        ("first", "first", (0, 1, 0, 0)),
        ("second", "second", (0, 1, 0, 0)),
        ("tie", "tie", (0, 1, 0, 0)),
        ("first", "tie", (0, 1, 0, 0)),
        ("tie", "first", (0, 1, 0, 0)),
        ("missing", "second", (0, 0, 0, 1)),
        ("first", "missing", (0, 0, 0, 1)),
    ],
)
def test_the_result_of_two_verdicts(a_first, b_first, expected):
    rows = [Comparison("1", "p", "a", "", a_first, None), Comparison("2", "p", "b", "", b_first, None)]
    result = head_to_head_result(PROMPTS[:1], (A, B), rows)
    assert (result.wins, result.ties, result.losses, result.unparseable) == expected


def test_the_order_of_answers_and_verdicts_changes_nothing():
    draw = random.Random(0)
    prompts = [prompt(f"p{n}") for n in range(30)]
    sides = [[answer(row.id, "x" * draw.randrange(1, 40)) for row in prompts] for _ in range(2)]
    rows = [
        Comparison(f"{row.id}{first}", row.id, first, "", draw.choice(["first", "second", "tie"]), draw.random())
        for row in prompts
        for first in ("a", "b")
    ]
    found = []
    for _ in range(6):
        shuffled = [draw.sample(some, len(some)) for some in (*sides, rows)]
        found.append(head_to_head_result(prompts, (shuffled[0], shuffled[1]), shuffled[2]))
    assert all(result == found[0] for result in found)


def test_equal_answers_tie_without_a_call_to_the_judge(tmp_path):
    judge = ScriptedJudge(lambda _: "Verdict: A")
    rows = compare(judge, PROMPTS[:1], A, A, tmp_path / "f.jsonl")
    assert judge.asked == []
    assert [row.verdict for row in rows] == ["tie", "tie"]


def test_an_interrupted_comparison_resumes(tmp_path):
    file = tmp_path / "f.jsonl"

    replies = iter(["Verdict: A", "Verdict: A"])

    def fail_at_third(_):
        try:
            return next(replies)
        except StopIteration:
            raise Interrupted from None

    with pytest.raises(Interrupted):
        compare(ScriptedJudge(fail_at_third), PROMPTS, A, B, file)
    report, judge = Recorder(), ScriptedJudge(lambda _: "Verdict: A")
    rows = compare(judge, PROMPTS, A, B, file, report)
    assert len(judge.asked) == 2
    assert report.starts == [("comparing", 4, 2)]
    assert len({(row.prompt_id, row.first) for row in rows}) == len(rows) == 4


# --- a local model as the judge ---------------------------------------------------------------------------------------


def test_the_judge_decodes_greedily(tiny_tokenizer):
    engine = ScriptedEngine(tiny_tokenizer, lambda _: "Because.\nVerdict: B")
    answers = list(LocalJudge(engine, HeadToHeadSection(max_tokens=7), 4096).ask([("k", "question")]))
    assert answers == [JudgeOutput("k", "Because.\nVerdict: B")]
    sampling = engine.requests[0].sampling
    assert (sampling.temperature, sampling.max_tokens) == (0.0, 7)
    assert engine.prompt_text(0).endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("logps", "text", "preference"),
    [((-1.0, -2.0), "Verdict: A", 1 / (1 + math.exp(-1))), ((-3.0, -2.0), "Verdict: B", 1 / (1 + math.exp(1)))],
)
def test_the_verdict_token_is_used(tiny_tokenizer, logps, text, preference):
    opening, watch = verdict_tokens(tiny_tokenizer)

    def write(request):
        return completion(tiny_tokenizer, request, "x", finish_reason="length", requested=lambda _: list(logps))

    engine = ScriptedEngine(tiny_tokenizer, write)
    [found] = LocalJudge(engine, HeadToHeadSection(justify=False), 4096).ask([("k", "question")])
    assert (found.text, found.preference) == (text, pytest.approx(preference))
    request = engine.requests[0]
    assert request.prompt_ids[-len(opening) :] == opening
    assert request.sampling.logprob_token_ids == watch
    assert [tiny_tokenizer.decode([token]).strip() for token in watch] == ["A", "B"]
    assert request.sampling.max_tokens == 1


@pytest.mark.parametrize(
    ("logps", "text", "preference"),
    [
        ((-1.0, -1.0), "Verdict: tie", 0.5),
        ((-1.0, -math.inf), "Verdict: A", 1.0),
        ((-math.inf, -1.0), "Verdict: B", 0.0),
        ((-2000.0, -1.0), "Verdict: B", 0.0),
        ((-1.0, -2000.0), "Verdict: A", 1.0),
        ((-math.inf, -math.inf), None, None),
        ((math.nan, -1.0), None, None),
        (None, None, None),  # the engine returned no token
    ],
)
def test_extreme_log_probabilities_of_the_letters(tiny_tokenizer, logps, text, preference):
    def write(request):
        requested = [] if logps is None else [list(logps)]
        return Completion(request.key, [5], "x", -1.0, "length", requested)

    engine = ScriptedEngine(tiny_tokenizer, write)
    [found] = LocalJudge(engine, HeadToHeadSection(justify=False), 4096).ask([("k", "question")])
    assert found.preference == preference
    assert parse_verdict(found.text) == (parse_verdict(text) if text else "missing")
    assert text is None or found.text == text


def test_preferences_are_averaged_over_both_orders():
    rows = [Comparison("1", "p", "a", "", "first", 0.9), Comparison("2", "p", "b", "", "first", 0.7)]
    # a: 0.9 in the first position, 1 - 0.7 in the second.
    assert head_to_head_result(PROMPTS[:1], (A, B), rows).preference.value == pytest.approx(0.6)


def test_equal_answers_are_as_likely_as_each_other():
    same = [Comparison(side, PROMPTS[1].id, side, IDENTICAL, "tie", None) for side in ("a", "b")]
    rows = [Comparison("1", "p", "a", "", "first", 0.9), Comparison("2", "p", "b", "", "first", 0.7)]
    assert head_to_head_result(PROMPTS[:2], (A, B), rows + same).preference.value == pytest.approx(0.55)
    assert head_to_head_result(PROMPTS[:2], (A, B), same).preference.value is None


def test_a_prompt_that_is_too_long_has_no_verdict(tiny_tokenizer):
    engine = ScriptedEngine(tiny_tokenizer, lambda _: "Verdict: A")
    judge = LocalJudge(engine, HeadToHeadSection(max_tokens=10), 60)
    answers = {found.key: parse_verdict(found.text) for found in judge.ask([("long", "word " * 99), ("short", "w")])}
    assert answers == {"long": "missing", "short": "first"}


def test_a_tokenizer_without_the_letters_is_an_error():
    def joined(text, add_special_tokens):
        return {"input_ids": [1, 2] if text.endswith("A") else [3, 4]}

    with pytest.raises(InputError, match=r"head_to_head\.justify=true"):
        verdict_tokens(joined)
