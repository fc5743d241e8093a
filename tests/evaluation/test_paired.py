"""Changes between two models on the same cases."""

import random

import pytest
from srlm.evaluation.estimates import ratio
from srlm.evaluation.paired import cases_file, numbered, paired_change, read_cases, write_cases
from srlm.rows.records import CaseResult


def cases(values, per_prompt=1, prefix="c"):
    return [
        CaseResult("m", f"{prefix}{index}", f"p{index // per_prompt}", float(value))
        for index, value in enumerate(values)
    ]


def test_a_clear_change_whose_separate_intervals_overlap():
    """As measured on 750 pairs of 250 prompts: 58.0 to 62.7 %, which separate intervals do not tell apart."""
    draw = random.Random(0)
    before = [1] * 435 + [0] * 315
    draw.shuffle(before)
    wrong = [index for index, value in enumerate(before) if not value]
    after = list(before)
    for index in wrong[:40]:
        after[index] = 1
    for index in [index for index, value in enumerate(before) if value][:5]:
        after[index] = 0
    first, second = cases(before, 3), cases(after, 3)
    change = paired_change(second, first)
    assert change.difference.value == pytest.approx(35 / 750)
    assert change.difference.n == 750
    assert 0.02 < change.difference.low < change.difference.high < 0.08
    assert (change.outcome, change.left_out) == ("better", 0)
    assert paired_change(first, second).outcome == "worse"
    one, two = (ratio([sum(v[i : i + 3]) for i in range(0, 750, 3)], [3] * 250) for v in (before, after))
    assert one.high > two.low  # the separate intervals overlap


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([0, 0], [1, 1], "same"),  # two prompts
        ([0] * 5, [1] * 5, "same"),
        ([0] * 6, [1] * 6, "better"),
        ([1] * 6, [0] * 6, "worse"),
        ([0] * 4 + [1] * 252, [1] * 256, "same"),
        ([1] * 100, [1] * 100, "same"),
        ([0, 1] * 50, [1, 0] * 50, "same"),
        ([0], [1], "unmeasured"),
    ],
)
def test_changes_that_are_claimed(before, after, expected):
    assert paired_change(cases(after), cases(before)).outcome == expected


def test_cases_of_one_prompt_count_together():
    """Sixty pairs that all change in the same direction, but of three prompts."""
    change = paired_change(cases([1] * 60, 20), cases([0] * 60, 20))
    assert (change.better, change.worse) == (3, 0)
    assert change.p_value == 0.25
    assert change.outcome == "same"


def test_cases_of_one_model_only_are_left_out():
    change = paired_change(cases([1] * 10), cases([0] * 8))
    assert (change.difference.n, change.left_out) == (8, 2)


@pytest.mark.parametrize("other", [[], cases([1] * 10, prefix="x"), cases([1] * 4), cases([1] * 30)])
def test_other_cases_are_not_compared(other):
    assert paired_change(cases([1] * 10), other) is None


def test_repeated_rows_count_twice():
    rows = numbered([CaseResult("m", "a", "p", 1.0), CaseResult("m", "a", "p", 0.0), CaseResult("n", "a", "p", 1.0)])
    assert [(row.metric, row.id) for row in rows] == [("m", "a"), ("m", "a.2"), ("n", "a")]


def test_files(tmp_path):
    file = tmp_path / "judge_held_out.jsonl"
    assert read_cases(file) == {}
    rows = [CaseResult("m", "a", "p", 1.0), CaseResult("n", "a", "p", 0.5)]
    write_cases(file, rows)
    assert cases_file(file).name == "judge_held_out_cases.jsonl"
    assert read_cases(file) == {"m": rows[:1], "n": rows[1:]}
