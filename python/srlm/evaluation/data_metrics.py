"""Metrics of an iteration's data: parse rate, ties, entropy, length bias. `gates` checks them against limits."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from srlm.evaluation.judge_metrics import entropy
from srlm.evaluation.rank_correlation import batched_spearman
from srlm.rows.records import DroppedPrompt, iter_rows

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from srlm.config import JudgeSection
    from srlm.stages.pairs import PairSelection
    from srlm.stages.score_table import Answers, Scores

LENGTH_BINS = 24


@dataclass(frozen=True, slots=True)
class DataMetrics:
    """Metrics of one iteration's data; None where no row has a value."""

    parse_rate: float | None
    tied_prompts: float | None
    score_entropy: float | None
    length_correlation: float | None
    pairs_kept: float | None
    kl_from_m1: float | None
    score_histogram: dict[str, int]  # mean scores of candidates, rounded to halves
    length_histogram: dict[str, list[int]]  # of candidates, in tokens: `counts` of the bins between `edges`


def data_metrics(
    answers: Answers,
    scores: Scores,
    prompts_with_pair: int,
    *,
    judge: JudgeSection,
    kl_from_m1: float | None = None,
) -> DataMetrics:
    """Return the metrics of an iteration's answers and verdicts; `prompts_with_pair` of its prompts gave a pair."""
    written, verdicts = scores.written, sum(scores.outcomes.values())
    groups = _by_prompt(answers, scores.by(judge.score))
    return DataMetrics(
        parse_rate=written.total() / verdicts if verdicts else None,
        tied_prompts=float(groups.tied.mean()) if len(groups.tied) else None,
        score_entropy=entropy(written),
        length_correlation=_length_correlation(groups),
        pairs_kept=prompts_with_pair / answers.prompts if answers.prompts else None,
        kl_from_m1=kl_from_m1,
        score_histogram=_score_histogram(scores.means(judge.score), judge.max_score),
        length_histogram=_length_histogram(answers.length),
    )


def row_counts(selected: PairSelection, judge: JudgeSection, dropped_file: Path) -> dict[str, Any]:
    """Return the counts of an iteration's rows and the mean score and length, as the closing table shows them."""
    answers, means = selected.answers, selected.scores.means(judge.score)
    reasons = Counter(row.reason for row in iter_rows(dropped_file, DroppedPrompt)) if dropped_file.exists() else {}
    return {
        "prompts": answers.prompts,
        "prompts_dropped": dict(sorted(reasons.items())),
        "candidates": len(answers.length),
        "verdicts": selected.scores.outcomes,
        "mean_score": math.fsum(means) / len(means) if len(means) else None,
        "mean_length": int(answers.length.sum()) / max(1, len(answers.length)),
        "truncated": int(answers.cut_off.sum()),
    }


@dataclass(frozen=True, slots=True)
class _Groups:
    """The answers of all prompts with two or more scored answers, grouped by prompt, in the order of the columns."""

    score: NDArray[np.float64]  # [A]
    length: NDArray[np.int64]  # [A] in tokens
    starts: NDArray[np.int64]  # [G]
    sizes: NDArray[np.int64]  # [G]
    tied: NDArray[np.bool_]  # [G] whether all its scores are equal


def _by_prompt(answers: Answers, score: NDArray[np.float64]) -> _Groups:
    scored = np.flatnonzero(~np.isnan(score))  # [S]
    _, first, group, counts = np.unique(
        answers.prompt[scored], return_index=True, return_inverse=True, return_counts=True
    )
    scored, group = scored[counts[group] > 1], first[group[counts[group] > 1]]  # [A], [A] a group's first row
    rows = scored[np.argsort(group, kind="stable")]  # [A]
    sizes = counts[np.argsort(first)]
    sizes = sizes[sizes > 1]  # [G]
    starts = np.cumsum(sizes) - sizes  # [G]
    values = score[rows]
    tied = np.minimum.reduceat(values, starts) == np.maximum.reduceat(values, starts) if len(rows) else starts > 0
    return _Groups(values, answers.length[rows], starts, sizes, tied)


def _length_correlation(groups: _Groups) -> float | None:
    """Average over prompts whose scores differ, as only these give pairs; a prompt with equal lengths counts as 0."""
    starts, sizes = groups.starts[~groups.tied], groups.sizes[~groups.tied]
    found = np.empty(len(starts))  # [G]
    for size in np.unique(sizes):
        groups_of_size = np.flatnonzero(sizes == size)
        rows = starts[groups_of_size, None] + np.arange(size)  # [L, A]
        found[groups_of_size] = batched_spearman(groups.score[rows], groups.length[rows])
    return math.fsum(found) / len(found) if len(found) else None


def _score_histogram(scores: NDArray[np.float64], max_score: float) -> dict[str, int]:
    values, counts = np.unique(np.floor(2 * scores + 0.5) / 2, return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    steps = [step / 2 for step in range(int(2 * max_score) + 1)]
    return {f"{step:g}": found.get(step, 0) for step in steps}


def _length_histogram(lengths: NDArray[np.int64]) -> dict[str, list[int]]:
    width = max(1, math.ceil((int(lengths.max(initial=0)) + 1) / LENGTH_BINS))
    edges = [width * index for index in range(LENGTH_BINS + 1)]
    return {"edges": edges, "counts": np.bincount(lengths // width, minlength=LENGTH_BINS).tolist()}
