"""Which judgements are compared: the answer of the highest variance, different texts, without scores."""

import numpy as np
import pytest
from srlm.config import JudgeSection
from srlm.errors import InputError
from srlm.judge_data.judgements import limit, read_judged, sample, without_score
from srlm.judge_data.scored_verdicts import ScoredVerdicts
from srlm.native import parse_verdicts
from srlm.rows.records import Verdict as Row
from srlm.rows.records import read_rows, write_rows

from tests.judge_data.judged import OTHER, PROMPT, build, judgements, two_prompts, verdict, write
from tests.signals.answers import candidates


def read(folder, seed=0, **settings):
    rows, without = read_judged(folder, build(**settings), seed)
    return list(rows), without


def test_the_answer_of_the_highest_variance(tmp_path):
    answer, expected = two_prompts(tmp_path)
    rows, without = read(tmp_path)
    assert [row.answer for row in rows] == [answer]
    assert rows[0].prompt == PROMPT
    assert rows[0].judgements == expected
    assert rows[0].texts == [f"because of {n}." for n in range(4)]
    assert without == 1


def test_the_first_of_equally_varied_answers_and_any_order_of_the_rows(tmp_path):
    given = candidates(PROMPT, "a", "b", "c")
    verdicts = [row for answer, scores in zip(given, [(3, 3), (1, 5), (5, 1)], strict=True)
                for row in judgements(answer, *scores)]  # fmt: skip
    write(tmp_path, [PROMPT], given, verdicts)
    before = read(tmp_path)
    assert before[0][0].answer == given[1]
    write(tmp_path, [PROMPT], given[::-1], verdicts[::-1])
    assert read(tmp_path) == before


def test_only_complete_judgements_with_a_score_count(tmp_path):
    one, other = candidates(PROMPT, "a", "b")
    rows = [
        verdict(one.id, 0, "x. Score: 1", 1.0),
        verdict(one.id, 1, "y. Score: 5", 5.0, "length"),
        verdict(one.id, 2, "no idea", None),
        *judgements(other, 2, 3),
    ]
    write(tmp_path, [PROMPT], [one, other], rows)
    found, _ = read(tmp_path)
    assert found[0].answer == other
    assert len(ScoredVerdicts(tmp_path / "verdicts.jsonl").of(one.id)) == 1
    assert ScoredVerdicts(tmp_path / "verdicts.jsonl").of("unknown") == []


def test_a_judgement_of_an_unknown_answer(tmp_path):
    two_prompts(tmp_path)
    write_rows(tmp_path / "verdicts.jsonl", [verdict("00000000000000ff", n, f"{n}", float(n)) for n in (1, 2)])
    with pytest.raises(InputError, match="verdicts: the candidate 00000000000000ff is not in the file of candidates"):
        read(tmp_path)


def test_judgements_that_look_the_same_are_shown_once(tmp_path):
    (answer,) = candidates(PROMPT, "a")
    rows = [verdict(answer.id, n, f"Good.\nScore: {score}", float(score)) for n, score in enumerate((1, 5, 5))]
    rows.append(verdict(answer.id, 3, "Bad.\nScore: 2", 2.0))
    write(tmp_path, [PROMPT], [answer], rows)
    assert read(tmp_path)[0][0].texts == ["Good.", "Bad."]
    assert read(tmp_path, hide_scores=False)[0][0].judgements == [rows[0], rows[1], rows[3]]


def test_a_sample_of_the_judgements(tmp_path):
    (answer,) = candidates(PROMPT, "a")
    rows = judgements(answer, *range(6), *range(5))
    write(tmp_path, [PROMPT], [answer], rows)
    found = {seed: read(tmp_path, seed, max_judgements=4)[0][0].judgements for seed in range(8)}
    assert all(len(some) == 4 and [row.sample for row in some] == sorted(row.sample for row in some) for some in
               found.values())  # fmt: skip
    assert len({tuple(row.id for row in some) for some in found.values()}) > 1
    assert limit([(row, row.text) for row in rows], 99, 0) == [(row, row.text) for row in rows]


def test_a_sample_of_the_prompts(tmp_path):
    given = [*candidates(PROMPT, "a"), *candidates(OTHER, "b")]
    write(tmp_path, [PROMPT, OTHER], given, [row for answer in given for row in judgements(answer, 1, 2)])
    found = {tuple(row.prompt.text for row in read(tmp_path, seed, max_prompts=1)[0]) for seed in range(16)}
    assert found == {(PROMPT.text,), (OTHER.text,)}
    assert sample(5, None, 0) == sample(5, 5, 0) == [0, 1, 2, 3, 4]
    assert len(sample(5, 3, 0)) == 3


def test_variances(tmp_path):
    two_prompts(tmp_path)
    found = ScoredVerdicts(tmp_path / "verdicts.jsonl")
    scores = {}
    for row in read_rows(tmp_path / "verdicts.jsonl", Row):
        scores.setdefault(int(row.candidate_id, 16), []).append(row.score)
    ids, variances = found.variances()
    np.testing.assert_allclose(variances, [np.var(scores[int(number)]) for number in ids], atol=1e-9)
    assert (variances == 0).sum() == 2  # 3.3, 3.3, 3.3 as well


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("It earns 3 points.\nScore: 3", "It earns 3 points."),
        ("Score: 4\nBecause it is clear.", "Because it is clear."),
        ("Fine. Score: 5", "Fine."),
        ("Fine.\n\n**Score:** 4/5\n", "Fine."),
        ("Fine.\n## Final Score\n4", "Fine.\n## Final Score"),
        ("Score: 4\nMore.\nTotal: 4", "More."),
        ("Clear.\nScore: 4.5. It could be shorter.", "Clear.\nIt could be shorter."),
        ("Score: 2", ""),
        ("no score at all", "no score at all"),
    ],
)
def test_the_score_is_removed(text, shown):
    found = without_score(text, JudgeSection())
    assert found == shown
    assert parse_verdicts([found])[0] == ["missing"]


def test_the_score_of_another_format_is_removed():
    judge = JudgeSection(score_pattern=r"<points>(?P<score>\d)</points>")
    assert without_score("Good!\nI give <points>3</points> to it.\nBye", judge) == "Good!\nBye"
