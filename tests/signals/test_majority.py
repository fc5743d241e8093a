"""Votes: ScPO's selection, thresholds over iterations, and the winners of fine-tuning on the majority."""

from dataclasses import replace

import numpy as np
import pytest
from srlm.rows.records import Score, write_rows
from srlm.signals.registry import signal_of
from srlm.stages.score_table import read_answers

from tests.signals.answers import build, candidates, prompt, scored
from tests.signals.answers import select as select_by

ROW = prompt("How much is 2 + 2?")


def select(*args, **settings):
    return select_by("majority", *args, **settings)


TEXTS = ("It is 4.", "4.0", "The answer is 5", "no idea", "#### 4", "5", "3", "four")


def test_votes_are_shares_of_all_answers():
    found = scored("majority", ROW, *TEXTS)
    assert [each.score for each in found] == [3 / 8, 3 / 8, 2 / 8, 0.0, 3 / 8, 2 / 8, 1 / 8, 0.0]
    assert [each.answer for each in found] == ["4", "4", "5", None, "4", "5", "3", None]
    assert found[0].detail == "3 of 8 votes"
    assert found[3].detail == "no final answer"


def test_only_own_answers_vote(tmp_path):
    hot = [replace(row, id=f"hot{row.id}", source="hot") for row in candidates(ROW, "5", "5", "5", "6")]
    given = [*candidates(ROW, "4", "4", "5", "?"), *hot]
    found = signal_of(build("majority")).score_prompt(ROW, given, 0)
    assert [each.score for each in found] == [0.5, 0.5, 0.25, 0.0, 0.25, 0.25, 0.25, 0.0]
    ((chosen, rejected),) = select(tmp_path, [ROW], given)
    assert chosen == "4"
    assert rejected in {"?", "6"}


def test_the_majority_against_the_fewest_votes(tmp_path):
    (pair,) = select(tmp_path, [ROW], candidates(ROW, *TEXTS))
    assert pair[0] in {"It is 4.", "4.0", "#### 4"}
    assert pair[1] in {"no idea", "four"}


def test_which_of_the_equal_answers_is_chosen_is_chance(tmp_path):
    rows = [prompt(f"Question {number}?") for number in range(60)]
    given = [each for row in rows for each in candidates(row, "It is 4.", "4.0", "#### 4", "5")]
    chosen = [pair[0] for pair in select(tmp_path, rows, given)]
    assert {text: chosen.count(text) > 8 for text in ("It is 4.", "4.0", "#### 4")} == dict.fromkeys(
        ("It is 4.", "4.0", "#### 4"), True
    )


@pytest.mark.parametrize(("least", "count"), [(0.0, 1), (0.375, 1), (0.376, 0), ([0.5, 0.3], 0), ([0.3, 0.5], 1)])
def test_fewer_votes_than_the_minimum_give_no_pair(tmp_path, least, count):
    assert len(select(tmp_path, [ROW], candidates(ROW, *TEXTS), min_votes=least)) == count


def test_a_third_reaches_a_third(tmp_path):
    given = candidates(ROW, "1", "1", "2", "3", "4", "5")
    assert len(select(tmp_path, [ROW], given, min_votes=1 / 3)) == 1


def test_no_answer_is_never_chosen(tmp_path):
    given = candidates(ROW, "no idea", "none", "dunno", "what?")
    assert select(tmp_path, [ROW], given) == []
    assert select(tmp_path, [ROW], given, train="sft") == []


def test_the_winners_have_the_majority_answer(tmp_path):
    given = candidates(ROW, *TEXTS)
    assert select(tmp_path, [ROW], given, train="sft") == ["It is 4.", "4.0", "#### 4"]
    assert select(tmp_path, [ROW], given, train="sft", min_votes=0.5) == []


def test_columns(tmp_path):
    given = candidates(ROW, "4", "4", "?")
    write_rows(tmp_path / "scores.jsonl", [Score("a", given[0].id, 2 / 3, answer="4"), Score("b", given[2].id, None)])
    answers = read_answers([ROW], given)
    found = signal_of(build("majority").at(2)).read(answers, tmp_path / "scores.jsonl")
    np.testing.assert_array_equal(found.score, [2 / 3, np.nan, np.nan])
    assert found.outcomes == {"scored": 1, "missing": 1}
    assert found.final == ["4", None, None]
    assert found.may_be_chosen.tolist() == [True, False, False]
