"""Pointwise head to head: the judge scores each answer separately. For judges trained to score, not to compare.

The judge uses the judge prompt, as for the selection of preference pairs. The higher mean score wins; equal scores tie.
The scores do not depend on a position, so the two orders of a prompt always agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from srlm.evaluation import judge_preferences
from srlm.evaluation.pairwise import SIDES, comparison
from srlm.evaluation.preferences import Preferences
from srlm.rows.records import RankedAnswers, write_rows
from srlm.stages.eft import answer_id
from srlm.stages.judge import mean_scores

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from srlm.config import Config
    from srlm.engines.base import Engine
    from srlm.evaluation.pairwise import VerdictLabel
    from srlm.reporter import Reporter
    from srlm.rows.records import Candidate, Comparison, Prompt

UNSCORED = "(an answer has no score)"


def write_score_comparisons(
    engine: Engine,
    prompts: Sequence[Prompt],
    answers: tuple[Sequence[Candidate], Sequence[Candidate]],
    file: Path,
    *,
    config: Config,
    seed: int,
    report: Reporter,
    stage: str,
) -> None:
    """Write to `file` the comparisons of model a's answers with model b's, one answer per prompt each, by their scores.

    The verdicts are written to `scores_file(file)`, from which an interrupted comparison resumes.
    """
    texts = [{row.prompt_id: row.text for row in rows} for rows in answers]
    rows = [
        RankedAnswers(prompt.id, prompt.text, [side[prompt.id] for side in texts], [0.0, 0.0], ["", ""])
        for prompt in prompts
    ]
    longest, preferences = config.engine.length, Preferences(rows, None)
    fitting = judge_preferences.fitting_rows(engine.tokenizer, preferences, config.judge, longest)
    verdicts = judge_preferences.judge_rows(
        engine, fitting.rows, scores_file(file), judge=config.judge, seed=seed, report=report, stage=stage
    )
    means = mean_scores(verdicts, expected=config.judge.score == "expected")
    scores = {row.id: (means.get(answer_id(row, 0)), means.get(answer_id(row, 1))) for row in fitting.rows}
    write_rows(file, [row for prompt in prompts for row in _both_orders(prompt, scores.get(prompt.id, (None, None)))])


def scores_file(file: Path) -> Path:
    """Return the file with the verdicts that the comparisons in `file` are based on."""
    return file.with_name(f"{file.stem}_scores.jsonl")


def _both_orders(prompt: Prompt, scores: tuple[float | None, float | None]) -> list[Comparison]:
    """Return the comparison in both orders: with a's score first, and with b's."""
    orders = (scores, scores[::-1])
    return [comparison(prompt, first, *_verdict(*order), None) for first, order in zip(SIDES, orders, strict=True)]


def _verdict(one: float | None, other: float | None) -> tuple[str, VerdictLabel]:
    """Return the text and the verdict for the scores of the first and the second answer."""
    if one is None or other is None:
        return UNSCORED, "missing"
    return f"{one:.4g} against {other:.4g}", "tie" if one == other else "first" if one > other else "second"
