"""Final answers, and which of them are the same."""

import pytest
from srlm.errors import InputError
from srlm.signals.final_answers import normal_answer, reader_of

DEFAULT = [
    ("First 3, then 4. The answer is 7.", "7"),
    ("The answer is: Paris", "paris"),
    ("Answer: **Paris**.\n", "paris"),
    ("The answer is 3. No, the answer is 4.", "4"),  # the last one
    ("5 + 6 = 11\n#### 11", "11"),
    ("#### 1,234", "1234"),
    ("So we get $\\boxed{\\frac{1}{2}}$ and 9 left.", "\\frac{1}{2}"),  # braces inside, and before any number
    ("\\boxed{3} or rather \\boxed{4}", "4"),
    ("\\boxed{3", "3"),  # never closed: the last number
    ("There are 12 apples and 5 pears.", "5"),
    ("It costs $3.50", "7/2"),
    ("About -7 degrees", "-7"),
    ("I do not know.", None),
    ("", None),
    ("The answer is", None),
    ("The answer is \n 12", "12"),  # nothing on its line, so the last number
    ("Two thirds, which is 2/3.", "2/3"),
    ("1/0", "1/0"),
    ("THE ANSWER IS YES", "yes"),
    ("The answers are 3 and 4", "4"),
    ("The answer is 7, because 3 + 4 = 7 and 9 is odd.", "7"),
    ("So the answer is $12 each.", "12"),
    ("The answer is St. Petersburg", "st. petersburg"),
    ("The answer is blue\nI think.", "blue"),
    ("The answer is .5", "1/2"),
]


@pytest.mark.parametrize(("text", "answer"), DEFAULT)
def test_default(text, answer):
    assert reader_of(None)(text) == answer


SAME = [
    ("1,000", "1000.0"), ("+1000", "10^3"), ("1/2", "0.5"), ("2/4", ".5"), ("007", "7"), ("-0", "0"),
    ("Paris.", " paris"), ("**New  York**", "new york"), ("'yes'", "Yes!"),
]  # fmt: skip
OTHER = [("5%", "5"), ("-5", "5"), ("Paris", "Paris, France"), ("résumé", "resume"), ("1,00", "100"), ("3 km", "3")]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_answer(one, other):
    assert normal_answer(one) == normal_answer(other) is not None


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_another_answer(one, other):
    assert normal_answer(one) != normal_answer(other)


def test_a_huge_power_is_no_number():
    assert normal_answer("9^999999999") == "9^999999999"


def test_pattern():
    find = reader_of(r"Result: (?P<answer>\S+)")
    assert find("Result: A, no, Result: B") == "b"
    assert find("The answer is 4") is None


@pytest.mark.parametrize(("pattern", "part"), [("(", "signal.answer_pattern: "), ("(.)", "no group named `answer`")])
def test_wrong_patterns(pattern, part):
    with pytest.raises(InputError, match=part):
        reader_of(pattern)
