"""Head to head by scores: a judge that was taught to score, and not to compare, scores each answer by itself.

It reads answers with the judge prompt, as it does when it chooses pairs. The higher mean score wins, equal ones tie.
No answer stands first there, so the two orders of a prompt always say the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from srlm.evaluation import judging
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
    from srlm.evaluation.pairwise import Word
    from srlm.reporter import Reporter
    from srlm.rows.records import Candidate, Comparison, Prompt

UNSCORED = "(an answer has no score)"


def write_scored(
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
    """Write to `file` the comparisons of model a's answers with model b's, one a prompt of each, by their scores.

    The verdicts are kept in a file beside it, from which an interrupted comparison goes on.
    """
    texts = [{row.prompt_id: row.text for row in rows} for rows in answers]
    rows = [
        RankedAnswers(prompt.id, prompt.text, [side[prompt.id] for side in texts], [0.0, 0.0], ["", ""])
        for prompt in prompts
    ]
    fitting = judging.that_fit(engine.tokenizer, Preferences(rows, None), config.judge, config.engine.max_model_len)
    verdicts = judging.judge_rows(
        engine, fitting.rows, scores_file(file), judge=config.judge, seed=seed, report=report, stage=stage
    )
    means = mean_scores(verdicts, expected=config.judge.score == "expected")
    scores = {row.id: (means.get(answer_id(row, 0)), means.get(answer_id(row, 1))) for row in fitting.rows}
    write_rows(file, [row for prompt in prompts for row in _both_orders(prompt, scores.get(prompt.id, (None, None)))])


def scores_file(file: Path) -> Path:
    """Return the file of the verdicts that the comparisons in `file` rest on."""
    return file.with_name(f"{file.stem}_scores.jsonl")


def _both_orders(prompt: Prompt, scores: tuple[float | None, float | None]) -> list[Comparison]:
    """Return the same verdict twice: with a's score first, and with b's."""
    orders = (scores, scores[::-1])
    return [comparison(prompt, first, *_verdict(*order), None) for first, order in zip(SIDES, orders, strict=True)]


def _verdict(one: float | None, other: float | None) -> tuple[str, Word]:
    """Return the text and the verdict of two scores, the first answer's and the second's."""
    if one is None or other is None:
        return UNSCORED, "missing"
    return f"{one:.4g} against {other:.4g}", "tie" if one == other else "first" if one > other else "second"
