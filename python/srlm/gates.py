"""What a model's own data are like, and whether the next model should be trained on them.

Each gate is a limit of the section `gates`; what does not meet it is said in one sentence with what to do, and stops
the run or not, as its action says. The figures are kept either way: in the manifest with the pairs, or, where they stop
the run, in a file of their own, since the pairs then do not count as done.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srlm.evaluation.judge_metrics import entropy
from srlm.evaluation.rank_correlation import spearman
from srlm.judge import mean_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from srlm.config import Action, GatesSection, JudgeSection
    from srlm.records import Candidate, Verdict

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
    prompts: int,
    candidates: Sequence[Candidate],
    verdicts: Sequence[Verdict],
    prompts_with_pair: int,
    *,
    judge: JudgeSection,
    kl_from_m1: float | None = None,
) -> Quality:
    """Take the figures: `prompts` were answered by `candidates`, and `prompts_with_pair` of them gave a pair."""
    scores = mean_scores(verdicts, expected=judge.score == "expected")
    written = [row.score for row in verdicts if row.score is not None]
    table = _by_prompt(candidates, scores)
    return Quality(
        parse_rate=len(written) / len(verdicts) if verdicts else None,
        tied_prompts=_tied(table),
        score_entropy=entropy(Counter(written)),
        length_correlation=_length_correlation(table),
        pairs_kept=prompts_with_pair / prompts if prompts else None,
        kl_from_m1=kl_from_m1,
        score_histogram=_score_histogram(list(scores.values()), judge.max_score),
        length_histogram=_length_histogram([len(row.token_ids) for row in candidates]),
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


def _by_prompt(candidates: Sequence[Candidate], scores: dict[str, float]) -> list[list[tuple[float, int]]]:
    """Return (score, tokens) of the scored answers of each prompt that has two or more."""
    found: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for row in candidates:
        if row.id in scores:
            found[row.prompt_id].append((scores[row.id], len(row.token_ids)))
    return [answers for answers in found.values() if len(answers) > 1]


def _tied(table: list[list[tuple[float, int]]]) -> float | None:
    tied = sum(len({score for score, _ in answers}) == 1 for answers in table)
    return tied / len(table) if table else None


def _length_correlation(table: list[list[tuple[float, int]]]) -> float | None:
    """Average over prompts whose scores differ, as no other gives a pair; one whose lengths are all equal counts 0."""
    lists = [([score for score, _ in answers], [length for _, length in answers]) for answers in table]
    found = spearman([(scores, lengths) for scores, lengths in lists if len(set(scores)) > 1])
    return sum(found) / len(found) if found else None


def _score_histogram(scores: Sequence[float], max_score: float) -> dict[str, int]:
    counts = Counter(math.floor(2 * score + 0.5) / 2 for score in scores)
    steps = [step / 2 for step in range(int(2 * max_score) + 1)]
    return {f"{step:g}": counts.get(step, 0) for step in steps}


def _length_histogram(lengths: Sequence[int]) -> dict[str, list[int]]:
    width = max(1, math.ceil((max(lengths, default=0) + 1) / LENGTH_BINS))
    edges = [width * place for place in range(LENGTH_BINS + 1)]
    counts = Counter(length // width for length in lengths)
    return {"edges": edges, "counts": [counts.get(place, 0) for place in range(LENGTH_BINS)]}


def _shown(gate: str, value: float) -> str:
    return f"{value:.0%}" if gate in ("parse_rate", "tied_prompts", "pairs_kept") else f"{value:.2f}"
