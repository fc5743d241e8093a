"""The Rust parts beside what a user would write in Python; equality is checked before speed.

Run with `make bench`. Timings on a shared machine are noisy: read the ratios within one group of one run.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from srlm._native import parse_verdicts, rouge_l, select_pairs

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

LABEL = re.compile(
    r"(?:(?:total|final|overall)\s+)?score[*_`\"']*\s*(?:[:=\uff1a]|is)\s*[*_`\"'<\[(]*\s*(\d+(?:\.\d+)?)", re.I
)
REASON = (
    "The answer is on topic and explains the main steps, but leaves out the reasons. It earns 1 point for that. " * 5
)


def replies(count: int) -> list[str]:
    chooser = random.Random(0)
    return [
        f"{REASON}\n{chooser.choice(['Score: ', '**Score:** ', 'Final score: '])}{chooser.randint(0, 5)}"
        for _ in range(count)
    ]


def python_scores(texts: list[str]) -> list[float]:
    return [float(found[-1]) if (found := LABEL.findall(text)) else float("nan") for text in texts]


@pytest.mark.benchmark(group="verdicts, 2,000 replies")
def test_verdicts_rust(benchmark: BenchmarkFixture) -> None:
    texts = replies(2000)
    assert parse_verdicts(texts)[1].tolist() == python_scores(texts)
    benchmark(parse_verdicts, texts)


@pytest.mark.benchmark(group="verdicts, 2,000 replies")
def test_verdicts_python_re(benchmark: BenchmarkFixture) -> None:
    benchmark(python_scores, replies(2000))


def table(prompts: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return np.repeat(np.arange(prompts), 4), generator.integers(0, 16, prompts * 4) / 3


def python_pairs(prompt: np.ndarray, score: np.ndarray) -> list[tuple[int, int]]:
    groups: dict[int, list[int]] = {}
    for row, key in enumerate(prompt.tolist()):
        groups.setdefault(key, []).append(row)
    values, pairs = score.tolist(), []
    for rows in groups.values():
        best, worst = max(rows, key=lambda row: (values[row], -row)), min(rows, key=lambda row: (values[row], row))
        if values[best] > values[worst]:
            pairs.append((best, worst))
    return pairs


def rust_pairs(prompt: np.ndarray, score: np.ndarray, texts: list[str]) -> list[tuple[int, int]]:
    nothing, usable = np.full(len(score), np.nan), np.ones(len(score), dtype=bool)
    chosen, rejected, _ = select_pairs(prompt, score, nothing, usable, texts)
    return list(zip(chosen.tolist(), rejected.tolist(), strict=True))


@pytest.mark.benchmark(group="pairs, 50,000 prompts x 4")
def test_pairs_rust(benchmark: BenchmarkFixture) -> None:
    prompt, score = table(50_000)
    texts = [f"answer {row}" for row in range(len(score))]
    assert rust_pairs(prompt, score, texts) == python_pairs(prompt, score)
    benchmark(rust_pairs, prompt, score, texts)


@pytest.mark.benchmark(group="pairs, 50,000 prompts x 4")
def test_pairs_python(benchmark: BenchmarkFixture) -> None:
    benchmark(python_pairs, *table(50_000))


def python_rouge_l(one: str, other: str) -> float:
    a, b = re.findall(r"[a-z0-9]+", one.lower()), re.findall(r"[a-z0-9]+", other.lower())
    row = [0] * (len(b) + 1)
    for word in a:
        before = 0
        for place, match in enumerate(b, 1):
            before, row[place] = row[place], before + 1 if word == match else max(row[place], row[place - 1])
    return 2 * row[-1] / (len(a) + len(b))


@pytest.mark.benchmark(group="ROUGE-L, one pair of 100 words")
def test_rouge_l_rust(benchmark: BenchmarkFixture) -> None:
    assert rouge_l(REASON, REASON[::-1]) == pytest.approx(python_rouge_l(REASON, REASON[::-1]))
    benchmark(rouge_l, REASON, REASON[7:])


@pytest.mark.benchmark(group="ROUGE-L, one pair of 100 words")
def test_rouge_l_python(benchmark: BenchmarkFixture) -> None:
    benchmark(python_rouge_l, REASON, REASON[7:])
