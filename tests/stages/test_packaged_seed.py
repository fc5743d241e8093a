"""The packaged seed set: large enough, clean, and without shortcuts to its scores."""

from collections import Counter
from itertools import combinations

import pytest
from srlm._native import normal_keys, parse_verdicts, rouge_l
from srlm.config import SeedDataSection
from srlm.stages import seed, seed_sets

NEAR = 0.6  # ROUGE-L


@pytest.fixture(scope="module")
def ift():
    return seed.read_ift(SeedDataSection())


@pytest.fixture(scope="module")
def eft():
    return seed.read_eft(SeedDataSection())


@pytest.fixture(scope="module")
def instructions(ift):
    return [row.prompt[0]["content"] for row in ift]


def words(text):
    return len(text.split())


def test_size(ift, eft):
    assert len(ift) >= 120
    assert len(eft) >= 40


def test_the_held_out_split_is_large_enough():
    sets = seed_sets.load(SeedDataSection(), 0)
    assert len(sets.valid) >= 10
    assert len(sets.train) >= 30


def test_no_prompt_is_shared(ift, eft):
    sets = seed_sets.load(SeedDataSection(), 0)
    assert (sets.shared, sets.note()) == (0, None)
    assert (len(sets.ift), len(sets.train) + len(sets.valid)) == (len(ift), len(eft))


def test_instructions_are_single_turns(ift):
    for row in ift:
        assert [message["role"] for message in [*row.prompt, *row.completion]] == ["user", "assistant"]


def test_answers_to_judge(eft):
    for row in eft:
        assert len(row.answers) == len(row.justifications) == 4, row.prompt
        assert len(set(row.scores)) == 4, row.prompt
        assert all(score in range(6) for score in row.scores), row.prompt


def test_justifications(eft):
    texts = [text for row in eft for text in row.justifications]
    assert all(3 <= words(text) <= 100 for text in texts)  # the judge prompt asks for at most 100
    assert all("\n" not in text for text in texts)
    # A justification that names a score could be parsed instead of the line after it.
    assert set(parse_verdicts(texts)[0]) == {"missing"}


def test_no_duplicates(ift, eft, instructions):
    for texts in (
        [*instructions, *(row.prompt for row in eft)],
        [row.completion[0]["content"] for row in ift],
        [answer for row in eft for answer in row.answers],
        [text for row in eft for text in row.justifications],
    ):
        twice = [texts[0] for texts in groups(texts).values() if len(texts) > 1]
        assert twice == []


def groups(texts):
    found = {}
    for key, text in zip(normal_keys(texts), texts, strict=True):
        found.setdefault(key, []).append(text)
    return found


def test_nothing_is_too_long(ift, eft, instructions):
    assert max(map(words, [*instructions, *(row.prompt for row in eft)])) <= 60
    assert max(words(row.completion[0]["content"]) for row in ift) <= 90
    assert max(words(answer) for row in eft for answer in row.answers) <= 90


def test_texts_are_plain(ift, eft, instructions):
    texts = [*instructions, *(row.completion[0]["content"] for row in ift)]
    texts += [text for row in eft for text in (row.prompt, *row.answers, *row.justifications)]
    for text in texts:
        assert text == text.strip()
        assert not {"\r", "\u2028", "\ufffd", "\ufeff", "\x00"} & set(text), text
        assert not any(tag in text.lower() for tag in ("<response>", "</response>", "<|", "{prompt}", "{response}")), (
            text
        )


def test_eft_prompts_are_not_ift_prompts(eft, instructions):
    near = [(row.prompt, text) for row in eft for text in instructions if rouge_l(row.prompt, text) >= NEAR]
    assert near == []


def test_held_out_prompts_are_not_similar_to_training_prompts(eft):
    near = [
        (one.prompt, other.prompt) for one, other in combinations(eft, 2) if rouge_l(one.prompt, other.prompt) >= NEAR
    ]
    assert near == []


def test_instructions_differ(instructions):
    near = [pair for pair in combinations(instructions, 2) if rouge_l(*pair) >= NEAR]
    assert near == []


def test_longer_is_not_better(eft):
    wins = [
        1.0 if len(better) > len(worse) else 0.5 if len(better) == len(worse) else 0.0
        for row in eft
        for better, good in zip(row.answers, row.scores, strict=True)
        for worse, bad in zip(row.answers, row.scores, strict=True)
        if good > bad
    ]
    assert len(wins) == 6 * len(eft)
    assert 0.35 < sum(wins) / len(wins) < 0.65


def test_the_position_of_an_answer_does_not_predict_its_score(eft):
    best = Counter(row.scores.index(max(row.scores)) for row in eft)
    worst = Counter(row.scores.index(min(row.scores)) for row in eft)
    for places in (best, worst):
        assert set(places) == {0, 1, 2, 3}
        assert max(places.values()) < 0.4 * len(eft)


def test_no_score_is_over_common(eft):
    counts = Counter(score for row in eft for score in row.scores)
    assert set(counts) == {0, 1, 2, 3, 4, 5}
    assert max(counts.values()) <= 0.25 * sum(counts.values())
    assert min(counts.values()) >= 0.1 * sum(counts.values())
