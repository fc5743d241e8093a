"""Checks before a run writes anything, so that a mistake in the configuration leaves no run directory behind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from srlm.config import OTHER_DROPOUT
from srlm.errors import InputError, one_line
from srlm.evaluation import schedule
from srlm.models import fit, registry, shape
from srlm.rows.json_lines import read_bytes
from srlm.signals.registry import signal_of
from srlm.stages import judge_prompt, prompt_files, seed_sets, suppliers
from srlm.stages.prompt_sources import from_files

if TYPE_CHECKING:
    from srlm.config import Config


def preflight(config: Config) -> None:
    """Check everything that can be checked without loading a model.

    Raises:
        InputError: the judge prompt, a seed file, accelerate's file, a chat template or a local model is invalid, or
            the configured lengths do not fit into a local model's context; prompts from files are too few or lack what
            the signal reads; or a loss cannot take the signal's scores.
    """
    judge_prompt.check(config.judge)
    _check_signal(config, seed_sets.load(config.seed_data, config.seed))
    if config.launch.accelerate_config is not None:
        _check_accelerate(config, Path(config.launch.accelerate_config))
    if config.model.chat_template is not None:
        registry.read_chat_template(config.model.chat_template)
    for name in (config.model.name, config.prompts.model, suppliers.other_model(config.suppliers)):
        if name is not None and (registry.is_local(name) or registry.is_path(name)):
            found = shape.read_shape(registry.resolve(name))
            only_prompts = name == config.prompts.model != config.model.name
            fit.check_room(config, found, f"the model {name!r}", only_prompts=only_prompts)
    schedule.preflight(config)


def _check_accelerate(config: Config, file: Path) -> None:
    """Check accelerate's file, and that it fits the configured dropout."""
    try:
        content = yaml.safe_load(read_bytes(file))
    except yaml.YAMLError as error:
        raise InputError(f"{file} (launch.accelerate_config): invalid YAML: {one_line(error)}; fix it") from error
    settings = content if isinstance(content, dict) else {}
    sharding = settings.get("fsdp_config") or {}
    if isinstance(sharding, dict) and sharding.get("fsdp_activation_checkpointing"):
        for kind, section in (("sft", config.sft), ("dpo", config.dpo)):
            if section.dropout > 0:
                raise InputError(OTHER_DROPOUT.format(kind))


def _check_signal(config: Config, seeds: seed_sets.SeedSets) -> None:
    """Check the signal, the prompts from files that it reads, and the loss that takes its scores."""
    signal, prompts = signal_of(config.at(2)), config.prompts
    rows = prompt_files.read_prompt_files(prompts.files, lambda: seeds.ift) if prompts.files else []
    if config.signal.kind == "rules" and not from_files(prompts):
        raise InputError(
            "signal.kind=rules reads instructions or answers from the rows of prompts, which self-written ones lack; "
            "set prompts.source=files and prompts.files"
        )
    if config.suppliers.human:
        suppliers.check_human(rows)
    signal.check(rows)
    if rows:
        count = from_files(prompts)
        prompt_files.check_count(len(rows), count, count * (config.iterations - 1), prompts)
    if "sppo" in config.dpo.loss_type and (signal.max_score is None or signal.max_score > 1):
        found = "have no limit" if signal.max_score is None else f"go up to {signal.max_score:g}"
        raise InputError(
            f"dpo.loss_type: sppo takes scores that are win rates, from 0 to 1, and those of signal.kind="
            f"{config.signal.kind} {found}; use another loss, another signal, or srlm dpo with pairs of your own"
        )
