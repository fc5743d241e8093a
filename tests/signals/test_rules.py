"""Rules: instructions in IFEval's format, gold answers, and both."""

import pytest
from srlm.errors import InputError
from srlm.signals.registry import signal_of

from tests.signals.answers import build, candidates, prompt, scored, select

NO_COMMA = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
BOTH = {
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [{}, {"relation": "less than", "num_words": 4}],
}


def test_instructions():
    found = scored("rules", prompt("Say something.", **BOTH), "One two three", "One, two", "One two three four", " ")
    assert [each.score for each in found] == [1.0, 0.0, 0.0, 0.0]
    assert found[1].detail == "not followed: punctuation:no_comma"
    assert found[2].detail == "not followed: length_constraints:number_words"


@pytest.mark.parametrize("gold", [7, 7.0, "7", " 7. ", "seven?"])
def test_a_gold_answer(gold):
    found = scored("rules", prompt("3 + 4?", answer=gold), "The answer is 7.", "7.0", "It is seven", "8", "Seven")
    assert [each.score for each in found[:4]] == ([1.0, 1.0, 0.0, 0.0] if gold != "seven?" else [0.0] * 4)
    assert found[0].answer == "7"


def test_a_gold_answer_in_words():
    found = scored(
        "rules", prompt("Capital of France?", answer="Paris"), "The answer is Paris.", "Answer: Lyon", "Paris"
    )
    assert [each.score for each in found] == [1.0, 0.0, 0.0]  # the last has no final answer


def test_both_must_hold():
    row = prompt("3 + 4?", answer="7", **NO_COMMA)
    assert [each.score for each in scored("rules", row, "7", "Well, 7", "8")] == [1.0, 0.0, 0.0]


def test_a_prompt_without_columns_gets_no_score():
    assert [each.score for each in scored("rules", prompt("Hello"), "a", "b")] == [None, None]


def test_pairs_and_winners(tmp_path):
    rows = [prompt("First", answer=1), prompt("Second", answer=1)]
    given = [*candidates(rows[0], "1", "2", "is 1"), *candidates(rows[1], "3", "4", "5")]
    assert select("rules", tmp_path, rows, given, method="margin") == [("1", "2"), ("is 1", "2")]
    assert select("rules", tmp_path, rows, given, train="sft") == ["1", "is 1"]  # none of the second prompt


WRONG = [
    ({}, "has neither the column 'instruction_id_list'"),
    ({"gold": 3}, "it has gold"),
    ({"answer": None}, "the column 'answer' must be a string or a number (found None)"),
    ({"answer": True}, "must be a string or a number"),
    ({"answer": " . "}, "must be a string or a number"),
    ({"instruction_id_list": ["punctuation:no_comma"]}, "field 'kwargs' is missing"),
    ({"instruction_id_list": ["punctuation:no_coma"], "kwargs": [{}]}, "did you mean 'punctuation:no_comma'"),
    ({"instruction_id_list": ["length_constraints:number_words"], "kwargs": [{}]}, "length_constraints:number_words"),
]


@pytest.mark.parametrize(("columns", "part"), WRONG)
def test_wrong_columns_are_found_before_the_run(columns, part):
    with pytest.raises(InputError) as error:
        signal_of(build("rules")).check([prompt("Fine", answer="1"), prompt("A wrong row", **columns)])
    assert part in str(error.value)
    assert "A wrong row" in str(error.value)
