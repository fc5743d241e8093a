"""The names of the stages of judge data, for what must not import their code."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from srlm.config import Config

JUDGEMENT_PAIRS = "judgement_pairs"
JUDGEMENT_COMPARISONS = "judgement_comparisons"
MODIFIED_PROMPTS, MODIFIED_ANSWERS, MODIFIED_VERDICTS = "modified_prompts", "modified_answers", "modified_verdicts"
STAGES = {
    "meta_judge": (JUDGEMENT_COMPARISONS,),
    "modified_instruction": (MODIFIED_PROMPTS, MODIFIED_ANSWERS, MODIFIED_VERDICTS),
}


def is_active(config: Config, t: int) -> bool:
    """Tell whether M_t (t from 2) learns from pairs of judgements."""
    judge_data = config.judge_data
    return judge_data.kind != "none" and (judge_data.until is None or t <= judge_data.until)


def stages_of(config: Config, t: int) -> tuple[str, ...]:
    """Return the names of the stages of M_t's judge data, in order; each is also the stem of its file."""
    return (*STAGES[config.judge_data.kind], JUDGEMENT_PAIRS) if is_active(config, t) else ()
