"""`select_pairs` and `mean_scores` against naive implementations, their threads and their memory."""

import math
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from srlm import native

from tests.conftest import HANG_SECONDS

NAN, INF = math.nan, math.inf
REASONS = ("too_few_scored", "too_few_usable", "tied", "below_margin", "same_text")
SEVERAL = ("margin", "top_bottom")
METHODS = ("best_worst", "length_controlled", "random", *SEVERAL)
MASK = 2**64 - 1


def mix(state):
    """The finaliser of SplitMix64."""
    z = (state + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


class NaivePrompt:
    """The naive pairs of one prompt. An answer is (row, score, expected, usable, text, length)."""

    def __init__(self, answers, min_margin=0.0, seed=0, k=2, rho=0.1):
        self.answers, self.min_margin, self.seed, self.k, self.rho = answers, min_margin, seed, k, rho

    def differ(self, good, bad):
        return good[1] - bad[1] > 0 and good[1] - bad[1] >= self.min_margin - 1e-9

    def among(self, top, bottom):
        pairs = [(a, b) for a in top for b in bottom if self.differ(a, b) and a[4].strip() != b[4].strip()]
        return sorted(pairs, key=lambda pair: (pair[1][1] - pair[0][1], pair[0][0], pair[1][0]))

    def by_length(self, best, worst):
        high, low = best[0][1], worst[0][1]
        good = [answer for answer in best if answer[1] >= (1 - self.rho) * high + self.rho * low - 1e-9]
        bad = [answer for answer in worst if answer[1] <= (1 - self.rho) * low + self.rho * high + 1e-9]
        return min(good, key=lambda answer: answer[5]), min(bad, key=lambda answer: -answer[5])

    def pairs(self, method, prompt):
        """The pairs, or the drop reason."""
        scored = [answer for answer in self.answers if math.isfinite(answer[1])]
        eligible = [answer for answer in scored if answer[3]]
        if len(eligible) < 2:
            return "too_few_scored" if len(scored) < 2 else "too_few_usable"
        best = sorted(eligible, key=lambda a: (-a[1], INF if math.isnan(a[2]) else -a[2], a[0]))
        worst = sorted(eligible, key=lambda a: (a[1], INF if math.isnan(a[2]) else a[2], a[0]))
        good, bad = self.by_length(best, worst) if method == "length_controlled" else (best[0], worst[0])
        if not self.differ(good, bad):
            return "tied" if good[1] <= bad[1] else "below_margin"
        if method == "top_bottom":
            k = min(self.k, len(best) // 2)
            found = self.among(best[:k], [answer for answer in worst if answer not in best[:k]][:k])
        elif method in ("margin", "random"):
            found = self.among(eligible, eligible)
        else:
            found = self.among([good], [bad])
        if method == "random" and found:
            found.sort(key=lambda pair: (pair[0][0], pair[1][0]))
            found = [found[mix((mix(self.seed) + prompt) & MASK) * len(found) >> 64]]
        return [(a[0], b[0]) for a, b in found] or "same_text"


def naive(rows, *, method, max_per_prompt=None, **settings):
    """`select_pairs` over rows of (prompt, score, expected, usable, text, length)."""
    groups = {}
    for row, (prompt, *answer) in enumerate(rows):
        groups.setdefault(prompt, []).append((row, *answer))
    drops = dict.fromkeys(REASONS + (("over_cap",) if method in SEVERAL else ()), 0)
    pairs = []
    for prompt, answers in groups.items():
        found = NaivePrompt(answers, **settings).pairs(method, prompt)
        if isinstance(found, str):
            drops[found] += 1
            continue
        pairs += found[:max_per_prompt]
        if method in SEVERAL:
            drops["over_cap"] += len(found) - len(found[:max_per_prompt])
    return pairs, drops


def ours(rows, *, lengths=True, **settings):
    prompt, score, expected, usable, texts, length = zip(*rows, strict=True) if rows else ((),) * 6
    chosen, rejected, drops = native.select_pairs(
        np.array(prompt, dtype=np.int64),
        np.array(score, dtype=np.float64),
        np.array(expected, dtype=np.float64),
        np.array(usable, dtype=np.bool_),
        texts,
        length=np.array(length, dtype=np.int64) if lengths else None,
        **settings,
    )
    assert chosen.dtype == rejected.dtype == np.int64
    return list(zip(chosen.tolist(), rejected.tolist(), strict=True)), drops


def table(draw):
    """Random rows: ties, NaN scores, equal texts, adjacent and separate rows of a prompt."""
    scores = [NAN, INF, -INF, 0.0, -0.0, *(n / 2 for n in range(8)), 4.3, 3.3]
    prompts = draw.choice([1, 2, 8, 2**40])
    rows = [
        (
            draw.randrange(-1, prompts),
            draw.choice(scores),
            draw.choice(scores),
            draw.random() < 0.85,
            "".join(draw.choices("ab\u00e9 ", k=draw.randrange(3))),
            draw.randrange(4),
        )
        for _ in range(draw.randrange(40))
    ]
    return sorted(rows, key=lambda row: row[0]) if draw.random() < 0.4 else rows


@pytest.mark.parametrize("method", METHODS)
def test_every_method_agrees_with_the_naive_one(method):
    draw = random.Random(method)
    kept = 0
    for _ in range(600):
        rows = table(draw)
        settings = {
            "method": method,
            "min_margin": draw.choice([0.0, 0.5, 1.0, 3 * draw.random()]),
            "seed": draw.choice([0, draw.getrandbits(64)]),
            "k": draw.choice([1, 2, 3, 100]),
            "rho": draw.choice([0.0, 1.0, 0.5, draw.random()]),
            "max_per_prompt": draw.choice([None, 1, 3]),
        }
        found = ours(rows, **settings)
        assert found == naive(rows, **settings)
        prompts, with_pairs = {row[0] for row in rows}, {rows[chosen][0] for chosen, _ in found[0]}
        assert len(with_pairs) + sum(found[1][reason] for reason in REASONS) == len(prompts)
        kept += len(found[0])
    assert kept > 500


def test_lengths_are_code_points_by_default():
    draw = random.Random(1)
    for _ in range(200):
        rows = [(*row[:5], len(row[4])) for row in table(draw)]
        settings = {"method": "length_controlled", "rho": draw.random()}
        assert ours(rows, lengths=False, **settings) == naive(rows, **settings)


def test_columns_may_be_left_out():
    prompt, score = np.array([0, 0, 1, 1]), np.array([1.0, 2.0, 5.0, 3.0])
    for method in METHODS:
        length = np.zeros(4, dtype=np.int64)
        found = native.select_pairs(prompt, score, method=method, length=length)
        assert (found[0].tolist(), found[1].tolist()) == ([1, 2], [0, 3])
    assert native.select_positives(prompt, score, perfect=2.0)[0].tolist() == [1, 2, 3]


def views(column):
    """The same numbers in other layouts: contiguous, strided, reversed, read-only, and unaligned."""
    raw = np.empty(column.nbytes + 1, dtype=np.uint8)
    crooked = raw[1:].view(column.dtype)
    crooked[:] = column
    frozen = column.copy()
    frozen.setflags(write=False)
    return [column, np.repeat(column, 2)[::2], column[::-1].copy()[::-1], frozen, crooked]


def test_columns_in_any_memory_layout():
    prompt, score = np.array([0, 0, 1, 1, 0]), np.array([1.0, 2.0, 5.0, 3.0, 4.0])
    assert not views(score)[-1].flags.aligned
    for ids, scores in zip(views(prompt), views(score), strict=True):
        found = native.select_pairs(ids, scores, usable=np.array([True, False] * 5)[::2])
        assert (found[0].tolist(), found[1].tolist()) == ([4, 2], [0, 3])
        mean, count = native.mean_scores(ids, scores)
        assert (mean.tolist(), count.tolist()) == ([7 / 3, 4.0], [3, 2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "best"}, 'method is "best"; use best_worst, length_controlled, margin, random or top_bottom'),
        ({"method": "top_bottom", "k": 0}, "k is 0; use a whole number of at least 1"),
        ({"method": "top_bottom", "k": -1}, "k is -1; use a number that is not negative"),
        ({"method": "margin", "max_per_prompt": 0}, "max_per_prompt is 0; use a whole number of at least 1"),
        ({"method": "margin", "max_per_prompt": -2}, "max_per_prompt is -2; use"),
        ({"method": "margin", "min_margin": NAN}, "min_margin is NaN; use a finite number"),
        ({"method": "random", "seed": -1}, r"seed is -1; use a whole number of at least 0 and below 2\*\*64"),
        ({"method": "random", "seed": 2**64}, "seed is 18446744073709551616; use"),
        ({"method": "length_controlled", "rho": 1.5}, "rho is 1.5; use a number from 0 to 1"),
        ({"method": "length_controlled"}, "needs the lengths of the answers; pass `texts` or `length`"),
        ({"length": np.zeros(3, dtype=np.int64)}, "column `length` has 3 rows but `prompt` has 2"),
    ],
)
def test_wrong_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        native.select_pairs(np.zeros(2, dtype=np.int64), np.ones(2), **settings)


def test_a_column_of_another_type_is_named():
    with pytest.raises(TypeError, match="length must be a one-dimensional numpy array of int64"):
        native.select_pairs(np.zeros(2, dtype=np.int64), np.ones(2), length=np.ones(2))
    with pytest.raises(TypeError, match="candidate must be a one-dimensional numpy array of int64"):
        native.mean_scores([0, 1], np.ones(2))


# --- means ------------------------------------------------------------------------------------------------------------


def test_means_are_those_of_exact_sums():
    draw = random.Random(2)
    for _ in range(300):
        verdicts = [(draw.randrange(12), draw.choice([NAN, 5 * draw.random()])) for _ in range(draw.randrange(60))]
        if draw.random() < 0.5:
            verdicts.sort(key=lambda verdict: verdict[0])
        candidates = draw.choice([None, 12, 15])
        sums, counts = [0] * 15, [0] * 15
        for candidate, score in verdicts:
            if not math.isnan(score):
                sums[candidate] += round(score * 1e9)  # exact: scores count in units of 1e-9
                counts[candidate] += 1
        size = candidates or max((candidate for candidate, _ in verdicts), default=-1) + 1
        expected = [total / (count * 10**9) if count else NAN for total, count in zip(sums, counts, strict=True)][:size]
        mean, count = native.mean_scores(
            np.array([candidate for candidate, _ in verdicts], dtype=np.int64),
            np.array([score for _, score in verdicts], dtype=np.float64),
            candidates=candidates,
        )
        assert (mean.dtype, count.dtype) == (np.float64, np.int64)
        np.testing.assert_array_equal(mean, expected)  # bit-identical
        assert count.tolist() == counts[:size]


@pytest.mark.parametrize(
    ("candidate", "candidates", "message"),
    [
        ([0, -1], None, r"candidate\[1\] is -1; use the row of a candidate, at least 0"),
        ([0, 2], 2, r"candidate\[1\] is 2; use the row of a candidate, at least 0 and below 2$"),
        ([0, 2**62], None, r"candidate\[1\] is 4611686018427387904; .* \(or pass the number of `candidates`\)"),
        ([0, 0], -3, "candidates is -3; use a number that is not negative"),
        ([0], None, "column `score` has 2 rows but `candidate` has 1; both need one entry per verdict"),
    ],
)
def test_wrong_candidates(candidate, candidates, message):
    with pytest.raises(ValueError, match=message):
        native.mean_scores(np.array(candidate, dtype=np.int64), np.ones(2), candidates=candidates)


def test_more_candidates_than_memory():
    with pytest.raises(MemoryError, match="Unable to allocate"):
        native.mean_scores(np.zeros(1, dtype=np.int64), np.ones(1), candidates=2**50)


# --- threads and memory -----------------------------------------------------------------------------------------------

DIGEST = """
import hashlib
import numpy as np
from srlm import native
rng = np.random.default_rng(0)
digest = hashlib.sha256()
verdicts = rng.choice([np.nan, *np.arange(0, 5.1, 0.3)], 600_000)
candidate = np.repeat(np.arange(200_000), 3)
for order in (slice(None), rng.permutation(600_000)):
    for column in native.mean_scores(candidate[order], verdicts):
        digest.update(column.tobytes())
score, _ = native.mean_scores(candidate, verdicts)
for prompt in (np.repeat(np.arange(50_000), 4), rng.integers(0, 50_000, 200_000), rng.integers(0, 9, 200_000) << 50):
    for method in ("best_worst", "length_controlled", "random", "top_bottom", "margin"):
        if method == "margin" and prompt.max() > 2**40:
            continue  # about 10^9 pairs
        length = (np.arange(200_000) * 7919) % 1000
        *rows, drops = native.select_pairs(prompt, score, method=method, seed=5, length=length, max_per_prompt=3)
        for column in rows:
            digest.update(column.tobytes())
        digest.update(repr(drops).encode())
print(digest.hexdigest())
"""


def run(script, **environment):
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_number_of_threads_does_not_matter():
    digests = {run(DIGEST, RAYON_NUM_THREADS=threads, PYTHONHASHSEED=threads) for threads in ("1", "2", "5")}
    assert len(digests) == 1
    assert len(digests.pop()) == 64


MEMORY = """
from pathlib import Path
import numpy as np
from srlm import native
rng = np.random.default_rng(0)
prompt = np.repeat(np.arange(200_000), 4)
candidate = np.repeat(np.arange(800_000), 3)
score = rng.integers(0, 11, 2_400_000) / 2
native.select_pairs(prompt[:8], score[:8])
Path("/proc/self/clear_refs").write_text("5")
def peak(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
before = peak("VmRSS")
mean, _ = native.mean_scores(candidate, score)
native.select_pairs(prompt, mean)
print((peak("VmHWM") - before) / (prompt.nbytes + candidate.nbytes + score.nbytes))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_memory_stays_below_three_times_the_columns():
    assert 0.1 < float(run(MEMORY)) < 3
