"""Win rates and length-controlled win rates."""

import numpy as np
import pytest
from srlm.evaluation.win_rates import LOSS, TIE, WIN, length_controlled, length_feature, win_rates


def test_counts_and_rate_by_hand():
    rates = win_rates([WIN, WIN, TIE, LOSS], [10, 10, 10, 10], [10, 10, 10, 10])
    assert (rates.wins, rates.ties, rates.losses) == (2, 1, 1)
    assert rates.win_rate.value == 2.5 / 4
    assert rates.win_rate.n == 4
    assert rates.win_rate.low < 2.5 / 4 < rates.win_rate.high


def test_nothing_compared():
    rates = win_rates([], [], [])
    assert rates.win_rate.value is rates.length_controlled.value is None


def test_the_feature_is_tanh_of_standardised_difference():
    # Differences -2, 0, 2 have the standard deviation sqrt(8 / 3).
    spread = np.sqrt(8 / 3)
    assert length_feature(np.array([-2.0, 0.0, 2.0])) == pytest.approx([-np.tanh(2 / spread), 0, np.tanh(2 / spread)])
    assert length_feature(np.array([3.0, 3.0])).tolist() == [0, 0]


def test_equal_lengths_keep_the_rate_up_to_regularization():
    results = [WIN] * 60 + [LOSS] * 40
    assert length_controlled(results, [5] * 100, [5] * 100).value == pytest.approx(0.6, abs=0.002)


def test_a_judge_that_only_follows_length_is_corrected():
    draw = np.random.default_rng(1)
    a, b = draw.integers(150, 260, 600), draw.integers(100, 250, 600)
    chance = 1 / (1 + np.exp(-3 * length_feature((a - b).astype(float))))
    rates = win_rates((draw.random(600) < chance).astype(float).tolist(), a.tolist(), b.tolist())
    assert rates.win_rate.low > 0.6
    assert rates.length_controlled.low < 0.5 < rates.length_controlled.high


def test_a_better_model_stays_better_whatever_the_lengths():
    draw = np.random.default_rng(2)
    a, b = draw.integers(100, 200, 500), draw.integers(100, 200, 500)
    results = (draw.random(500) < 0.7).astype(float).tolist()
    rates = win_rates(results, a.tolist(), b.tolist())
    assert rates.length_controlled.value == pytest.approx(rates.win_rate.value, abs=0.02)
    assert rates.length_controlled.low > 0.6


def test_the_model_behind_simulated_data_is_recovered():
    """Results sampled from sigmoid(0.4 + 1.5 * feature): at equal lengths sigmoid(0.4) = 0.599."""
    draw = np.random.default_rng(3)
    a, b = draw.integers(200, 500, 20_000), draw.integers(100, 500, 20_000)
    chance = 1 / (1 + np.exp(-(0.4 + 1.5 * length_feature((a - b).astype(float)))))
    results = (draw.random(20_000) < chance).astype(float)
    found = length_controlled(results[:4000].tolist(), a[:4000].tolist(), b[:4000].tolist())
    assert found.low < 0.599 < found.high
    assert found.high - found.low < 0.1


def test_scipy_finds_the_same_coefficients():
    from scipy.optimize import minimize

    draw = np.random.default_rng(4)
    a, b = draw.integers(50, 90, 80), draw.integers(40, 90, 80)
    results = draw.choice([WIN, TIE, LOSS], 80)
    feature = length_feature((a - b).astype(float))

    def negative_log_likelihood(weights):
        logit = weights[0] + weights[1] * feature
        return (np.logaddexp(0, logit) - results * logit).sum() + 0.125 * (weights**2).sum()

    best = minimize(negative_log_likelihood, np.zeros(2), method="BFGS", tol=1e-10).x
    found = length_controlled(results.tolist(), a.tolist(), b.tolist())
    assert found.value == pytest.approx(1 / (1 + np.exp(-best[0])), abs=1e-6)


@pytest.mark.parametrize("result", [WIN, LOSS])
def test_one_sided_results_stay_finite(result):
    found = length_controlled([result] * 20, list(range(20)), [0] * 20)
    assert 0 < found.value < 1
    assert (found.value > 0.9) == (result == WIN)
