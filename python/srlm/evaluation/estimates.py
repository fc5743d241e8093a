"""Means and ratios over prompts, with 95 % percentile bootstrap intervals.

Whole prompts are resampled, since values of the same prompt are not independent (a cluster bootstrap; Efron and
Tibshirani 1993, chapter 13). Resampling uses a fixed seed, so the same values give the same interval.
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
BLOCK_SIZE = 2**18  # indices sampled at once: few enough for the CPU cache


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric, the bounds of its 95 % interval, and the number of cases.

    `value`, `low` and `high` are None without any case; only the bounds are None with a single prompt.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


NONE = Estimate(None, None, None, 0)


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Estimate:
    """Estimate sum(numerators) / sum(denominators), with one entry per prompt; `n` is the sum of the denominators.

    For a mean over prompts all denominators are 1. Prompts with denominator 0 are ignored.
    """
    top = np.array(numerators, dtype=np.float64)  # [P]
    below = np.array(denominators, dtype=np.float64)  # [P]
    top, below = top[below > 0], below[below > 0]
    if not len(below):
        return NONE
    return bootstrap(len(below), lambda rows: top[rows].sum(-1) / below[rows].sum(-1), cases=int(below.sum()))


def mean(values: Sequence[float]) -> Estimate:
    """Estimate the mean of one value per prompt."""
    return ratio(values, [1.0] * len(values))


def clustered_mean(values: Sequence[float], prompts: Sequence[int]) -> Estimate:
    """Estimate the unweighted mean of `values`; `prompts` has the index (from 0) of the prompt of each value.

    Values of the same prompt are resampled together; `n` is the number of values.
    """
    of = np.array(prompts, dtype=np.int64)  # [N]
    if not len(of):
        return NONE
    sums, counts = np.bincount(of, np.array(values, dtype=np.float64)), np.bincount(of)  # [P], [P]
    return ratio(sums.tolist(), counts.tolist())


def bootstrap(
    prompts: int, statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]], *, cases: int | None = None
) -> Estimate:
    """Estimate `statistic`, which maps indices of resampled prompts, [R, P], to values, [R].

    It is called once per block of resamples, so that memory does not grow with prompts x resamples. NaN values, of
    resamples in which the statistic is undefined, are excluded from the interval. `n` is `cases`, or else `prompts`.
    """
    cases = prompts if cases is None else cases
    value = float(statistic(np.arange(prompts)[None])[0]) if prompts else np.nan
    if np.isnan(value):
        return Estimate(None, None, None, cases)
    resamples = _resample(prompts, statistic)  # [R]
    resamples = resamples[~np.isnan(resamples)]
    if prompts < 2 or not len(resamples):
        return Estimate(value, None, None, cases)
    low, high = np.quantile(resamples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), cases)


def _resample(prompts: int, statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]]) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    step = max(1, BLOCK_SIZE // prompts)
    sizes = [min(step, RESAMPLES - done) for done in range(0, RESAMPLES, step)]
    return np.concatenate([statistic(rng.integers(0, prompts, (size, prompts))) for size in sizes])
