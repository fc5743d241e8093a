"""Rank correlations against counting and scipy."""

import math
import random
from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from srlm.evaluation import rank_correlation


def ranks(values):
    """Mean ranks by counting, one value after the other."""
    return [sum(v < value for v in values) + (sum(v == value for v in values) + 1) / 2 for value in values]


def pearson(x, y):
    a, b = ([v - sum(values) / len(values) for v in values] for values in (x, y))
    return sum(p * q for p, q in zip(a, b, strict=True)) / math.sqrt(sum(p * p for p in a) * sum(q * q for q in b))


def tau_b(x, y):
    """Kendall's tau-b by counting pairs."""
    agree = differ = tied_x = tied_y = 0
    for i, j in combinations(range(len(x)), 2):
        tied_x += x[i] == x[j]
        tied_y += y[i] == y[j]
        agree += (x[i] < x[j] and y[i] < y[j]) or (x[i] > x[j] and y[i] > y[j])
        differ += (x[i] < x[j] and y[i] > y[j]) or (x[i] > x[j] and y[i] < y[j])
    pairs = math.comb(len(x), 2)
    return (agree - differ) / math.sqrt((pairs - tied_x) * (pairs - tied_y))


def random_lists(seed):
    """Two lists with many ties, neither of them constant."""
    chance = random.Random(seed)
    size = chance.randint(2, 9)
    x = [chance.randint(0, 3) / 2 for _ in range(size - 1)]
    y = [chance.choice([-1.5, 0, 2, 1e6]) for _ in range(size - 1)]
    return [*x, x[0] + chance.choice([-1, 1])], [*y, y[0] + chance.choice([-1, 1])]


def test_correlations_against_counting_and_scipy():
    lists = [random_lists(seed) for seed in range(200)]
    rho, tau = rank_correlation.spearman(lists), rank_correlation.kendall(lists)
    assert any(len(set(x)) < len(x) for x, _ in lists)
    for n, (x, y) in enumerate(lists):
        assert rho[n] == pytest.approx(pearson(ranks(x), ranks(y)), abs=1e-12)
        assert rho[n] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
        assert tau[n] == pytest.approx(tau_b(x, y), abs=1e-12)
        assert tau[n] == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)


def test_correlations_of_empty_and_of_long_lists():
    assert rank_correlation.spearman([]) == rank_correlation.kendall([]) == []
    assert rank_correlation.kendall([([], []), ([1], [2]), ([1, 2], [4, 4]), ([1, 2], [4, 5])]) == [0, 0, 0, 1]
    chance = random.Random(3)
    long = [([chance.random() for _ in range(700)], [chance.random() for _ in range(700)]) for _ in range(3)]
    assert rank_correlation.kendall(long) == pytest.approx([stats.kendalltau(*both).statistic for both in long])
    assert rank_correlation.spearman(long) == pytest.approx([stats.spearmanr(*both).statistic for both in long])


@pytest.mark.parametrize("size", [1, 2, 5])
def test_batches_correlate_like_lists(size):
    draw = random.Random(size)
    x, y = (np.array([[draw.randrange(4) for _ in range(size)] for _ in range(300)]) for _ in range(2))
    lists = [(one.tolist(), other.tolist()) for one, other in zip(x, y, strict=True)]
    assert rank_correlation.batched_spearman(x / 2, y).tolist() == rank_correlation.spearman(lists)
    assert rank_correlation.batched_spearman(x[:0], y[:0]).tolist() == []
