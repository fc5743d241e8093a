"""The kinds of judge data by `judge_data.kind`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from srlm.judge_data.meta_judge import MetaJudge
from srlm.judge_data.modified_instruction import ModifiedInstruction
from srlm.judge_data.stage_names import is_active

if TYPE_CHECKING:
    from srlm.config import Config
    from srlm.judge_data.base import JudgeData

KINDS: dict[str, type[JudgeData]] = {"meta_judge": MetaJudge, "modified_instruction": ModifiedInstruction}


def judge_data_of(config: Config, t: int) -> JudgeData | None:
    """Return the judge data of M_t (t from 2), or None if M_t learns from pairs of responses only."""
    return KINDS[config.judge_data.kind](config.at(t)) if is_active(config, t) else None
