"""Pairs of judgements from preferences between two judgements of one answer, and the limits against collapse."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srlm.models import chat
from srlm.rows.records import Pair
from srlm.stages.eft import surplus
from srlm.stages.judge_prompt import fill, read_template

if TYPE_CHECKING:
    from collections.abc import Sequence

    from srlm.config import Config
    from srlm.rows.records import Prompt, Verdict

TOO_LONG, COMMON_SCORE = "too_long", "common_score"


@dataclass(frozen=True, slots=True)
class Preference:
    """Of two judgements of an answer, `chosen` is the better one. `values` say how good each is, higher is better."""

    prompt: Prompt
    answer: str
    chosen: Verdict
    rejected: Verdict
    values: tuple[float, float]


@dataclass(frozen=True, slots=True)
class JudgePairs:
    """The pairs, and why answers or preferences gave none. `scores` are those in the chosen judgements, by count."""

    rows: list[Pair]
    drops: dict[str, int]
    scores: dict[str, int]
    facts: dict[str, Any]  # of the kind

    def counts(self) -> dict[str, Any]:
        """Return the counts for the manifest."""
        return {"rows": len(self.rows), "drops": self.drops, "chosen_scores": self.scores, **self.facts}

    def reasons(self) -> str:
        """Return why there are no more pairs."""
        return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.drops.items() if count) or "none"


def limited(preferences: Sequence[Preference], config: Config, seed: int) -> tuple[list[Preference], dict[str, int]]:
    """Return the preferences within `max_judgement_length` and `max_share`, and how many were dropped by each.

    Judges that learn from themselves tend to ever longer judgements, and to one score for all answers.
    """
    judge_data = config.judge_data
    limit = judge_data.max_judgement_length
    short = [row for row in preferences if limit is None or len(row.chosen.text.strip()) <= limit]
    left_out = surplus([_score(row.chosen) for row in short], judge_data.max_share, seed)
    kept = [row for index, row in enumerate(short) if index not in left_out]
    return kept, {TOO_LONG: len(preferences) - len(short), COMMON_SCORE: len(left_out)}


def judge_pairs(kept: Sequence[Preference], config: Config, drops: dict[str, int], **facts: object) -> JudgePairs:
    """Return the pairs of these preferences, in their order; the prompt is the one that the judge gets."""
    template = read_template(config.judge)
    scores = Counter(_score(row.chosen) for row in kept)
    rows = [_pair(row, fill(template, row.prompt.text, row.answer)) for row in kept]
    return JudgePairs(rows, drops, {f"{score:g}": scores[score] for score in sorted(scores)}, dict(facts))


def _pair(row: Preference, question: str) -> Pair:
    return Pair(
        prompt_id=row.prompt.id,
        prompt=chat.user(question),
        chosen=chat.assistant(row.chosen.text.strip()),
        rejected=chat.assistant(row.rejected.text.strip()),
        chosen_id=row.chosen.id,
        rejected_id=row.rejected.id,
        chosen_score=round(row.values[0], 6),
        rejected_score=round(row.values[1], 6),
    )


def _score(verdict: Verdict) -> float:
    if verdict.score is None:
        raise ValueError(f"judgement {verdict.id} has no score")
    return verdict.score
