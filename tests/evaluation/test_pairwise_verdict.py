"""Pairwise verdicts: only the asked form counts, whatever markup stands around it."""

from __future__ import annotations

import random
import time

import pytest
from srlm.config import HeadToHeadSection
from srlm.evaluation.pairwise import read_template
from srlm.evaluation.pairwise_verdict import parse_verdict

FORMS = [
    ("Verdict: A", "first"),
    ("Verdict: B", "second"),
    ("Verdict: tie", "tie"),
    ("Verdict: Tie.", "tie"),
    ("VERDICT: TIE", "tie"),
    ("Verdict: a tie", "tie"),
    ("Verdict: A tie", "tie"),
    ("Verdict: tied", "tie"),
    ("Verdict: draw", "tie"),
    ("Verdict: It's a tie.", "tie"),
    ("Verdict: It\u2019s a tie", "tie"),
    ("Verdict: it is a draw", "tie"),
    ("verdict: b", "second"),
    ("verdict: a", "first"),
    ("Verdict:A", "first"),
    ("Verdict : A", "first"),
    ("Verdict: A.", "first"),
    ("Verdict: A!", "first"),
    ("Verdict: A \n", "first"),
    ("Verdict: A\r\n", "first"),
    ("Verdict\uff1a A", "first"),
    ("Verdict = B", "second"),
    ("Verdict - B", "second"),
    ("Verdict \u2013 B", "second"),
    ("Verdict — B", "second"),
    ("**Verdict:** **A**", "first"),
    ("**Verdict: A**", "first"),
    ("**Verdict**: A", "first"),
    ("**Verdict: A.**", "first"),
    ("__Verdict:__ B", "second"),
    ("*Verdict:* *tie*", "tie"),
    ("### Verdict: B", "second"),
    ("### **Final Verdict: B**", "second"),
    ("> Verdict: A", "first"),
    ("- Verdict: A", "first"),
    ("* **Verdict:** A", "first"),
    ("3. Verdict: A", "first"),
    ("3) **Verdict:** A", "first"),
    ("Verdict: [[B]]", "second"),
    ("Verdict: [A]", "first"),
    ("Verdict: (B)", "second"),
    ("Verdict: <A>", "first"),
    ("Verdict: {A}", "first"),
    ('Verdict: "A"', "first"),
    ("Verdict: 'B'", "second"),
    ("Verdict: “A”.", "first"),
    ("Verdict: „A“", "first"),
    ("Verdict: «tie»", "tie"),
    ("Verdict: `A`", "first"),
    ('"Verdict: A"', "first"),
    ("(Verdict: A)", "first"),
    ("[Verdict: B]", "second"),
    (r"Verdict: $\boxed{A}$", "first"),
    (r"Verdict: \boxed{\text{B}}", "second"),
    ("Verdict: Answer B", "second"),
    ("Verdict: answer_a", "first"),
    ("Verdict: Response A.", "first"),
    ("Verdict: Assistant **A**", "first"),
    ("Verdict: Option (B)", "second"),
    ("Verdict:\nA", "first"),
    ("Verdict:\n\n**B**\n", "second"),
    ("### My verdict\nB", "second"),
    ("**Final Verdict**\n\nTie", "tie"),
    ("**Verdict:**\nA", "first"),
    ("Final verdict: B", "second"),
    ("Overall verdict: B", "second"),
    ("My final verdict: A", "first"),
    ("The verdict is A.", "first"),
    ("Here is my verdict in the requested format:\nVerdict: B", "second"),
    ("Both are fine. My verdict is: **B**", "second"),
    ("Answer A is more complete. Verdict: B", "second"),
    ("**A is clearer.** **Verdict: A**", "first"),
    ("Verdict: A\u200b", "first"),
    ("Verdict: **A", "first"),  # cut off in the markup
]
NOT_FORMS = [
    "",
    "A",
    "tie",
    "[[A]]",
    "Answer A is better",
    "Verdict",
    "Verdict:",
    "Verdict: ",
    "Verdict:\n",
    "Verdict: C",
    "Verdict: AB",
    "Verdict: Both",
    "Verdict: neither",
    "Verdict: Absolutely",
    "Verdict: A is worse than B",
    "Verdict: A is better than B",
    "Verdict: B is better than A",
    "Verdict: A is not better",
    "Verdict: A < B",
    "Verdict: A > B",
    "Verdict: A <",
    "Verdict: A >",
    "Verdict: A >> B",
    "Verdict: A = B",
    "Verdict: A == B",
    "Verdict: A ≈ B",
    "Verdict: A → B",
    "Verdict: A loses to B",
    "Verdict: A loses",
    "Verdict: A wins over B",
    "Verdict: A beats B",
    "Verdict: A clear win for B",
    "Verdict: A clear loss for B",
    "Verdict: a better answer would be B",
    "Verdict: A or B",
    "Verdict: A or tie",
    "Verdict: A/tie",
    "Verdict: tie or B",
    "Verdict: A, B",
    "Verdict: A and B",
    "Verdict: A and B are equal",
    "Verdict: A & B",
    "Verdict: A/B",
    "Verdict: A|B",
    "Verdict: A B",
    "Verdict: A vs. B",
    "Verdict: A: 3/5, B: 4/5",
    "Verdict: A: 3/5",
    "Verdict: A = 3, B = 4",
    "Verdict: A (3), B (4)",
    "Verdict: A 3",
    "Verdict: A+",
    "Verdict: A-",
    "Verdict: A?",
    "Verdict: A,",
    "Verdict: A (",
    "Verdict: (A",
    "Verdict: A (worse)",
    "Verdict: A, but B is close",
    "Verdict: A, as B is wrong",
    "Verdict: A. No, B",
    "Verdict: A unless length matters",
    "Verdict: A tie between A and B",
    "Verdict: tie, leaning A",
    "Verdict: not A",
    "Verdict: not a tie",
    "Verdict: no tie",
    "Verdict: anything but B",
    "Verdict: Not B.",
    "Verdict: the worse one is A",
    "Verdict: \u0410",  # Cyrillic
    "Verdict: \u0412",  # Cyrillic
    "Verdict: \u0391",  # Greek
    "Verdict: \uff21",  # full-width
    "Verdict: \U0001d400",
    "Verdict: Ⓐ",
    "Verdict: Á",
    "Verdict: A\u0301",
    "Verdict: A" + " " * 99 + "or B",
    "Verdict:" + " " * 99 + "A is worse",
    "Verdict: A, B or tie",
    "Verdict: A, B, or tie.",
    "Verdict: [A/B/tie]",
    "Verdict: <A, B or tie>",
    'End with "Verdict: A", "Verdict: B" or "Verdict: tie".',
    "I must write Verdict: A, Verdict: B or Verdict: tie",
    "Then end with one line of this form, with A, B or tie:\nVerdict: A",
    "The format, with A, B or tie:\n\n**Verdict: A**",
    "I cannot give a verdict on A.",
    "I would not say that the verdict is A.",
    "If B were shorter, my verdict: A",
    "The verdict is that A is worse.",
    "The verdict is final.",
    "Reverdict: A",
    "Verdicts: A",
]
SEVERAL = [
    ("Verdict: A\nVerdict: A", "first"),
    ("Verdict: A\nVerdict: B", "missing"),
    ("Verdict: B\n\nOn reflection:\nVerdict: tie", "missing"),
    ("Verdict: A\nVerdict: B\nVerdict: A", "missing"),
    ("Verdict: B\nVerdict:", "missing"),
    ("Verdict: A\nVerdict: B is better", "missing"),
    ("Verdict: A\nThe verdict is that B is better.", "missing"),
    ("Verdict: B is better\nVerdict: B", "second"),
    ("**Verdict:** A is thorough, B is right.\n\nVerdict: B", "second"),
    ("My first verdict: A. No.\nVerdict: B", "second"),
    ("Verdict: A, B or tie\nVerdict: B", "second"),
    ("Verdict: B\n(Verdict: A, B or tie)", "second"),
    ("Verdict: A\n\nI reached this verdict because B is wrong.", "first"),
    ("Verdict: B\nThis verdict is final.", "second"),
    ("Verdict: B\nThe verdict is final.", "second"),
    ("Answer A says:\nVerdict: B\n\nVerdict: A", "missing"),
]


@pytest.mark.parametrize(("reply", "label"), [*FORMS, *SEVERAL])
def test_verdicts_are_parsed(reply, label):
    assert parse_verdict(reply) == label


@pytest.mark.parametrize("reply", NOT_FORMS)
def test_another_form_is_no_verdict(reply):
    assert parse_verdict(reply) == "missing"
    assert parse_verdict(f"A is right, B is wrong.\n{reply}") == "missing"


@pytest.mark.parametrize("justify", [True, False])
@pytest.mark.parametrize(("choice", "label"), [("A", "first"), ("B", "second"), ("tie", "tie")])
def test_the_packaged_prompts_ask_for_the_form(justify, choice, label):
    asked = read_template(HeadToHeadSection(justify=justify)).splitlines()[-1]
    assert parse_verdict(asked.replace("A", choice)) == label


@pytest.mark.parametrize("justify", [True, False])
def test_a_repeated_prompt_is_no_verdict(justify):
    template = read_template(HeadToHeadSection(justify=justify))
    assert parse_verdict(template) == "missing"
    assert parse_verdict(f"{template}\n\nVerdict: B") == "second"


def test_words_after_a_choice_leave_no_verdict():
    """Whatever follows the letter, unless it is in the list of what may stand around it."""
    words = [
        "is",
        "worse",
        "better",
        "B",
        "tie",
        "or",
        "<",
        ">",
        "loses",
        "to",
        "3/5",
        ",",
        ":",
        "not",
        "?",
        "and",
        "-",
    ]
    chooser = random.Random(0)
    for _ in range(2000):
        after = " ".join(chooser.choices(words, k=chooser.randint(1, 5)))
        assert parse_verdict(f"Verdict: {chooser.choice('AB')} {after}") in ("missing", "tie"), after
        assert parse_verdict(f"Verdict: A {after}") != "first", after


@pytest.mark.parametrize(
    "unit",
    [
        "Verdict: ",
        "Verdict: A\n",
        "verdict",
        "*",
        "* ",
        "\n",
        " ",
        "Verdict:\n",
        "my ",
        "[",
        "Verdict: [",
        ". ",
        "form:\n",
    ],
)
def test_time_is_linear(unit):
    """The ratio of two lengths: quadratic time would give 16."""

    def seconds(length):
        text = unit * (length // len(unit)) + "verdict"
        times = []
        for _ in range(3):
            start = time.process_time()
            parse_verdict(text)
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(800_000) < 10 * seconds(200_000) + 0.05
