"""How well a model judges: pairwise accuracy against the humans' order, and the baseline beside it."""

import pytest
from srlm import evaluate
from srlm.config import JudgeSection
from srlm.eft import answer_id
from srlm.evaluate import JudgeAccuracy
from srlm.records import RankedAnswers, Verdict, read_rows

from tests import tiny
from tests.scripted import Interrupted, Recorder, ScriptedEngine

OUTCOMES = {"scored": 0, "missing": 0, "out_of_range": 0, "conflicting": 0}


def ranked(*scores, lengths=None, name="q"):
    answers = [f"{n}".ljust(length, "x") for n, length in enumerate(lengths or [5] * len(scores))]
    return RankedAnswers(f"id {name}", name, answers, list(map(float, scores)), [""] * len(scores))


def measure(*judged):
    """Accuracy over (row, scores given), None for an answer without a score."""
    scores = {
        answer_id(row, index): float(score)
        for row, given in judged
        for index, score in enumerate(given)
        if score is not None
    }
    return evaluate.accuracy([row for row, _ in judged], scores, OUTCOMES)


@pytest.mark.parametrize(
    ("human", "given", "accuracy", "tied", "pairs", "unscored"),
    [
        ([5, 1], [4, 2], 1.0, 0.0, 1, 0),
        ([5, 1], [2, 4], 0.0, 0.0, 1, 0),
        ([1, 5], [2, 4], 1.0, 0.0, 1, 0),
        ([5, 1], [3, 3], 0.5, 1.0, 1, 0),
        ([5, 3, 1], [5, 3, 1], 1.0, 0.0, 3, 0),
        ([5, 3, 1], [1, 3, 5], 0.0, 0.0, 3, 0),
        ([5, 3, 1], [5, 1, 3], 2 / 3, 0.0, 3, 0),
        ([5, 3, 1], [5, 3, 3], 2.5 / 3, 1 / 3, 3, 0),
        ([5, 3, 1], [4, 4, 4], 0.5, 1.0, 3, 0),
        ([5, 3, 1], [0, 0, 0], 0.5, 1.0, 3, 0),  # zero is a score
        ([5, 5, 1], [1, 5, 0], 1.0, 0.0, 2, 0),  # what the humans tied is no pair
        ([3, 3, 3], [1, 2, 3], None, None, 0, 0),
        ([5, 3, 1], [5, None, 1], 1.0, 0.0, 1, 2),
        ([5, 3, 1], [5, None, None], None, None, 0, 3),
        ([5, 3, 1], [None, None, None], None, None, 0, 3),
        ([5, 5, 1], [None, 5, 1], 1.0, 0.0, 1, 1),
        ([5, 1], [4.26, 4.25], 1.0, 0.0, 1, 0),
    ],
)
def test_accuracy(human, given, accuracy, tied, pairs, unscored):
    found = measure((ranked(*human), given))
    assert found.accuracy == (None if accuracy is None else pytest.approx(accuracy))
    assert found.tied == (None if tied is None else pytest.approx(tied))
    assert (found.pairs, found.pairs_unscored) == (pairs, unscored)
    assert found.longer_accuracy == (None if accuracy is None else 0.5)  # all answers are equally long


def test_pairs_of_all_prompts_weigh_the_same():
    found = measure((ranked(5, 1, name="a"), [1, 5]), (ranked(5, 3, 1, name="b"), [5, 3, 1]))
    assert (found.accuracy, found.pairs) == (0.75, 4)


def test_answers_of_different_prompts_are_not_compared():
    found = measure((ranked(5, 4, name="a"), [1, 0]), (ranked(2, 1, name="b"), [5, 4]))
    assert (found.accuracy, found.pairs) == (1.0, 2)


@pytest.mark.parametrize(
    ("lengths", "longer"),
    [([9, 5, 1], 1.0), ([1, 5, 9], 0.0), ([5, 5, 5], 0.5), ([9, 1, 5], 2 / 3), ([9, 9, 1], 2.5 / 3)],
)
def test_longer_is_better(lengths, longer):
    found = measure((ranked(5, 3, 1, lengths=lengths), [1, 3, 5]))
    assert found.longer_accuracy == pytest.approx(longer)
    assert found.accuracy == 0.0


def test_longer_is_better_is_counted_on_the_same_pairs():
    row = ranked(5, 3, 1, lengths=[1, 5, 9])
    other = ranked(5, 1, lengths=[9, 1], name="other")
    # Left: the pair of the first and the last answer, of which the worse one is longer.
    found = measure((row, [2, None, 1]), (other, [None, 1]))
    assert (found.pairs, found.pairs_unscored) == (1, 3)
    assert (found.accuracy, found.longer_accuracy) == (1.0, 0.0)


def test_lengths_are_counted_in_characters():
    row = RankedAnswers("id", "q", ["😀😀😀", "abcd"], [5.0, 1.0], ["", ""])
    assert measure((row, [5, 1])).longer_accuracy == 0.0


def test_nothing_to_measure():
    assert measure() == JudgeAccuracy(None, None, None, 0, 0, OUTCOMES)
    assert measure((ranked(5), [5])) == JudgeAccuracy(None, None, None, 0, 0, OUTCOMES)


# --- with an engine ---------------------------------------------------------------------------------------------------

ROWS = [ranked(5, 3, 1, name="first"), ranked(1, 5, name="second"), ranked(5, 1, name="third")]
REPLIES = {  # by prompt and answer, for each sample
    "first": [["Score: 5", "Score: 3"], ["Score: 2", "no idea"], ["Score: 9", "Score: 1"]],
    "second": [["Score: 4", "Score: 4"], ["Score: 4", "Score: 4"]],
    "third": [["?", "?"], ["Score: 5", "Score: 3 or 4"]],
}


def judge_engine(tokenizer, **settings):
    asked = {}

    def write(request):
        text = tokenizer.decode(request.prompt_ids)
        row = next(row for row in ROWS if f"Question: {row.prompt}\n" in text)
        index = next(n for n, answer in enumerate(row.answers) if f"\n{answer}\n" in text)
        sample = asked[row.prompt, index] = asked.get((row.prompt, index), -1) + 1
        return REPLIES[row.prompt][index][sample]

    return ScriptedEngine(tokenizer, write, **settings)


def test_judging_held_out_answers(tmp_path):
    file, judge = tmp_path / "eval.jsonl", JudgeSection(samples=2)
    engine = judge_engine(tiny.make_tokenizer())
    found = evaluate.judge_held_out(engine, ROWS, file, judge=judge, seed=0, report=Recorder())
    # Means: first 4, 2, 1; second 4, 4 (a tie); third none, 5.
    assert (found.accuracy, found.tied) == (3.5 / 4, 1 / 4)
    assert (found.pairs, found.pairs_unscored) == (4, 1)
    assert found.longer_accuracy == 0.5
    assert found.outcomes == {"scored": 9, "missing": 3, "out_of_range": 1, "conflicting": 1}
    assert len(read_rows(file, Verdict)) == sum(found.outcomes.values()) == 14


def test_judging_goes_on_where_it_stopped(tmp_path):
    file, judge = tmp_path / "eval.jsonl", JudgeSection(samples=2)
    tokenizer = tiny.make_tokenizer()
    whole = evaluate.judge_held_out(
        judge_engine(tokenizer), ROWS, tmp_path / "whole.jsonl", judge=judge, seed=0, report=Recorder()
    )
    engine = judge_engine(tokenizer, fail_after=6)  # the first prompt's
    with pytest.raises(Interrupted):
        evaluate.judge_held_out(engine, ROWS, file, judge=judge, seed=0, report=Recorder())
    engine = judge_engine(tokenizer)
    again = evaluate.judge_held_out(engine, ROWS, file, judge=judge, seed=0, report=Recorder())
    assert len(engine.requests) == 8
    assert again == whole
