"""Estimates with intervals: by hand, coverage on simulated data, cluster bootstrap, and missing intervals."""

import math

import numpy as np
import pytest
from srlm.evaluation import estimates
from srlm.evaluation.estimates import NONE, Estimate, bootstrap, clustered_mean, mean, ratio


@pytest.mark.parametrize(
    ("top", "below", "value", "n"),
    [
        ([1, 1, 0, 0], [1, 1, 1, 1], 0.5, 4),
        ([3, 0], [3, 1], 0.75, 4),  # pooled: 3 of 4, not the mean of 1 and 0
        ([3, 9, 0], [3, 0, 1], 0.75, 4),  # a prompt without a case is ignored
        ([-1, 2], [1, 1], 0.5, 2),
    ],
)
def test_a_ratio(top, below, value, n):
    found = ratio(top, below)
    assert (found.value, found.n) == (value, n)
    assert found.low <= value <= found.high


def test_no_cases():
    assert mean([]) == ratio([], []) == ratio([0, 0], [0, 0]) == clustered_mean([], []) == NONE
    assert bootstrap(0, lambda rows: 1 / 0) == NONE


def test_one_prompt_has_no_interval():
    assert mean([0.25]) == Estimate(0.25, None, None, 1)
    assert clustered_mean([1, 0, 0, 1, 1], [0] * 5) == Estimate(0.6, None, None, 5)
    assert ratio([3, 0], [4, 0]) == Estimate(0.75, None, None, 4)


def test_equal_values_have_an_interval_of_no_width():
    assert mean([0.5] * 20) == Estimate(0.5, 0.5, 0.5, 20)


def test_the_interval_of_a_small_sample_by_hand():
    # Two prompts, 0 and 1: a resample is 0, 0.5 or 1 with 1/4, 1/2, 1/4, so both bounds are the ends.
    assert mean([0, 1]) == Estimate(0.5, 0.0, 1.0, 2)
    # Of ten prompts one is 1: P(none drawn) = 0.9^10 = 35 %, and the sum is binomial(10, 0.1) with its 97.5 % point
    # at 3 (P(sum <= 2) = 93.0 %, P(sum <= 3) = 98.7 %).
    assert mean([1] + [0] * 9) == Estimate(0.1, 0.0, 0.3, 10)


def test_the_interval_of_a_large_sample_is_the_normal_one():
    values = np.random.default_rng(5).normal(2.0, 3.0, 4000)
    found = mean(values.tolist())
    error = values.std() / math.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_clustered_values_are_a_ratio_of_sums():
    values, prompts = [1, 0, 1, 0.5, 0, 1], [0, 2, 0, 2, 5, 0]
    # prompt 0: 3 of 3; prompt 2: 0.5 of 2; prompt 5: 0 of 1
    assert clustered_mean(values, prompts) == ratio([3, 0.5, 0], [3, 2, 1])
    assert clustered_mean(values, prompts).value == pytest.approx(3.5 / 6)


def test_the_same_values_give_the_same_interval():
    values = np.random.default_rng(1).random(50).tolist()
    assert mean(values) == mean(values)


@pytest.mark.parametrize("block", [1, 1000, 2**30])
def test_blocks_only_save_memory(block, monkeypatch):
    values = np.random.default_rng(2).random(37).tolist()
    whole = mean(values)
    monkeypatch.setattr(estimates, "BLOCK_SIZE", block)
    assert mean(values) == whole


def test_many_prompts_are_resampled_in_blocks():
    sizes = []

    def statistic(rows):
        sizes.append(rows.size)
        return rows.mean(-1)

    bootstrap(10_000, statistic)
    assert sum(sizes[1:]) == estimates.RESAMPLES * 10_000  # the first call is for the value itself
    assert max(sizes) <= max(estimates.BLOCK_SIZE, 10_000)


def covered(draw, truth, simulations=300):
    """Return the share of simulations whose interval holds the truth."""
    found = [draw(np.random.default_rng(seed)) for seed in range(simulations)]
    return sum(one.low <= truth <= one.high for one in found) / simulations


def test_intervals_cover_the_truth():
    assert 0.92 <= covered(lambda rng: mean((rng.random(80) < 0.3).tolist()), 0.3) <= 0.98
    assert 0.92 <= covered(lambda rng: mean(rng.normal(1, 2, 80).tolist()), 1.0) <= 0.98


def correlated(rng, prompts=60, size=6):
    """Sample wins that depend on the prompt: each prompt has its own rate, 0.1 or 0.9 with equal probability."""
    rates = rng.choice([0.1, 0.9], prompts)
    wins = rng.random((prompts, size)) < rates[:, None]  # [P, size]
    return wins.ravel().astype(float).tolist(), np.repeat(np.arange(prompts), size).tolist()


def test_prompts_are_resampled_whole():
    # The standard error of a prompt's mean has a part that does not shrink with its size: sqrt((0.16 + 0.09 / 6) / 60)
    # = 0.054, against 0.5 / sqrt(360) = 0.026 of as many independent wins.
    wins, prompts = correlated(np.random.default_rng(0))
    whole, single = clustered_mean(wins, prompts), mean(wins)
    assert whole.value == pytest.approx(single.value)
    assert (whole.high - whole.low) / (single.high - single.low) == pytest.approx(0.054 / 0.026, rel=0.15)
    assert 0.92 <= covered(lambda rng: clustered_mean(*correlated(rng)), 0.5) <= 0.98
    assert covered(lambda rng: mean(correlated(rng)[0]), 0.5, simulations=100) < 0.80


def test_a_custom_statistic():
    x = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])
    found = bootstrap(len(x), lambda rows: x[rows].max(-1), cases=3)
    # The largest is drawn in 1 - (7/8)^8 = 66 % of the resamples, so it is the upper bound.
    assert (found.value, found.high, found.n) == (9.0, 9.0, 3)
    assert found.low < 9.0


def test_undefined_resamples_are_excluded():
    values = np.array([1.0, np.nan, np.nan])

    def statistic(rows):
        known = ~np.isnan(values[rows])
        return np.where(known.any(-1), 1.0, np.nan)

    assert bootstrap(3, statistic) == Estimate(1.0, 1.0, 1.0, 3)
    assert bootstrap(2, lambda rows: np.full(len(rows), np.nan)) == Estimate(None, None, None, 2)
    first = iter([np.array([0.5])])
    never = bootstrap(2, lambda rows: next(first, np.full(len(rows), np.nan)))
    assert never == Estimate(0.5, None, None, 2)
