"""Novelty at scale: 10,000 new prompts against pools of 5,000, 50,000 and 500,000, by Self-Instruct's rule.

The prompts are synthesised from about 2,000 real ones. 85 % follow a real prompt clause by clause: half of the clauses
(ending in one of `.?!,;:` or at the end of a line) are replaced by clauses of random real prompts, then 30 % of the
words by words sampled with their real frequencies. 15 % repeat an earlier synthetic prompt, unchanged or with up to
20 % of the words replaced. So lengths and word frequencies are realistic, and the vocabulary does not grow with the
number of prompts: every posting list grows with the pool, which is the hard case for an inverted index. New prompts and
pool come from the same stream.

The baseline is timed on 400 x 5,000 pairs and scaled to new prompts x pool, without pairs within the batch and without
splitting into words. The time of srlm is that of the whole call of `add_novel`.
"""

from __future__ import annotations

import json
import random
import re
import sys
import time
from itertools import islice

import numpy as np
import pytest
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist
from srlm.native import NoveltyIndex

from benches.conftest import DATA

NEW = 10_000
THRESHOLD = 0.7
SAMPLE = (400, 5_000)  # new prompts and pool in a run of the baseline
GROUP = 50
SECONDS: dict[int, float] = {}
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real prompts are not next to the checkout")


def rows(name):
    text = (DATA / name).read_text(encoding="utf-8")
    return json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines() if line]


def real_prompts():
    """About 2,000 distinct prompts."""
    prompts = [row["prompt"]["text"] for row in rows("oasst/en_100_tree.jsonl")]
    prompts += rows("oasst/prompt_lottery_en_250_text.jsonl")
    prompts += [row["instruction"] for row in rows("self-instruct/seed_tasks.jsonl")]
    prompts += [row["instruction"] for row in rows("self-instruct/user_oriented_instructions.jsonl")]
    prompts += [turn for row in rows("mt-bench/question.jsonl") for turn in row["turns"]]
    prompts += [row["prompt"] for row in rows("ifeval/input_data.jsonl")]
    for file in sorted((DATA / "llmbar").glob("*.json")):
        prompts += [row["input"] for row in rows(f"llmbar/{file.name}")]
    prompts += [f"{row['instruction']} {row['input']}" for row in rows("pandalm/testset-v1.json")]
    return list(dict.fromkeys(prompts))


def synthetic_prompts(seed):
    """An endless stream of synthetic prompts, see above."""
    rng = random.Random(seed)
    split = [[part.split() for part in re.split(r"(?<=[.?!,;:\n])\s+", text)] for text in real_prompts()]
    split = [[clause for clause in prompt if clause] for prompt in split]
    clauses = [clause for prompt in split for clause in prompt]
    words = [word for clause in clauses for word in clause]
    made = []
    while True:
        if made and rng.random() < 0.15:
            prompt, share = list(made[rng.randrange(len(made))]), 0.2 * rng.random()
        else:
            kept = (c if rng.random() < 0.5 else rng.choice(clauses) for c in rng.choice(split))
            prompt, share = [word for clause in kept for word in clause], 0.3
        for _ in range(int(share * len(prompt) + rng.random())):
            prompt[int(rng.random() * len(prompt))] = words[int(rng.random() * len(words))]
        made.append(prompt)
        yield " ".join(prompt)


class Baseline:
    """RapidFuzz over every pair, on lists of small integers, its fastest input here. Splitting is not timed."""

    def __init__(self, new, pool):
        numbers: dict[str, int] = {}
        self.new, self.pool = (
            [[numbers.setdefault(w, len(numbers)) for w in re.findall("[a-z0-9]+", t.lower())] for t in texts]
            for texts in (new, pool)
        )

    def all_pairs(self):
        return cdist(self.new, self.pool, scorer=LCSseq.similarity, dtype=np.uint16, workers=-1)

    def all_pairs_with_cutoff(self):
        """With a cutoff per group of lengths: the words in common with the shortest text that can be similar enough."""
        by_length = sorted(self.new, key=len)
        for group in (by_length[at : at + GROUP] for at in range(0, len(by_length), GROUP)):
            cutoff = int(len(group[0]) * THRESHOLD / (2 - THRESHOLD))
            cdist(group, self.pool, scorer=LCSseq.similarity, dtype=np.uint16, workers=-1, score_cutoff=cutoff)

    def decisions(self):
        """The rule of Self-Instruct's code: each new prompt against the pool and the prompts kept before it."""
        kept, similarities = [], self._f_measures(self.pool)
        among_new = self._f_measures(self.new)
        for row, own in enumerate(among_new):
            before = np.concatenate([similarities[row], own[kept]])
            best = int(before.argmax())
            if before[best] > THRESHOLD:
                yield False, before[best], best
            else:
                kept.append(row)
                yield True, None, -1

    def _f_measures(self, others):
        common = cdist(self.new, others, scorer=LCSseq.similarity, dtype=np.uint16, workers=-1).astype(float)
        left, right = (np.array([len(words) for words in texts], dtype=float) for texts in (self.new, others))
        with np.errstate(invalid="ignore", divide="ignore"):
            precision, recall = common / left[:, None], common / right
            return np.nan_to_num(2 * precision * recall / (precision + recall))


def check(new, pool):
    index = NoveltyIndex()
    index.add_all(pool)
    kept, similarity, nearest = index.add_novel(new, THRESHOLD)
    for row, expected in enumerate(Baseline(new, pool).decisions()):
        assert (kept[row], nearest[row]) == (expected[0], expected[2]), new[row]
        assert kept[row] or similarity[row] == expected[1]
    assert 0 < kept.sum() < len(new)


def share_by_length(new, pool):
    """The share of pairs that pass the length bound alone."""
    a, b = (np.array([len(re.findall("[a-z0-9]+", text.lower())) for text in texts]) for texts in (new, pool))
    return float(np.mean([np.mean(2 * np.minimum(n, b) / (n + b) > THRESHOLD) for n in a]))


def report(pool, new, index, seconds):
    counts = index.counts()
    shares = {name: counts[name] / counts["pairs"] for name in ("met", "signature", "overlap")}
    left = {"lengths": share_by_length(new[:200], pool[:20_000]), **shares}
    print(
        f"\npool {len(pool):,}: {seconds / NEW * 1e6:.1f} µs per new prompt, "
        f"{len(index) - len(pool):,} of {NEW:,} kept; index {sys.getsizeof(index) / 1e6:.0f} MB; "
        "share of pairs that pass each bound: " + ", ".join(f"{name} {share:.2g}" for name, share in left.items())
    )


@pytest.mark.parametrize("size", [5_000, 50_000, 500_000])
def test_new_prompts_against_a_pool(compare, capsys, size):
    texts = list(islice(synthetic_prompts(size), size + NEW))
    random.Random(0).shuffle(texts)
    new, pool = texts[:NEW], texts[NEW:]
    check(new[:100], pool[:50_000])
    rounds = 1 if size > 100_000 else 3
    indexes = [NoveltyIndex() for _ in range(2 * rounds + 1)]
    for index in indexes:
        index.add_all(pool)
    start = time.perf_counter()
    indexes[0].add_novel(new, THRESHOLD)
    SECONDS[size] = time.perf_counter() - start
    with capsys.disabled():
        report(pool, new, indexes[0], SECONDS[size])
    fresh = iter(indexes[1:])
    sample = Baseline(new[: SAMPLE[0]], pool[: SAMPLE[1]])
    baselines = {"RapidFuzz cdist LCSseq": sample.all_pairs, "the same, score_cutoff": sample.all_pairs_with_cutoff}
    ratios = compare(
        f"{NEW:,} new prompts, pool of {size:,}",
        lambda: next(fresh).add_novel(new, THRESHOLD),
        baselines,
        work=NEW,
        unit="prompts",
        checked=f"decisions, similarities and nearest of 100 new with {min(size, 50_000):,}",
        rounds=rounds,
        scale=dict.fromkeys(baselines, NEW * size / (SAMPLE[0] * SAMPLE[1])),
    )
    if size == 50_000:
        assert min(ratios.values()) >= 20
    if size == 500_000 and 5_000 in SECONDS:
        assert SECONDS[size] < 50 * SECONDS[5_000]  # for a pool a hundred times as large
