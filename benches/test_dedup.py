"""Exact and near duplicates among 100,000 real texts with edits, against rensa and plain Python.

rensa's LSH returns candidates without verifying them; srlm verifies every link on the sets of n-grams and builds
clusters, so the results differ. The quality of both is measured against all pairs of 5,000 of the texts.
"""

from __future__ import annotations

import json
import random
import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rensa
from srlm.native import exact_duplicates, near_duplicates

from benches.conftest import DATA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benches.conftest import Comparison

ROWS, THRESHOLD, PERMUTATIONS = 100_000, 0.8, 128


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Every text of three words or more below `DATA`, then copies with up to a dozen edits, all shuffled."""
    rng = random.Random(0)
    bases = list(dict.fromkeys(text for text in real_texts() if len(text.split()) > 2))
    if not bases:
        pytest.skip("the real data is not next to the checkout")
    vocabulary = " ".join(bases[:500]).split()
    copies = (edited(bases[at % len(bases)], vocabulary, rng) for at in range(ROWS - len(bases)))
    rows = [*bases, *copies]
    rng.shuffle(rows)
    return rows


def real_texts() -> Iterator[str]:
    for path in sorted(DATA.rglob("*.json*")):
        content = path.read_text(encoding="utf-8")
        lines = [content] if path.suffix == ".json" else [line for line in content.split("\n") if line.strip()]
        for line in lines:
            yield from strings(json.loads(line))


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


def edited(text: str, vocabulary: list[str], rng: random.Random) -> str:
    """Replace, drop or insert words."""
    words = text.split()
    for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 4, 6, 8, 12])):
        at, what = rng.randrange(len(words)), rng.random()
        if what < 0.4:
            words[at] = rng.choice(vocabulary)
        elif what < 0.7 and len(words) > 1:
            del words[at]
        else:
            words.insert(at, rng.choice(vocabulary))
    return " ".join(words)


def words(text: str) -> list[str]:
    return text.lower().split()


def word_3grams(text: str) -> list[str]:
    units = words(text)
    return [" ".join(gram) for gram in zip(units, units[1:], units[2:], strict=False)] or [" ".join(units)]


def char_5grams(text: str) -> list[str]:
    text = " ".join(words(text))
    return [text[at : at + 5] for at in range(len(text) - 4)] or [text]


def rho(token_sets: list[list[str]]) -> Any:
    return rensa.RMinHash.digest_matrix_from_token_sets_rho(token_sets, PERMUTATIONS, 0)


def full(token_sets: list[list[str]]) -> Any:
    return rensa.RMinHash.digest_matrix_from_token_sets(token_sets, PERMUTATIONS, 0)


def flags(matrix: Any, bands: int) -> list[bool]:
    """Whether each row shares a band with another one."""
    return rensa.RMinHashLSH(THRESHOLD, PERMUTATIONS, bands).query_duplicate_flags_matrix_one_shot(matrix)


def similar_pairs(texts: list[str], shingles: Callable[[str], list[str]]) -> list[tuple[int, int]]:
    """All pairs at or above the threshold. Skips sets that differ too much in size to be similar."""
    sets = [frozenset(shingles(text)) for text in texts]
    order = sorted(range(len(sets)), key=lambda row: len(sets[row]))
    pairs = []
    for at, row in enumerate(order):
        mine = sets[row]
        for other in reversed(order[:at]):
            if len(sets[other]) < THRESHOLD * len(mine):
                break
            shared = len(mine & sets[other])
            if shared / (len(mine) + len(sets[other]) - shared) >= THRESHOLD:
                pairs.append((row, other))
    return pairs


def quality(texts: list[str], shingles: Callable[[str], list[str]], **options: Any) -> str:
    """Check the recall and precision of srlm, and report them with those of rensa."""
    sample = texts[:5000]
    pairs = similar_pairs(sample, shingles)
    found = near_duplicates(sample, threshold=THRESHOLD, **options)
    recall = np.mean([found[a] == found[b] for a, b in pairs])
    components = list(range(len(sample)))
    for a, b in sorted((max(pair), min(pair)) for pair in pairs):
        low, high = sorted((root(components, a), root(components, b)))
        components[high] = low
    precise = all(root(components, row) == root(components, int(first)) for row, first in enumerate(found))
    assert recall >= 0.99
    assert precise
    similar = np.zeros(len(sample), dtype=bool)
    similar[np.array(pairs).ravel()] = True
    summary = [f"{len(pairs)} similar pairs in 5,000 texts: srlm recall {recall:.4f}, precision 1"]
    for name, sketch, bands in [("rho", rho, 8), ("full", full, 16)]:
        flagged = np.array(flags(sketch([shingles(text) for text in sample]), bands))
        hit = (flagged & similar).sum()
        summary.append(
            f"rensa {name} {bands} bands: row recall {hit / similar.sum():.3f}, precision {hit / flagged.sum():.3f}"
        )
    return "; ".join(summary)


def root(parents: list[int], row: int) -> int:
    while parents[row] != row:
        row = parents[row]
    return row


@pytest.mark.parametrize(
    ("name", "shingles", "rows", "options"),
    [
        ("words", words, ROWS, {"ngram": 1}),
        ("word 3-grams", word_3grams, 30_000, {"ngram": 3}),
        ("character 5-grams", char_5grams, 10_000, {"ngram": 5, "unit": "char"}),
    ],
)
def test_near_duplicates(
    compare: Comparison,
    texts: list[str],
    name: str,
    shingles: Callable[[str], list[str]],
    rows: int,
    options: dict[str, Any],
) -> None:
    checked = quality(texts, shingles, **options)
    sample = texts[:rows]
    token_lists = [shingles(text) for text in sample]
    ratios = compare(
        f"near duplicates of {rows:,} texts by {name}",
        lambda: near_duplicates(sample, threshold=THRESHOLD, **options),
        {
            "rensa rho, 8 bands, from strings": lambda: flags(rho([shingles(text) for text in sample]), 8),
            "rensa full, 16 bands, from strings": lambda: flags(full([shingles(text) for text in sample]), 16),
            "rensa rho, hashing only": lambda: rho(token_lists),
            "rensa full, hashing only": lambda: full(token_lists),
        },
        work=rows,
        unit="texts",
        checked=checked,
        rounds=3,
    )
    assert ratios["rensa rho, 8 bands, from strings"] >= 1
    assert ratios["rensa full, 16 bands, from strings"] >= 1


def plain_normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower()).split())


def plain_exact(texts: list[str]) -> list[int]:
    firsts: dict[str, int] = {}
    return [firsts.setdefault(plain_normal(text), row) for row, text in enumerate(texts)]


def test_exact_duplicates(compare: Comparison, texts: list[str]) -> None:
    assert exact_duplicates(texts).tolist() == plain_exact(texts)
    compare(
        f"exact duplicates of {ROWS:,} texts",
        lambda: exact_duplicates(texts),
        {"Python: a dict of normal forms": lambda: plain_exact(texts)},
        work=ROWS,
        unit="texts",
        checked="equal rows",
        rounds=3,
    )
