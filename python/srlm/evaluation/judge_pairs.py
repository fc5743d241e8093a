"""The pairs of answers that humans ordered, and how a judge orders each of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING

from srlm.evaluation import estimates
from srlm.evaluation.claims import sign_flip_test
from srlm.evaluation.paired import numbered
from srlm.rows.equal_answers import groups_of_equal, is_same_text
from srlm.rows.records import CaseResult, content_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from srlm.evaluation.estimates import Estimate
    from srlm.rows.records import RankedAnswers


@dataclass(frozen=True, slots=True)
class Judged:
    """A ranked row with the index of its prompt and the scores of its answers; None for an answer without a score."""

    prompt: int
    row: RankedAnswers
    scores: list[float | None]  # by `judge.score`; these order the answers
    written: list[float | None]  # means of the sampled scores

    def scored(self, values: Sequence[float]) -> tuple[list[float], list[float]]:
        """Return the values of the answers that have a score, and these scores; equal answers count once, as a mean."""
        both = [
            (fmean(values[index] for index in group), fmean(scores))
            for group in groups_of_equal(self.row.answers)
            if (scores := [score for index in group if (score := self.scores[index]) is not None])
        ]
        return [value for value, _ in both], [score for _, score in both]


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs that humans ordered: one entry per pair with two scores, and the count of the others."""

    prompts: list[int]
    names: list[str]  # the same for every judge of these rows
    right: list[float]  # 1 or 0, or 0.5 if the judge ties the pair
    longer: list[float]  # the same for "the longer answer is better"
    unscored: int

    def estimate(self, values: list[float]) -> Estimate:
        """Estimate the mean of one value per pair; the pairs of a prompt are resampled together."""
        return estimates.clustered_mean(values, self.prompts)

    def ties(self) -> list[float]:
        """Return whether the judge ties each pair."""
        return [float(value == 0.5) for value in self.right]

    def gains(self) -> list[float]:
        """Return how much better the judge is than "the longer answer is better", per pair."""
        return [own - longer for own, longer in zip(self.right, self.longer, strict=True)]

    def gain_p_value(self) -> float | None:
        """Return the p-value of the exact test of these gains, with the pairs of a prompt together."""
        sums: dict[int, float] = {}
        for prompt, gain in zip(self.prompts, self.gains(), strict=True):
            sums[prompt] = sums.get(prompt, 0.0) + gain
        return sign_flip_test(list(sums.values())) if sums else None

    def cases(self, texts: Sequence[str]) -> list[CaseResult]:
        """Return the result of every pair; `texts` are the prompts by index."""
        prompts = [content_id("prompt", texts[prompt]) for prompt in self.prompts]
        found = {"pairwise_accuracy": self.right, "tied": self.ties()}
        return numbered(
            [
                CaseResult(metric, name, prompt, value)
                for metric, values in found.items()
                for name, prompt, value in zip(self.names, prompts, values, strict=True)
            ]
        )


def compare(judged: Iterable[Judged]) -> Pairs:
    """Return all pairs of different answers that humans did not tie."""
    prompts: list[int] = []
    names: list[str] = []
    right: list[float] = []
    longer: list[float] = []
    unscored = 0
    for entry in judged:
        for better, worse in ordered_pairs(entry.row):
            good, bad = entry.scores[better], entry.scores[worse]
            if good is None or bad is None:
                unscored += 1
                continue
            prompts.append(entry.prompt)
            names.append(f"{entry.row.id}.{better}.{worse}")
            right.append(_win(good, bad))
            longer.append(_win(len(entry.row.answers[better]), len(entry.row.answers[worse])))
    return Pairs(prompts, names, right, longer, unscored)


def ordered_pairs(row: RankedAnswers) -> list[tuple[int, int]]:
    """Return the indices (better, worse) of every pair of different answers that humans did not tie."""
    both = combinations(range(len(row.scores)), 2)
    return [
        (i, j) if row.scores[i] > row.scores[j] else (j, i)
        for i, j in both
        if row.scores[i] != row.scores[j] and not is_same_text(row.answers[i], row.answers[j])
    ]


def _win(better: float, worse: float) -> float:
    return 1.0 if better > worse else 0.5 if better == worse else 0.0
