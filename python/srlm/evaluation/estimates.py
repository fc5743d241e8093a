"""A figure with its interval: means and ratios over prompts, with percentile bootstrap intervals.

Whole prompts are resampled, since what belongs to one prompt is not independent (a cluster bootstrap; Efron and
Tibshirani 1993, chapter 13). The same figures give the same interval: the resampling has a seed of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95
BLOCK = 2**18  # indices drawn at once: few enough to stay in a cache


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, the bounds of its 95 % interval, and the number of cases it was taken over.

    All of `value`, `low` and `high` are None where there is no case; the bounds alone are None where there is but one
    prompt to resample.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


NONE = Estimate(None, None, None, 0)


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Estimate:
    """Estimate sum(numerators) / sum(denominators), one entry a prompt; `n` is the sum of the denominators.

    Of a mean over prompts all denominators are 1. Prompts with denominator 0 take no part.
    """
    top = np.array(numerators, dtype=np.float64)  # [P]
    below = np.array(denominators, dtype=np.float64)  # [P]
    top, below = top[below > 0], below[below > 0]
    if not len(below):
        return NONE
    return bootstrap(len(below), lambda rows: top[rows].sum(-1) / below[rows].sum(-1), cases=int(below.sum()))


def mean(values: Sequence[float]) -> Estimate:
    """Estimate the mean of one value a prompt."""
    return ratio(values, [1.0] * len(values))


def clustered(values: Sequence[float], prompts: Sequence[int]) -> Estimate:
    """Estimate the mean of `values`, each of the same weight; `prompts` has the number (from 0) of each one's prompt.

    Those of a prompt are resampled together; `n` is the number of values.
    """
    of = np.array(prompts, dtype=np.int64)  # [N]
    if not len(of):
        return NONE
    sums, counts = np.bincount(of, np.array(values, dtype=np.float64)), np.bincount(of)  # [P], [P]
    return ratio(sums.tolist(), counts.tolist())


def bootstrap(
    prompts: int, statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]], *, cases: int | None = None
) -> Estimate:
    """Estimate `statistic`, which takes indices [R, P] of resampled prompts and returns [R] figures.

    It is called several times, with some of the resamples each, so that memory does not grow with prompts x resamples.
    NaN figures, of resamples that decide nothing, are left out of the interval. `n` is `cases`, or else `prompts`.
    """
    cases = prompts if cases is None else cases
    value = float(statistic(np.arange(prompts)[None])[0]) if prompts else np.nan
    if np.isnan(value):
        return Estimate(None, None, None, cases)
    figures = _resampled(prompts, statistic)  # [R]
    figures = figures[~np.isnan(figures)]
    if prompts < 2 or not len(figures):
        return Estimate(value, None, None, cases)
    low, high = np.quantile(figures, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), cases)


def _resampled(prompts: int, statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]]) -> NDArray[np.float64]:
    draw = np.random.default_rng(0).integers
    step = max(1, BLOCK // prompts)
    sizes = [min(step, RESAMPLES - done) for done in range(0, RESAMPLES, step)]
    return np.concatenate([statistic(draw(0, prompts, (size, prompts))) for size in sizes])
