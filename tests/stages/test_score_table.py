"""Candidates and their verdicts as columns, and text keys that are equivalent to the texts."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from srlm.native import select_pairs, select_positives
from srlm.rows.ids import id_number
from srlm.rows.records import Candidate, Prompt
from srlm.stages.judge import mean_scores
from srlm.stages.score_table import WHITE_SPACE, read_answers, read_verdicts, text_keys

from tests.stages.test_pair_selection import answer, rows


def columns(prompts, candidates, verdicts, score="sampled"):
    answers = read_answers(prompts, candidates)
    return answers, read_verdicts(answers, verdicts, score=score, max_score=5.0)


def test_columns():
    answers, scores = columns(
        *rows(
            [answer(5, 4, expected=[4.5, 4.0]), answer("missing", 2, expected=[1.5])],
            [answer("missing", "conflicting"), answer(3, cut_off=True), answer(1, text=" \n"), answer()],
        )
    )
    assert answers.prompts == 2
    assert answers.prompt.tolist() == [0, 0, 1, 1, 1, 1]
    assert answers.length.tolist() == [3] * 6
    assert answers.cut_off.tolist() == [False, False, False, True, False, False]
    assert answers.blank.tolist() == [False, False, False, False, True, False]
    np.testing.assert_equal(scores.score, [4.5, 2.0, np.nan, 3.0, 1.0, np.nan])
    np.testing.assert_equal(scores.tie_break, [4.25, 1.5, np.nan, np.nan, np.nan, np.nan])
    assert scores.outcomes == {"scored": 5, "missing": 2, "out_of_range": 0, "conflicting": 1}
    assert scores.written == {5.0: 1, 4.0: 1, 2.0: 1, 3.0: 1, 1.0: 1}
    assert [column.dtype for column in (answers.prompt, scores.score, scores.tie_break, answers.blank)] == [
        np.int64,
        np.float64,
        np.float64,
        np.bool_,
    ]


def test_no_rows():
    answers, scores = columns([], [], [])
    assert text_keys(answers) == []
    assert len(scores.means()) == len(answers.prompt) == 0


def test_columns_are_in_the_order_of_the_prompts_and_of_the_answers():
    prompts, candidates, verdicts = rows([answer(5), answer(1)], [answer(1), answer(5), answer()])
    draw = random.Random(0)
    for _ in range(20):
        shuffled = draw.sample(candidates, len(candidates))
        draw.shuffle(verdicts)
        answers, scores = columns(prompts[::-1], shuffled, verdicts)
        assert answers.prompt.tolist() == [0, 0, 0, 1, 1]
        assert [shuffled[row].id for row in answers.row] == ["p1a0", "p1a1", "p1a2", "p0a0", "p0a1"]
        np.testing.assert_equal(scores.score, [1.0, 5.0, np.nan, 5.0, 1.0])
        assert scores.judged.tolist() == [0, 1, 3, 4]
        assert list(scores.written) == [1.0, 5.0]


def test_answers_with_the_same_index_are_in_the_order_of_their_ids():
    """Files of other programs may give every answer the index 0."""
    prompts, candidates, _ = rows([answer() for _ in range(9)])
    same = [replace(row, index=0) for row in candidates]
    for shuffled in (same, same[::-1]):
        answers, _ = columns(prompts, shuffled, [])
        names = [shuffled[row].id for row in answers.row]
        assert names == sorted(names, key=id_number)


def test_means_are_those_of_the_judge_metrics():
    draw = random.Random(0)
    given = rows(
        *[
            [answer(*("missing" if draw.random() < 0.6 else 5 * draw.random() for _ in range(3))) for _ in range(4)]
            for _ in range(50)
        ]
    )
    draw.shuffle(given[2])
    _, scores = columns(*given)
    means = mean_scores(given[2], expected=False)
    assert scores.means().tolist() == [means[row.id] for row in given[1] if row.id in means]
    for row, score in zip(given[1], scores.score, strict=True):
        assert score == pytest.approx(means.get(row.id, math.nan), rel=1e-15, nan_ok=True)


def test_candidates_that_share_an_id_share_their_verdicts():
    prompts, candidates, verdicts = rows([answer(5), answer(1)])
    _, scores = columns(prompts, [*candidates, candidates[0]], verdicts)
    assert scores.score.tolist() == [5.0, 5.0, 1.0]
    assert scores.means().tolist() == [5.0, 1.0]


# --- texts ------------------------------------------------------------------------------------------------------------

# What Python and Rust do not strip alike, lone surrogates, and what they stand for there.
PIECES = ["", "a", "b", "a b", "?", "\ud800", "\udfff", "é", "e\u0301", "\x1c", "\x1f", "\x00", "\u200b", "\ufeff"]
SPACES = ["", " ", "\n", "\x0b", "\x85", "\xa0", "\u1680", "\u2009", "\u200a", "\u2028", "\u3000", "\x1d"]
METHODS = ["best_worst", "length_controlled", "margin", "random", "top_bottom"]


def texts_and_columns(draw, count=400):
    texts = ["".join([draw.choice(SPACES), draw.choice(PIECES), draw.choice(SPACES)]) for _ in range(count)]
    prompts = [Prompt(f"p{n}", "", "generated", [], n) for n in range(count // 5)]
    candidates = [
        Candidate(f"c{n}", f"p{draw.randrange(len(prompts))}", n, text, [], 0.0, "stop", 0)
        for n, text in enumerate(texts)
    ]
    answers = read_answers(prompts, candidates)
    return [texts[row] for row in answers.row], answers


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(20))
def test_text_keys_select_the_same_pairs_as_texts(method, seed):
    draw = random.Random(seed)
    texts, answers = texts_and_columns(draw)
    score = np.array([draw.choice([1.0, 2.0, 3.5, math.nan]) for _ in texts])
    length = np.array([draw.randrange(9) for _ in texts])
    found, expected = (
        select_pairs(answers.prompt, score, None, None, some, method=method, seed=seed, length=length, rho=0.3)
        for some in (text_keys(answers), texts)
    )
    assert [column.tolist() for column in found[:2]] == [column.tolist() for column in expected[:2]]
    assert found[2] == expected[2]
    assert expected[2]["same_text"] > 0 or method != "best_worst"


@pytest.mark.parametrize("seed", range(20))
def test_text_keys_find_the_same_repeats_as_texts(seed):
    draw = random.Random(seed)
    texts, answers = texts_and_columns(draw)
    score = np.array([draw.choice([4.0, 5.0]) for _ in texts])
    found, expected = (
        select_positives(answers.prompt, score, None, some, perfect=5.0) for some in (text_keys(answers), texts)
    )
    assert found[0].tolist() == expected[0].tolist()
    assert found[1] == expected[1]
    assert expected[1]["same_text"] > 0


def test_white_space_is_that_of_rust():
    every = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    both = [text for one in every for text in ("x", f"x{one}")]
    pair = np.repeat(np.arange(len(every)), 2)
    score = np.tile([5.0, 1.0], len(every))
    chosen, _, _ = select_pairs(pair, score, None, None, both)
    same = set(range(len(every))) - set(pair[chosen].tolist())
    assert {every[place] for place in same} == set(WHITE_SPACE)


def test_text_keys_are_shared_strings_per_prompt():
    prompts, candidates, _ = rows([answer(text="a"), answer(text="b"), answer(text="a")], [answer(text="b")])
    found = text_keys(read_answers(prompts, candidates))
    assert len(set(found[:3])) == 2
    assert found[0] is found[2]
    assert found[3] == "0"
