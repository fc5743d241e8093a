"""Checks before a run writes anything, so that a mistake in the configuration leaves no run directory behind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from srlm.errors import InputError
from srlm.evaluation import schedule
from srlm.models import fit, registry, shape
from srlm.rows.json_lines import read_bytes
from srlm.stages import judge_prompt, seed_sets

if TYPE_CHECKING:
    from srlm.config import Config


def preflight(config: Config) -> None:
    """Check everything that can be checked without loading a model.

    Raises:
        InputError: the judge prompt, a seed file, accelerate's file, a chat template or a local model is invalid, or
            the configured lengths do not fit into a local model's context; or a loss cannot take the judge's scores.
    """
    judge_prompt.check(config.judge)
    if "sppo" in config.dpo.loss_type and config.judge.max_score > 1:
        raise InputError(
            "dpo.loss_type: sppo takes scores that are win rates, from 0 to 1, and the judge's go up to "
            f"{config.judge.max_score:g} (judge.max_score); use another loss, or srlm dpo with pairs of your own"
        )
    seed_sets.load(config.seed_data, config.seed)
    if config.launch.accelerate_config is not None:
        read_bytes(Path(config.launch.accelerate_config))
    if config.model.chat_template is not None:
        registry.read_chat_template(config.model.chat_template)
    for name in (config.model.name, config.prompts.model):
        if name is not None and (registry.is_local(name) or registry.is_path(name)):
            found = shape.read_shape(registry.resolve(name))
            fit.check_room(config, found, f"the model {name!r}", only_prompts=name != config.model.name)
    schedule.preflight(config)
