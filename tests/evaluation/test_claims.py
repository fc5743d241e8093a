"""Exact tests against independent computations with fractions, and the rule for claims."""

import itertools
import math
import random
from fractions import Fraction

import pytest
from srlm.evaluation.claims import (
    ALPHA,
    EXACT_INTEGERS,
    MIN_DECISIVE,
    claim,
    decided_text,
    sign_flip_test,
    sign_test,
    win_rate_claim,
)
from srlm.evaluation.estimates import NONE, Estimate
from srlm.evaluation.win_rates import LOSS, TIE, WIN, win_rates


def exact_sign_test(positive, negative):
    """The probability of an outcome at most as likely as the observed one, by Pascal's rule with fractions."""
    row = [Fraction(1)]
    for _ in range(positive + negative):
        row = [(a + b) / 2 for a, b in zip([*row, Fraction(0)], [Fraction(0), *row], strict=True)]
    return sum((chance for chance in row if chance <= row[positive]), Fraction(0))


@pytest.mark.parametrize("total", [0, 1, 2, 3, 5, 6, 10, 33, 80])
def test_the_sign_test_is_exact(total):
    for positive in range(total + 1):
        expected = float(exact_sign_test(positive, total - positive))
        assert sign_test(positive, total - positive) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(("total", "positive"), [(1001, 460), (1200, 640), (1500, 750), (2000, 1100), (1300, 0)])
def test_the_sign_test_of_many_prompts(total, positive):
    """Above EXACT_INTEGERS it sums in log space: compared with integers, as fractions by Pascal's rule take minutes."""
    assert total > EXACT_INTEGERS
    fewer = min(positive, total - positive)
    exact = min(Fraction(1), Fraction(2 * sum(math.comb(total, k) for k in range(fewer + 1)), 2**total))
    assert sign_test(positive, total - positive) == pytest.approx(float(exact), rel=1e-9)


def test_the_sign_test_agrees_with_scipy():
    from scipy.stats import binomtest

    draw = random.Random(0)
    for _ in range(200):
        total = draw.randrange(1, 3000)
        positive = draw.randrange(total + 1)
        assert sign_test(positive, total - positive) == pytest.approx(binomtest(positive, total).pvalue, rel=1e-8)


def exact_sign_flip(differences):
    """Enumerate all signs."""
    observed = abs(sum(differences))
    signs = list(itertools.product((1, -1), repeat=len(differences)))
    extreme = sum(abs(sum(s * d for s, d in zip(sign, differences, strict=True))) >= observed for sign in signs)
    return Fraction(extreme, len(signs))


def test_sign_flips_are_exact():
    draw = random.Random(1)
    for _ in range(60):
        differences = [draw.choice([-3, -1.5, -1, -0.5, 0, 0.5, 1, 2.5]) for _ in range(draw.randrange(0, 11))]
        assert sign_flip_test(differences) == pytest.approx(float(exact_sign_flip(differences)), rel=1e-12)


def test_sign_flips_of_one_size_are_the_sign_test():
    for up, down in [(3, 1), (40, 22), (200, 150), (0, 7), (5, 5)]:
        for size in (0.5, 1, 3):
            differences = [size] * up + [-size] * down + [0.0] * 100
            assert sign_flip_test(differences) == pytest.approx(sign_test(up, down), rel=1e-9)


def test_sign_flips_need_a_grid():
    with pytest.raises(ValueError, match="multiples of one half"):
        sign_flip_test([0.3])


def test_the_fewest_decisive_prompts_of_a_claim():
    assert sign_test(MIN_DECISIVE, 0) < ALPHA <= sign_test(MIN_DECISIVE - 1, 0)


@pytest.mark.parametrize(
    ("wins", "ties", "losses", "expected"),
    [
        (2, 0, 0, "same"),
        (5, 0, 0, "same"),
        (6, 0, 0, "better"),
        (0, 0, 6, "worse"),
        (4, 252, 0, "same"),  # the bootstrap interval is above 50 %
        (5, 251, 0, "same"),
        (6, 250, 0, "better"),
        (0, 252, 4, "same"),
        (0, 256, 0, "same"),
        (1, 0, 0, "unmeasured"),  # one prompt has no interval
        (0, 0, 0, "unmeasured"),
        (8, 0, 2, "same"),
        (9, 0, 1, "better"),
        (140, 0, 116, "same"),
        (150, 0, 106, "better"),
        (106, 0, 150, "worse"),
        (9, 300, 1, "better"),
    ],
)
def test_win_rates_that_are_claimed(wins, ties, losses, expected):
    results = [WIN] * wins + [TIE] * ties + [LOSS] * losses
    found = win_rates(results, [1] * len(results), [1] * len(results))
    assert win_rate_claim(found.win_rate, found.wins, found.losses) == expected


@pytest.mark.parametrize(
    ("low", "high", "p_value", "expected"),
    [
        (0.01, 0.2, 0.01, "better"),
        (0.01, 0.2, 0.05, "same"),
        (0.01, 0.2, None, "same"),
        (0.0, 0.2, 0.01, "same"),
        (-0.2, -0.01, 0.01, "worse"),
        (-0.2, -0.01, 0.2, "same"),
        (-0.2, 0.0, 0.01, "same"),
        (None, None, 0.01, "unmeasured"),
    ],
)
def test_a_claim_needs_an_interval_and_a_test(low, high, p_value, expected):
    assert claim(Estimate(0.1, low, high, 9), p_value) == expected
    assert claim(NONE, p_value) == "unmeasured"


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((0, 253, 0), "the judge decided none of 253 prompts"),
        ((4, 252, 0), "4 of 256 prompts decided, fewer than the 6 that a claim needs: 4 won, 0 lost"),
        ((30, 10, 20), "50 of 60 prompts decided: 30 won, 20 lost"),
    ],
)
def test_decided_prompts_in_words(counts, expected):
    assert decided_text(*counts) == expected
