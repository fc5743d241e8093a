"""The tables of the terminal: what they say of a difference."""

import pytest
from srlm.evaluation.paired import write_cases
from srlm.evaluation.summary import change, comparison_table, instructions_table, judge_table, record

from tests.report_run import NONE, cases, est, instructions, judging


def cells(table):
    names = [str(name) for name in table.columns[0].cells]
    return {name: [list(column.cells)[index] for column in table.columns[1:]] for index, name in enumerate(names)}


def entry(wins, ties, losses, rate, **values):
    return {
        "judge": "j", "prompts": 256, "wins": wins, "ties": ties, "losses": losses, "unparseable": 0,
        "disagreements": 0, "win_rate": rate, "length_controlled": NONE, "preference": NONE,
        "first_position_rate": 0.5, "mean_length": [10.0, 20.0],
    } | values  # fmt: skip


HIGH, LOW = est(0.6, 0.55, 0.65, 256), est(0.4, 0.35, 0.45, 256)


@pytest.mark.parametrize(
    ("counts", "rate", "expected", "word"),
    [
        ((150, 0, 106), HIGH, "new", "better"),
        ((106, 0, 150), LOW, "old", "worse"),
        ((4, 252, 0), est(0.508, 0.502, 0.516, 256),
         "not shown\n4 of 256 prompts decided, fewer than the 6 that a claim needs: 4 won, 0 lost", "not shown"),
        ((0, 256, 0), est(0.5, 0.5, 0.5, 256), "not shown\nthe judge decided none of 256 prompts", "not shown"),
        ((1, 0, 0), est(1.0, None, None, 1),
         "not shown\n1 of 1 prompts decided, fewer than the 6 that a claim needs: 1 won, 0 lost", "not shown"),
    ],
)  # fmt: skip
def test_a_comparison_says_what_is_shown(counts, rate, expected, word):
    found = entry(*counts, rate)
    assert cells(comparison_table(found, "new", "old"))["shown to answer better"] == [expected]
    assert record(found).split("\n")[-1] == word


def test_a_withheld_rate_says_why():
    found = entry(150, 0, 106, HIGH, length_controlled_withheld="longer answers in 250 of 256 prompts")
    row = cells(comparison_table(found, "new", "old"))["length-controlled win rate"]
    assert row == ["withheld\n(longer answers in 250 of 256 prompts)"]


def test_models_of_one_run_are_compared_on_the_same_cases(tmp_path):
    files = {name: tmp_path / f"{name}.jsonl" for name in ("m1", "m2", "m3")}
    for name, right in (("m1", 100), ("m2", 130), ("m3", 131)):
        metrics = ("pairwise_accuracy", "prompt_strict")
        write_cases(files[name], [row for metric in metrics for row in cases(metric, set(range(right)), 200)])
    judged = {name: judging(HIGH) for name in files}
    followed = {name: instructions(HIGH) for name in files}
    for table, label in (
        (judge_table(judged, "t", files), "change from the model before, same pairs"),
        (instructions_table(followed, "t", files), "change from the model before, same prompts"),
    ):
        first, second, third = cells(table)[label]
        assert first == "-"
        assert second.startswith("+15.0 points\n(+10.")
        assert second.endswith("\nbetter")
        assert third.endswith("\nnot shown")
    assert not any("change" in label for label in cells(judge_table(judged, "t")))
    one = {"m1": files["m1"]}
    assert not any("change" in label for label in cells(judge_table({"m1": judging(HIGH)}, "t", one)))


def test_other_cases_are_no_change(tmp_path):
    write_cases(tmp_path / "a.jsonl", cases("m", {1}, 9))
    assert change(tmp_path / "a.jsonl", tmp_path / "none.jsonl", "m") == "-"
