"""Verdicts and expected scores over arrays: the documented tables, and adversarially slow texts."""

import json
import math
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from srlm import native
from srlm.stages import judge

from tests.conftest import DATA

ROOT = Path(__file__).resolve().parents[2]
RATING = r"\[\[(?P<score>\d+(?:\.\d+)?)\]\]"
NONE = -math.inf


def documented():
    """The examples of docs/verdicts.md: reply, outcome, score, and the pattern of the section."""
    labels, own = (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8").split("## A custom format")
    pattern = re.search(r"judge\.score_pattern: '(.+)'`", own)[1]
    for text, rule in ((labels, None), (own, pattern)):
        for reply, outcome, score in re.findall(r"^\| `(.+)` \| (\w+) \| ?(\S*) \|$", text, re.MULTILINE):
            yield reply.replace("\\n", "\n").replace("\\|", "|"), outcome, float(score) if score else None, rule


EXAMPLES = list(documented())


@pytest.mark.parametrize(("reply", "outcome", "score", "pattern"), EXAMPLES, ids=[repr(row[0]) for row in EXAMPLES])
def test_the_documented_tables(reply, outcome, score, pattern):
    outcomes, scores, _ = native.parse_verdicts([reply], pattern=pattern)
    assert (outcomes[0], None if math.isnan(scores[0]) else scores[0]) == (outcome, score)


def test_all_documented_tables_are_there():
    assert len(EXAMPLES) == 116
    assert sum(row[3] is not None for row in EXAMPLES) == 9


def test_an_array_is_its_rows():
    replies = [row[0] for row in EXAMPLES] * 40
    random.Random(0).shuffle(replies)
    outcomes, scores, spans = native.parse_verdicts(replies)
    for row in range(0, len(replies), 7):
        one = native.parse_verdicts([replies[row]])
        assert one[0][0] == outcomes[row]
        assert np.array_equal(one[1], scores[row : row + 1], equal_nan=True)
        assert np.array_equal(one[2], spans[row : row + 1])
    for same in (tuple(replies), iter(replies)):
        again = native.parse_verdicts(same)
        assert again[0] == outcomes
        assert np.array_equal(again[1], scores, equal_nan=True)
        assert np.array_equal(again[2], spans)


@pytest.mark.parametrize(
    "before", ["", "a", "é", "😀", "\u202e\u05e9\u05dc", "\ud800", "e\u0301", "\0", "\u2028", "\ufeff"]
)
def test_spans_in_any_script(before):
    reply = f"{before}. Score: 4.5\n{before}"
    for pattern in (None, r"(?P<score>\d\S*)"):
        outcomes, scores, spans = native.parse_verdicts([reply], pattern=pattern)
        start, end = spans[0]
        assert (outcomes, scores[0], reply[start:end]) == (["scored"], 4.5, "4.5")


LONG = [
    "Score:", "Score: 4 ", "score is ", "<think>", "<think></think>", "<think>Score: 3</think>", "</think>", "\nUser:",
    "User:", " ", "<|im_end|", "[INST", "<", "U", "[[", "\ud800", "\u202e", "e\u0301", "\0", "9", "(", "score of a of ",
]  # fmt: skip


@pytest.mark.parametrize("piece", LONG, ids=map(repr, LONG))
def test_megabytes_take_linear_time(piece):
    long = piece * (3_000_000 // len(piece))
    start = time.monotonic()
    native.parse_verdicts([long, "Score:" + long, "<think>" + long, long + "Score: 3"])
    native.parse_verdicts([long, long + "[[3]]"], pattern=RATING)
    assert time.monotonic() - start < 120  # quadratic time takes many minutes


# The matches of these scan to the end of the text but are short: iterating over all of them is quadratic.
@pytest.mark.parametrize(
    ("pattern", "piece"),
    [
        (r"Score:.*?(?P<score>\d)", "Score:"),
        (r"Score:(?:.*!)?(?P<score>\d)?", "Score:"),
        (r"(?s)Score:(?:.*\n!)?(?P<score>\d)?", "Score:\n"),
        (r"(?P<score>[a-z:]??)(?:.*\d\d)?", "Score:"),
        (r"(?i)score(?:\W*\w+)*?(?P<score>\d)?(?:$|:)", "Score: a "),
        (r"(?P<score>)(?:\b.*\B!)?", "é "),
        (r"\w(?:[^!]*!)?(?P<score>\d)?", "أ"),
    ],
)
def test_patterns_that_look_far_ahead_take_linear_time(pattern, piece):
    def seconds(size):
        start = time.monotonic()
        native.parse_verdicts([piece * (size // len(piece))], pattern=pattern)
        return time.monotonic() - start

    # Four times the text takes four times as long, and 16 times in quadratic time.
    quarter = seconds(250_000)
    assert seconds(1_000_000) < 9 * quarter + 2


def test_the_last_match_is_that_of_re():
    rng = random.Random(1)
    pattern = r"Score:(?:[^!\n]*!)?(?P<score>\d)?"
    for _ in range(12):
        pieces = rng.choices(["Score:", "Score:3 ", "x", "é", "\n"], [60, 2, 2, 2, 1], k=6_000)
        reply = "".join(pieces)
        (*_, last) = re.finditer(pattern, reply)
        outcomes, _, spans = native.parse_verdicts([reply], pattern=pattern)
        assert outcomes == ["missing" if last["score"] is None else "scored"]
        assert tuple(spans[0]) == last.span("score")


RESULTS = """
import hashlib
from srlm import native
replies = [f"a{'é' * (n % 3)} Score: {n % 7}{' or 3' * (n % 11 == 0)}" for n in range(20000)]
for pattern in (None, r"(?P<score>\\d+)"):
    outcomes, scores, spans = native.parse_verdicts(replies, pattern=pattern)
    print(hashlib.sha256(repr(outcomes).encode() + scores.tobytes() + spans.tobytes()).hexdigest())
"""


def test_results_do_not_depend_on_threads_or_hashes():
    found = {
        subprocess.run(
            [sys.executable, "-c", RESULTS],
            env={**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads, seed in (("1", "0"), ("2", "1"), ("3", "2"))
    }
    assert len(found) == 1
    assert len(found.pop().split()) == 2


@pytest.mark.skipif(not DATA.is_dir(), reason="the judge's replies are not beside the checkout")
def test_recorded_scores_are_reproduced():
    lines = (DATA / "judge-text" / "mt_bench_gpt4_single.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    scores = native.parse_verdicts([row["judgment"] for row in rows], max_score=10, pattern=RATING)[1]
    assert [-1 if math.isnan(score) else score for score in scores] == [row["score"] for row in rows]


def naive(row, digits):
    """The expected score of one reply, in plain Python."""
    return judge.expected_score(list(row), list(digits))


def test_expected_scores_are_those_of_the_judge():
    rng = np.random.default_rng(0)
    for columns in (1, 2, 6, 10, 20):
        logps = rng.normal(-5.0, 8.0, (500, columns))
        logps[rng.random(logps.shape) < 0.1] = NONE
        logps[:, 0] = -3.0
        digits = rng.integers(0, 10, columns).astype(np.float64)
        found = native.expected_scores(logps, digits)
        expected = [naive(row, digits) for row in logps.tolist()]
        assert found.dtype == np.float64
        if sys.version_info < (3, 12):
            assert found.tolist() == expected
        else:  # Python's sum is compensated there
            np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-15)


def test_expected_scores_of_other_layouts():
    rng = np.random.default_rng(1)
    logps, digits = rng.normal(size=(40, 6)), np.arange(6.0)
    expected = native.expected_scores(logps, digits)
    assert np.array_equal(native.expected_scores(np.asfortranarray(logps), digits), expected)
    assert np.array_equal(native.expected_scores(np.repeat(logps, 2, axis=0)[::2], digits), expected)
    narrow = logps.astype(np.float32)
    assert np.array_equal(native.expected_scores(narrow, digits), native.expected_scores(narrow.astype(float), digits))
    assert native.expected_scores(np.zeros((0, 6)), digits).shape == (0,)


def test_rows_without_a_distribution():
    logps = np.array([[NONE, NONE], [math.nan, 0.0], [0.0, math.nan], [math.inf, 0.0], [NONE, -900.0]])
    assert np.isnan(native.expected_scores(logps, np.array([0.0, 5.0]))).tolist() == [True] * 4 + [False]
    assert native.expected_scores(logps, np.array([0.0, 5.0]))[4] == 5.0


@pytest.mark.parametrize(
    ("logps", "digits", "error", "message"),
    [
        (np.zeros((2, 3)), np.zeros(2), ValueError, "logps has 6 values.*each of 2 digits.*shape"),
        (np.zeros((3, 2)), np.zeros(3), ValueError, "each of 3 digits"),
        (np.zeros((3, 0)), np.zeros(0), ValueError, "at least one digit"),
        (np.zeros((1, 2)), np.array([0.0, math.nan]), ValueError, r"digits\[1\] is NaN; use finite values"),
        (np.zeros(2), np.zeros(2), TypeError, "logps must be a two-dimensional numpy array.*convert it with"),
        (np.zeros((1, 2), dtype=int), np.zeros(2), TypeError, "logps must be .* float64 or float32"),
        (np.zeros((1, 2)), np.zeros(2, dtype=int), TypeError, "digits must be a one-dimensional .* float64"),
    ],
)
def test_bad_tables(logps, digits, error, message):
    with pytest.raises(error, match=message):
        native.expected_scores(logps, digits)
