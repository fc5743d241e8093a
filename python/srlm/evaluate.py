"""How well a model judges: its scores of held-out, human-ranked answers against the humans' order.

Beside every figure stands what "the longer answer is better" would reach on the same pairs: a judge that is not above
it has learned nothing but length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from srlm.eft import answer_id, answers_to_judge
from srlm.judge import count_outcomes, judge_answers, mean_scores
from srlm.records import Verdict, read_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from srlm.config import JudgeSection
    from srlm.engines.base import Engine
    from srlm.records import RankedAnswers
    from srlm.reporter import Reporter


@dataclass(frozen=True, slots=True)
class JudgeAccuracy:
    """Pairwise accuracy over the pairs of a prompt's answers that humans ordered and the judge scored both of.

    A tie of the judge counts one half. `longer_accuracy` is the share in which the better answer has more characters
    (equal lengths one half), over the same pairs. None where there is no pair.
    """

    accuracy: float | None
    longer_accuracy: float | None
    tied: float | None
    pairs: int
    pairs_unscored: int
    outcomes: dict[str, int]


def judge_held_out(
    engine: Engine,
    rows: Sequence[RankedAnswers],
    file: Path,
    *,
    judge: JudgeSection,
    seed: int,
    report: Reporter,
) -> JudgeAccuracy:
    """Let the engine judge every answer of `rows`, its verdicts kept in `file`, and compare with the humans' order."""
    judge_answers(engine, answers_to_judge(rows), file, judge=judge, seed=seed, report=report, stage="judge accuracy")
    verdicts = read_rows(file, Verdict)
    return accuracy(rows, mean_scores(verdicts, expected=judge.score == "expected"), count_outcomes(verdicts))


def accuracy(rows: Sequence[RankedAnswers], scores: Mapping[str, float], outcomes: dict[str, int]) -> JudgeAccuracy:
    """Compare scores by answer id with the humans' order."""
    right, longer, unscored = [], [], 0
    for row in rows:
        for better, worse in _ordered_pairs(row):
            good, bad = scores.get(answer_id(row, better)), scores.get(answer_id(row, worse))
            if good is None or bad is None:
                unscored += 1
                continue
            right.append(_win(good, bad))
            longer.append(_win(len(row.answers[better]), len(row.answers[worse])))
    return JudgeAccuracy(
        accuracy=_mean(right),
        longer_accuracy=_mean(longer),
        tied=_mean([float(value == 0.5) for value in right]),
        pairs=len(right),
        pairs_unscored=unscored,
        outcomes=outcomes,
    )


def _ordered_pairs(row: RankedAnswers) -> list[tuple[int, int]]:
    places = range(len(row.scores))
    return [(i, j) for i in places for j in places if row.scores[i] > row.scores[j]]


def _win(better: float, worse: float) -> float:
    return 1.0 if better > worse else 0.5 if better == worse else 0.0


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
