"""Changes between models over several seeds: paired within each seed, averaged over the seeds, interval over prompts.

Two sources of chance are kept apart. The interval resamples prompts: it says how the change of these trainings depends
on the prompts that were asked. It holds for these seeds. How another seed would have come out is seen from the spread
over the seeds beside it, which with few seeds is no interval.

The unit is the prompt. All cases of a prompt are resampled together: the pairs of its ranked answers, and its results
in every seed that has it. So with the same prompts in all seeds the mean of each prompt over the seeds is resampled.
Where every seed has prompts of its own (held-out ranked answers are divided with the seed), a prompt counts in the
seeds that hold it out.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from srlm.evaluation.claims import Outcome, claim, sign_flip_test
from srlm.evaluation.estimates import Estimate, bootstrap
from srlm.evaluation.paired import MIN_SHARED

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from srlm.rows.records import CaseResult

BySeed = dict[int, list["CaseResult"]]  # the results of one model per seed: M_t of each run
EVEN = 0.5  # the result of a comparison in which neither model is better
MAX_LENGTH_RATIO = 1.25  # of two responses that count as equally long
MIN_FOR_DEVIATION = 3  # seeds; of two, the deviation says no more than minimum and maximum


@dataclass(frozen=True, slots=True)
class Spread:
    """A value per seed, with its mean, its range, and from three seeds on its standard deviation (n - 1)."""

    by_seed: dict[int, float]
    mean: float
    low: float
    high: float
    deviation: float | None


@dataclass(frozen=True, slots=True)
class SeedChange:
    """The mean over seeds of the change from one model to another, in cases that both have.

    `difference` has its interval over `prompts`, for these seeds, and the number of cases in all seeds. `spread` has
    the change of each seed, `p_value` is that of the exact test of the prompts.
    """

    difference: Estimate
    p_value: float
    prompts: int
    spread: Spread

    @property
    def outcome(self) -> Outcome:
        """Whether the later model is shown to be better or worse; see `claims.claim`."""
        return claim(self.difference, self.p_value)


def spread(by_seed: Mapping[int, float]) -> Spread | None:
    """Return mean, range and standard deviation of one value per seed; None without a seed."""
    values = list(by_seed.values())
    if not values:
        return None
    deviation = statistics.stdev(values) if len(values) >= MIN_FOR_DEVIATION else None
    return Spread(dict(by_seed), statistics.fmean(values), min(values), max(values), deviation)


def means(cases: Mapping[int, Sequence[CaseResult]]) -> Spread | None:
    """Return the mean result of each seed's cases."""
    return spread({seed: statistics.fmean(case.value for case in rows) for seed, rows in cases.items() if rows})


def even(cases: Mapping[int, Sequence[CaseResult]]) -> BySeed:
    """Return the same cases with the result of two equal models: what a result against M0 itself is compared with."""
    return {seed: [replace(case, value=EVEN) for case in rows] for seed, rows in cases.items()}


def change_over_seeds(
    later: Mapping[int, Sequence[CaseResult]],
    earlier: Mapping[int, Sequence[CaseResult]],
    only: Mapping[int, Collection[str]] | None = None,
) -> SeedChange | None:
    """Return the change from `earlier` to `later`, both by seed.

    A seed in which fewer than half of either model's cases are shared is left out. `only` has, by seed, the prompts to
    restrict the shared cases to. None if no case is left.

    Within a seed the change is pooled over its cases; seeds count alike. A resample draws prompts, and with each its
    cases in all seeds; one without a case of some seed is left out of the interval.
    """
    sums: dict[int, dict[str, float]] = {}
    counts: dict[int, dict[str, int]] = {}
    for seed in later.keys() & earlier.keys():
        pairs = _paired(later[seed], earlier[seed])
        if only is not None:
            pairs = [pair for pair in pairs if pair[0] in only.get(seed, ())]
        if pairs:
            sums[seed], counts[seed] = {}, {}
        for prompt, difference in pairs:
            sums[seed][prompt] = sums[seed].get(prompt, 0.0) + difference
            counts[seed][prompt] = counts[seed].get(prompt, 0) + 1
    seeds = sorted(sums)
    found = spread({seed: sum(sums[seed].values()) / sum(counts[seed].values()) for seed in seeds})
    if found is None:
        return None
    prompts = list(dict.fromkeys(prompt for seed in seeds for prompt in sums[seed]))
    top = np.array([[sums[seed].get(prompt, 0.0) for prompt in prompts] for seed in seeds])  # [S, P]
    below = np.array([[counts[seed].get(prompt, 0) for prompt in prompts] for seed in seeds], dtype=float)  # [S, P]
    return SeedChange(
        difference=bootstrap(len(prompts), lambda rows: _mean_change(top, below, rows), cases=int(below.sum())),
        p_value=sign_flip_test(top.sum(axis=0).tolist()),
        prompts=len(prompts),
        spread=found,
    )


def _paired(later: Sequence[CaseResult], earlier: Sequence[CaseResult]) -> list[tuple[str, float]]:
    """Return (prompt, difference) of the cases of both models; nothing if they share fewer than half."""
    before = {case.id: case.value for case in earlier}
    shared = [(case.prompt, case.value - before[case.id]) for case in later if case.id in before]
    return shared if len(shared) >= MIN_SHARED * max(len(later), len(before)) else []


def _mean_change(top: NDArray[np.float64], below: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean over seeds of each resample's pooled change: indices [R, P] to values [R]."""
    with np.errstate(invalid="ignore"):  # 0 / 0: a resample without a case of some seed
        changes = [of[rows].sum(-1) / cases[rows].sum(-1) for of, cases in zip(top, below, strict=True)]  # S x [R]
    return np.mean(changes, axis=0)


def equally_long(first: Mapping[str, int], second: Mapping[str, int]) -> set[str]:
    """Return the prompts whose two responses differ by at most a quarter in length; lengths are by prompt."""
    return {
        prompt
        for prompt in first.keys() & second.keys()
        for short, long in [sorted((first[prompt], second[prompt]))]
        if long <= MAX_LENGTH_RATIO * short
    }
