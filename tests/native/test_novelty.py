"""Novelty: ROUGE-L against Google's package, and the index against the naive rule."""

import itertools
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from srlm.native import NoveltyIndex, rouge_l

from tests.conftest import DATA

WORDS = ("rouge_score", "unicode")
SCORER = RougeScorer(["rougeL"], use_stemmer=False)


def google(a, b):
    return SCORER.score(a, b)["rougeL"].fmeasure


def random_texts(count, seed, alphabet="abcde", most=14):
    rng = random.Random(seed)
    return [" ".join(rng.choices(alphabet, k=rng.randint(0, most))) for _ in range(count)]


def naive(kept, texts, threshold, words):
    """The rule of Self-Instruct's code: compares each text with all texts kept so far."""
    kept, decisions = list(kept), []
    for text in texts:
        similarities = [rouge_l(other, text, words=words) for other in kept]
        best = max(similarities, default=0.0)
        if best > threshold:
            decisions.append((False, best, similarities.index(best)))
        else:
            kept.append(text)
            decisions.append((True, None, -1))
    return decisions


def found(columns):
    """The result of `add_novel` in the same format."""
    kept, similarity, nearest = (column.tolist() for column in columns)
    return [(k, None if math.isnan(s) else s, n) for k, s, n in zip(kept, similarity, nearest, strict=True)]


# --- the value --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "alphabet", ["ab", "abcdefgh", ["Tom's", "the", "THE", "x_1", "—", "naïve", "\u212a2", "İ", "写", "…"]]
)
def test_random_texts_have_googles_value(alphabet):
    texts = random_texts(150, 1, alphabet, most=40)
    for a, b in itertools.pairwise(texts):
        assert rouge_l(a, b) == google(a, b) == rouge_l(b, a), (a, b)


def test_real_texts_have_googles_value():
    file = DATA / "pandalm" / "testset-v1.json"
    if not file.is_file():
        pytest.skip("the data is not beside the checkout")
    rows = [{k: str(v) for k, v in row.items()} for row in json.loads(file.read_text(encoding="utf-8"))]
    pairs = [(row["response1"], row["response2"]) for row in rows[:200]]
    pairs += [(row["instruction"], row["input"]) for row in rows[:200]]
    pairs += [(row["response1"], other["response1"]) for row, other in itertools.pairwise(rows[:100])]
    assert any(0.7 < google(a, b) < 1 for a, b in pairs)
    for a, b in pairs:
        assert rouge_l(a, b) == pytest.approx(google(a, b), abs=1e-12)
        if (a + b).isascii() and re.search("[a-zA-Z0-9]", a + b):
            assert rouge_l(a, b, words="unicode") == rouge_l(a, b)


def test_every_code_point_is_lowered_as_python_does():
    """The similarity is 1 only for identical words."""
    for code in range(sys.maxunicode + 1):
        text = f"a{chr(code)}b"
        words = " ".join(re.findall("[a-z0-9]+", text.lower()))
        assert rouge_l(text, words) == 1.0, hex(code)


def test_letters_of_any_script_are_lowered_as_python_does():
    """Unassigned ones are skipped: Rust may have a newer version of Unicode than this Python."""
    for code in range(0x80, sys.maxunicode + 1):
        char = chr(code)
        if char.lower() != char and unicodedata.category(char) != "Cn":
            text = f"a{char}b Ж"
            assert rouge_l(text, text.lower(), words="unicode") == 1.0, hex(code)


@pytest.mark.parametrize("words", WORDS)
def test_letters_of_ascii_are_the_same_either_way(words):
    assert rouge_l("Tell me… about the-sea", "tell ME about 2 seas", words=words) == google(
        "Tell me… about the-sea", "tell ME about 2 seas"
    )


def test_unknown_words():
    with pytest.raises(ValueError, match=r'words is "ascii"; use "rouge_score" or "unicode"'):
        rouge_l("a", "b", words="ascii")
    with pytest.raises(ValueError, match="words is"):
        NoveltyIndex(words="")


# --- the rule ---------------------------------------------------------------------------------------------------------

SIMILARITIES = sorted({2 * c / (a + b) for a in range(1, 9) for b in range(1, 9) for c in range(1, min(a, b) + 1)})


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 2 / 3, 0.7, math.nextafter(0.75, 0), 0.75, 0.9, 1.0])
def test_batches_follow_the_rule(threshold, words):
    pool, new = random_texts(60, 2), random_texts(250, 3)
    index = NoveltyIndex(words=words)
    index.add_all(pool)
    assert found(index.add_novel(new, threshold)) == naive(pool, new, threshold, words)


@pytest.mark.parametrize("seed", range(12))
def test_thresholds_that_are_similarities(seed):
    threshold = random.Random(seed).choice(SIMILARITIES)
    new = random_texts(150, seed, "abcd", most=8)
    index = NoveltyIndex()
    assert found(index.add_novel(new, threshold)) == naive([], new, threshold, "rouge_score")


def test_a_threshold_is_not_exceeded_by_itself():
    for text, other in [("a b c d e f g h i j", "a b c d e f g x y z"), ("a b", "a c")]:
        similarity = rouge_l(text, other)
        for threshold, kept in [(similarity, True), (math.nextafter(similarity, 0), False)]:
            index = NoveltyIndex()
            index.add(text)
            assert index.add_novel([other], threshold)[0].tolist() == [kept]


def test_many_texts_in_several_calls():
    """Across sortings of the index and blocks of a call, with near repeats."""
    rng = random.Random(5)
    names = [f"w{n}" for n in range(300)]
    texts = []
    for _ in range(1850):
        text = rng.choice(texts).split() if texts and rng.random() < 0.4 else rng.choices(names, k=rng.randint(3, 40))
        for _ in range(rng.randint(0, 1 + len(text) // 5)):
            text[rng.randrange(len(text))] = rng.choice(names)
        texts.append(" ".join(text))
    index = NoveltyIndex()
    index.add_all(texts[:1050])
    decisions = [*found(index.add_novel(texts[1050:1800])), *found(index.add_novel(texts[1800:]))]
    expected = naive(texts[:1050], texts[1050:], 0.7, "rouge_score")
    assert 150 < sum(kept for kept, _, _ in expected) < 750
    assert decisions == expected
    assert len(index) == 1050 + sum(kept for kept, _, _ in expected)
    kept = texts[:1050] + [text for text, (keep, _, _) in zip(texts[1050:], expected, strict=True) if keep]
    for text in [*texts[::100], *random_texts(5, 6, names, most=30), "none of these"]:
        similarities = [rouge_l(other, text) for other in kept]
        assert index.max_similarity(text) == (max(similarities), similarities.index(max(similarities)))


@pytest.mark.parametrize("words", WORDS)
def test_texts_without_words(words):
    index = NoveltyIndex(words=words)
    index.add("a")
    decisions = found(index.add_novel(["?!", "", "?!", "...", ""], 0.7))
    again = [(False, 1.0, 1), (True, None, -1), (False, 1.0, 2)]
    seen = [again[0], again[1], again[2]] if words == "unicode" else [(True, None, -1)] * 3
    assert decisions == [(True, None, -1), (True, None, -1), *seen]
    assert index.max_similarity("?!") == ((1.0, 1) if words == "unicode" else (0.0, 0))


def test_columns():
    index = NoveltyIndex()
    columns = index.add_novel(text for text in ["a b c", "a b c", "d"])
    assert [column.dtype for column in columns] == [np.bool_, np.float64, np.int64]
    np.testing.assert_array_equal(columns[1], [np.nan, 1.0, np.nan])
    assert columns[2].tolist() == [-1, 0, -1]
    assert [column.shape for column in index.add_novel([])] == [(0,)] * 3


def test_bad_arguments_change_nothing():
    index = NoveltyIndex()
    for threshold in [-0.1, 1.5, math.nan]:
        with pytest.raises(ValueError, match=r"threshold is .*; use a number from 0 to 1, for example 0\.7"):
            index.add_novel(["a"], threshold)
    with pytest.raises(TypeError, match="texts is a single str"):
        index.add_novel("a b")
    with pytest.raises(TypeError, match=r"texts\[1\] is <class 'int'>; pass a str"):
        index.add_novel(["a", 1])
    assert len(index) == 0


def test_counts_and_size():
    index = NoveltyIndex()
    before = sys.getsizeof(index)
    assert set(index.counts().values()) == {0}
    index.add_all(f"tell me about {n} things of {n % 7}" for n in range(3000))
    index.add_novel(["tell me about 17 things of 3", "a text of other words"])
    counts = index.counts()
    assert list(counts) == ["pairs", "met", "signature", "overlap"]
    assert counts["pairs"] == 6000
    assert 6000 > counts["met"] >= counts["signature"] >= counts["overlap"] > 0
    assert sys.getsizeof(index) > before + 3000 * 6 * 20


# --- threads and processes --------------------------------------------------------------------------------------------

SCRIPT = """
import hashlib, random
from srlm.native import NoveltyIndex
rng = random.Random(1)
texts = [" ".join(rng.choices("abcdefghijklmnop", k=rng.randint(4, 12))) for _ in range(9000)]
index = NoveltyIndex()
index.add_all(texts[:6000])
columns = index.add_novel(texts[6000:], 0.6)
print(int(columns[0].sum()), hashlib.sha256(b"".join(column.tobytes() for column in columns)).hexdigest())
"""


def test_the_number_of_threads_changes_nothing():
    results = set()
    for threads, hash_seed in [("1", "0"), ("2", "1"), ("2", "2")]:
        env = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", SCRIPT]
        results.add(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)
    assert len(results) == 1
    assert 0 < int(results.pop().split()[0]) < 3000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_can_add():
    texts = [f"text {n} of {n % 97}" for n in range(3000)]
    index = NoveltyIndex()
    index.add_all(texts)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if not index.add_novel(texts)[0].any() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
