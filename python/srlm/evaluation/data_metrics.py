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

    from srlm.stages.pairs import PairSelection
    from srlm.stages.score_table import Answers, Scores

LENGTH_BINS = 24
SCORE_BINS = 10


@dataclass(frozen=True, slots=True)
class DataMetrics:
    """Metrics of one iteration's data; None where no row has a value."""

    parse_rate: float | None
    tied_prompts: float | None
    score_entropy: float | None
    length_correlation: float | None
    pairs_kept: float | None
    kl_from_m1: float | None
    distinct_answers: float | None  # mean number of different answers to a prompt; final answers where they are read
    vote_share: float | None  # mean share of a prompt's most common final answer
    top_final_answer: float | None  # share of prompts that have the run's most common majority answer
    score_histogram: dict[str, int]  # scores of candidates, rounded to a tenth of the largest
    length_histogram: dict[str, list[int]]  # of candidates, in tokens: `counts` of the bins between `edges`


def data_metrics(
    answers: Answers, scores: Scores, prompts_with_pair: int, *, kl_from_m1: float | None = None
) -> DataMetrics:
    """Return the metrics of an iteration's answers and scores; `prompts_with_pair` of its prompts gave a pair."""
    written, rows = scores.written, sum(scores.outcomes.values())
    groups, votes = _by_prompt(answers, scores.score), _votes(answers, scores)
    return DataMetrics(
        parse_rate=written.total() / rows if rows else None,
        tied_prompts=float(groups.tied.mean()) if len(groups.tied) else None,
        score_entropy=entropy(written),
        length_correlation=_length_correlation(groups),
        pairs_kept=prompts_with_pair / answers.prompts if answers.prompts else None,
        kl_from_m1=kl_from_m1,
        distinct_answers=_mean([len(found) for found in votes or _texts(answers)]),
        vote_share=_mean([max(found.values()) / found.total() for found in votes]),
        top_final_answer=_top_final_answer(votes),
        score_histogram=_score_histogram(scores.means(), scores.max_score),
        length_histogram=_length_histogram(answers.length),
    )


def row_counts(selected: PairSelection, dropped_file: Path) -> dict[str, Any]:
    """Return the counts of an iteration's rows, and the mean score and length of M_t's own answers."""
    answers, means = selected.answers, selected.scores.means(selected.answers.own)
    lengths = answers.length[answers.own]
    reasons = Counter(row.reason for row in iter_rows(dropped_file, DroppedPrompt)) if dropped_file.exists() else {}
    return {
        "prompts": answers.prompts,
        "prompts_dropped": dict(sorted(reasons.items())),
        "candidates": len(answers.length),
        "verdicts": selected.scores.outcomes,
        "mean_score": math.fsum(means) / len(means) if len(means) else None,
        "mean_length": int(lengths.sum()) / max(1, len(lengths)),
        "truncated": int(answers.cut_off[answers.own].sum()),
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


def _votes(answers: Answers, scores: Scores) -> list[Counter[str]]:
    """Return the final answers to each prompt that has any, with how many of M_t's own answers end in them."""
    found: dict[int, Counter[str]] = {}
    if scores.final is None:
        return []
    for prompt, final, own in zip(answers.prompt.tolist(), scores.final, answers.own.tolist(), strict=True):
        if final is not None and own:
            found.setdefault(prompt, Counter())[final] += 1
    return list(found.values())


def _texts(answers: Answers) -> list[Counter[int]]:
    found: dict[int, Counter[int]] = {}
    for prompt, text in zip(answers.prompt[answers.own].tolist(), answers.text[answers.own].tolist(), strict=True):
        found.setdefault(prompt, Counter())[text] += 1
    return list(found.values())


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _top_final_answer(votes: list[Counter[str]]) -> float | None:
    majorities = Counter(found.most_common(1)[0][0] for found in votes)
    return majorities.most_common(1)[0][1] / len(votes) if votes else None


def _score_histogram(scores: NDArray[np.float64], max_score: float | None) -> dict[str, int]:
    if max_score is None:
        counts, edges = np.histogram(scores, bins=SCORE_BINS)
        return {f"{edge:.3g}": count for edge, count in zip(edges.tolist(), counts.tolist(), strict=False)}
    step = max_score / SCORE_BINS
    values, counts = np.unique(np.floor(scores / step + 0.5).astype(np.int64), return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    return {f"{number * step:g}": found.get(number, 0) for number in range(SCORE_BINS + 1)}


def _length_histogram(lengths: NDArray[np.int64]) -> dict[str, list[int]]:
    width = max(1, math.ceil((int(lengths.max(initial=0)) + 1) / LENGTH_BINS))
    edges = [width * index for index in range(LENGTH_BINS + 1)]
    return {"edges": edges, "counts": np.bincount(lengths // width, minlength=LENGTH_BINS).tolist()}
