"""What a model's own data are like, and whether the next model should be trained on them.

Each gate is a limit of the section `gates`; what does not meet it is said in one sentence with what to do, and stops
the run or not, as its action says. The figures are kept either way: in the manifest with the pairs, or, where they stop
the run, in a file of their own, since the pairs then do not count as done.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from srlm.evaluation.judge_metrics import entropy
from srlm.evaluation.rank_correlation import spearman_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from srlm.config import Action, GatesSection, JudgeSection
    from srlm.stages.score_table import Answers, Scores

FILE = "gates.json"  # what was found of data that stopped the run
LENGTH_BINS = 24
AT_LEAST = frozenset({"parse_rate", "score_entropy", "pairs_kept"})  # the others' limits are upper ones
ADVICE = {
    "parse_rate": "of the verdicts hold a readable score; read some in verdicts.jsonl, then raise judge.max_tokens, "
    "set judge.justify=false, or teach the judge with more EFT examples",
    "tied_prompts": "of the prompts have answers that all tie; raise judge.samples or candidates.temperature, or set "
    "judge.score=expected",
    "score_entropy": "bits are all that the written scores hold: the judge says nearly always the same; lower "
    "eft.max_share or add EFT examples with other scores",
    "length_correlation": "is the rank correlation of score and length: training would mostly make answers longer; use "
    "pairs.method=length_controlled",
    "pairs_kept": "of the prompts give a pair; the closing table has the reasons of the others",
    "kl_from_m1": "nats a token lie between this model and M1: it has drifted far; raise dpo.beta, lower "
    "dpo.learning_rate, or set fewer iterations",
}


@dataclass(frozen=True, slots=True)
class Quality:
    """Figures of one iteration's data; None where there is nothing to take one of."""

    parse_rate: float | None
    tied_prompts: float | None
    score_entropy: float | None
    length_correlation: float | None
    pairs_kept: float | None
    kl_from_m1: float | None
    score_histogram: dict[str, int]  # mean scores of candidates, rounded to halves
    length_histogram: dict[str, list[int]]  # of candidates, in tokens: `counts` of the bins between `edges`


@dataclass(frozen=True, slots=True)
class Unmet:
    """A gate that was not met."""

    gate: str
    value: float
    limit: float
    action: Action
    text: str


def quality(
    answers: Answers,
    scores: Scores,
    prompts_with_pair: int,
    *,
    judge: JudgeSection,
    kl_from_m1: float | None = None,
) -> Quality:
    """Take the figures of an iteration's answers, where `prompts_with_pair` of their prompts gave a pair."""
    written, verdicts = scores.written, sum(scores.outcomes.values())
    groups = _by_prompt(answers, scores.by(judge.score))
    return Quality(
        parse_rate=written.total() / verdicts if verdicts else None,
        tied_prompts=float(groups.tied.mean()) if len(groups.tied) else None,
        score_entropy=entropy(written),
        length_correlation=_length_correlation(groups),
        pairs_kept=prompts_with_pair / answers.prompts if answers.prompts else None,
        kl_from_m1=kl_from_m1,
        score_histogram=_score_histogram(scores.means(judge.score), judge.max_score),
        length_histogram=_length_histogram(answers.length),
    )


def unmet(found: Quality, gates: GatesSection) -> list[Unmet]:
    """Return the gates that `found` does not meet."""
    rows: list[tuple[str, float | None, float | None, Action]] = [
        ("parse_rate", found.parse_rate, gates.parse_rate, gates.parse_rate_action),
        ("tied_prompts", found.tied_prompts, gates.tied_prompts, gates.tied_prompts_action),
        ("score_entropy", found.score_entropy, gates.score_entropy, gates.score_entropy_action),
        ("length_correlation", found.length_correlation, gates.length_correlation, gates.length_correlation_action),
        ("pairs_kept", found.pairs_kept, gates.pairs_kept, gates.pairs_kept_action),
        ("kl_from_m1", found.kl_from_m1, gates.kl_from_m1, gates.kl_from_m1_action),
    ]
    return [
        Unmet(gate, value, limit, action, f"gates.{gate}: {_shown(gate, value)} {ADVICE[gate]} (limit {limit:g})")
        for gate, value, limit, action in rows
        if value is not None and limit is not None and (value < limit if gate in AT_LEAST else value > limit)
    ]


def not_trained(t: int, texts: Sequence[str]) -> str:
    """Return what to tell a user whose run is stopped by gates, from their texts."""
    return (
        f"m{t}: not trained: {'; '.join(texts)}. All rows are kept; give the same command other gates.*, or other "
        "settings, and what follows from them is made again"
    )


@dataclass(frozen=True, slots=True)
class _Groups:
    """The scored answers of the prompts that have two or more; a prompt's stand together, in order of appearance."""

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
    """Average over prompts whose scores differ, as no other gives a pair; one whose lengths are all equal counts 0."""
    starts, sizes = groups.starts[~groups.tied], groups.sizes[~groups.tied]
    found = np.empty(len(starts))  # [G]
    for size in np.unique(sizes):
        places = np.flatnonzero(sizes == size)
        rows = starts[places, None] + np.arange(size)  # [L, A]
        found[places] = spearman_of(groups.score[rows], groups.length[rows])
    return sum(map(float, found)) / len(found) if len(found) else None


def _score_histogram(scores: NDArray[np.float64], max_score: float) -> dict[str, int]:
    values, counts = np.unique(np.floor(2 * scores + 0.5) / 2, return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    steps = [step / 2 for step in range(int(2 * max_score) + 1)]
    return {f"{step:g}": found.get(step, 0) for step in steps}


def _length_histogram(lengths: NDArray[np.int64]) -> dict[str, list[int]]:
    width = max(1, math.ceil((int(lengths.max(initial=0)) + 1) / LENGTH_BINS))
    edges = [width * place for place in range(LENGTH_BINS + 1)]
    return {"edges": edges, "counts": np.bincount(lengths // width, minlength=LENGTH_BINS).tolist()}


def _shown(gate: str, value: float) -> str:
    return f"{value:.0%}" if gate in ("parse_rate", "tied_prompts", "pairs_kept") else f"{value:.2f}"
