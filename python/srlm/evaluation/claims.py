"""What may be claimed of a comparison: exact tests, and the rule that turns a test and an interval into an outcome.

A difference is claimed only if its 95 % interval excludes zero (a win rate: 50 %) and an exact two-sided test of the
prompts gives p < 0.05. The interval alone claims too much: a bootstrap of few prompts is too narrow, and it has no
width if all of them agree. The test alone says nothing of the size of a difference.

Both tests assume only that without a difference the two models are exchangeable on every prompt: a prompt's result is
as likely as its opposite. Ties then carry no information, and are left out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from srlm.evaluation.estimates import Estimate

Outcome = Literal["better", "worse", "same", "unmeasured"]  # "same": no difference is shown

ALPHA = 0.05
EXACT_INTEGERS = 1000  # above this, binomial coefficients are summed as floats in log space
MIN_DECISIVE = 6  # the fewest decisive prompts with p < 0.05: 2 * 0.5**6 = 0.031, 2 * 0.5**5 = 0.063
HALVES = 2  # results are wins, ties and losses of 1, 1/2 and 0: their differences are multiples of one half


def sign_test(positive: int, negative: int) -> float:
    """Return the two-sided p-value of the exact sign test (a binomial test at 1/2); ties do not count.

    Args:
        positive: number of prompts with a positive difference.
        negative: number of prompts with a negative difference.
    """
    total, fewer = positive + negative, min(positive, negative)
    if 2 * fewer == total:  # no prompt at all, too
        return 1.0
    if total <= EXACT_INTEGERS:
        return min(1.0, 2 * sum(math.comb(total, k) for k in range(fewer + 1)) / 2**total)
    log_all = math.lgamma(total + 1) - total * math.log(2)
    terms = (math.exp(log_all - math.lgamma(k + 1) - math.lgamma(total - k + 1)) for k in range(fewer + 1))
    return min(1.0, 2 * math.fsum(terms))


def sign_flip_test(differences: Sequence[float]) -> float:
    """Return the exact two-sided p-value of the sum of one difference per prompt, under random signs.

    This is the permutation test that swaps the two models on whole prompts; with differences of one size it is the
    sign test. The distribution of the sum is computed by convolution, not sampled.

    Args:
        differences: one sum of differences per prompt, [P], in multiples of one half.

    Raises:
        ValueError: a difference is not a multiple of one half.
    """
    sizes = [HALVES * difference for difference in differences if difference]
    if any(size != round(size) for size in sizes):
        raise ValueError("differences must be multiples of one half")
    steps = [abs(round(size)) for size in sizes]
    total = sum(steps)
    if not total:
        return 1.0
    chance = np.zeros(total + 1)  # chance[s]: probability that the positive differences sum to s
    chance[0] = 1.0
    for step in steps:
        shifted = np.zeros_like(chance)
        shifted[step:] = chance[:-step]
        chance = (chance + shifted) / 2
    observed = abs(sum(round(size) for size in sizes))
    sums = np.abs(2 * np.arange(total + 1) - total)  # |positive - negative|
    return min(1.0, math.fsum(chance[sums >= observed]))


def claim(found: Estimate, p_value: float | None, even: float = 0.0) -> Outcome:
    """Return the outcome of a comparison from its interval and its exact test.

    Args:
        found: the difference, or the win rate.
        p_value: of the exact test; None claims nothing.
        even: the value without a difference: 0, or 0.5 for a win rate.
    """
    if found.value is None or found.low is None or found.high is None:
        return "unmeasured"
    if p_value is None or p_value >= ALPHA:
        return "same"
    return "better" if found.low > even else "worse" if found.high < even else "same"


def win_rate_claim(found: Estimate, wins: int | None, losses: int | None) -> Outcome:
    """Return the outcome of a win rate, given the numbers of prompts won and lost."""
    return claim(found, None if wins is None or losses is None else sign_test(wins, losses), even=0.5)


def decided_text(wins: int, ties: int, losses: int) -> str:
    """Return how many prompts are decided, and whether these are too few for any claim."""
    prompts, decided = wins + ties + losses, wins + losses
    if not decided:
        return f"the judge decided none of {prompts} prompts"
    few = f", fewer than the {MIN_DECISIVE} that a claim needs" if decided < MIN_DECISIVE else ""
    return f"{decided} of {prompts} prompts decided{few}: {wins} won, {losses} lost"
