"""`srlm status`: finished stages with their rows, the next stage, stages to recompute and archived ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from srlm.evaluation.baselines import (
    READINGS,
    has_sft_baseline,
    matches,
    measured_before_m1,
    wants_held_out,
    wants_readings,
)
from srlm.judge_data.stage_names import stages_of
from srlm.progress import rows_so_far
from srlm.run import archive_folders
from srlm.run.model_names import BASE, SFT_BASELINE
from srlm.run.run_dir import RunDir
from srlm.signals.stage_names import stage_of
from srlm.stages.prompt_sources import from_files

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from srlm.config import Config
    from srlm.run.seed_folders import SeedRun


def stage_names(config: Config) -> list[str]:
    """Return the stages of a run, in order, by their names in the manifest."""
    names = ["seed/ift", "seed/eft_ranked", "seed/eft_valid"]
    if wants_held_out(config):
        names += ["seed/held_out", *(["seed/early_stop"] if config.dpo.eval_steps is not None else [])]
    if BASE in measured_before_m1(config):
        names += [*_evaluation(config, BASE), *_readings(config, BASE)]
    if has_sft_baseline(config):
        names += [f"{SFT_BASELINE}/sft", "seed/judgements"]
    if SFT_BASELINE in measured_before_m1(config):
        names += _evaluation(config, SFT_BASELINE)
    names += ["seed/eft_train", "m1/sft"]
    training = config.train.kind
    for t in range(1, config.iterations + 1):
        names += [*_evaluation(config, f"m{t}"), *_readings(config, f"m{t}")]
        names += [f"{later}/vs_{earlier}" for later, earlier in matches(config, t) if _answers(config)]
        if t < config.iterations:
            logprobs = ["m1_logprobs"] if t > 1 and config.gates.kl_from_m1 is not None else []
            given = ["file_prompts"] if from_files(config.prompts) else []
            supplied = ["supplied"] if config.suppliers.at(t + 1).model is not None else []
            *judge_data, pairs = stages_of(config, t + 1) or ("",)
            scored = ("prompts", *supplied, "candidates", stage_of(config.signal.kind), *judge_data)
            stages = (*given, *scored, *logprobs, "pairs", *([pairs] if pairs else []), training)
            names += [f"m{t + 1}/{stage}" for stage in stages]
    return names


def _evaluation(config: Config, model: str) -> list[str]:
    """Return the evaluation stages of a model that need no other model."""
    evaluate = config.evaluate
    stages = ["judge_held_out"] if evaluate.judge_prompts and config.seed_data.eft else []
    stages += [f"judge_{name}" for name in evaluate.preferences if evaluate.judge_prompts]
    stages += ["answers"] if _answers(config) else []
    stages += ["instructions"] if evaluate.instructions is not None else []
    return [f"{model}/{stage}" for stage in stages]


def _readings(config: Config, model: str) -> list[str]:
    return [f"{model}/{READINGS}"] if wants_readings(config) else []


def _answers(config: Config) -> bool:
    """Return whether every model answers held-out prompts."""
    return wants_held_out(config) and bool(config.seed_data.eft or config.head_to_head.prompt_files)


def status_table(path: Path, config: Config, stale: Collection[str] = ()) -> Table:
    """Return a table of the stages with their states.

    Finished stages are `done`, `missing` or `changed` (their file is, by size or time), or `recompute` (in `stale`),
    with rows and time. The first stage that is not finished is `next`; unfinished stages show their rows so far.
    """
    run = RunDir(path)
    table = Table(title=Text(str(path)))
    for column in ("stage", "state", "rows", "seconds", "finished"):
        table.add_column(column, justify="right" if column in ("rows", "seconds") else "left")
    is_next = True
    for name in stage_names(config):
        entry = run.entry(name)
        if entry is not None:
            state = "recompute" if name in stale else run.state(name)
            table.add_row(name, state, str(entry.get("rows", "")), str(entry["seconds"]), str(entry["finished"]))
            continue
        rows = rows_so_far(path / f"{name}.jsonl")
        table.add_row(name, "next" if is_next else "", str(rows) if rows else "", "", "")
        is_next = False
    return table


def seeds_status_table(path: Path, runs: Sequence[SeedRun]) -> Table:
    """Return a table with one row per run of a folder: its finished stages, its next stage, and its own minutes.

    A control's minutes are without the stages that it shares with its run.
    """
    table = Table(title=Text(str(path)))
    for column in ("run", "stages done", "next stage", "minutes"):
        table.add_column(column, justify="right" if column in ("stages done", "minutes") else "left")
    for run in runs:
        folder, names = RunDir(run.path), stage_names(run.config)
        waiting = [name for name in names if folder.entry(name) is None]
        seconds = sum(entry["seconds"] for entry in folder.entries("") if "shared_from" not in entry)
        done = f"{len(names) - len(waiting)} of {len(names)}"
        table.add_row(run.name, done, waiting[0] if waiting else "", f"{seconds / 60:.1f}")
    return table


def archive_lines(path: Path) -> list[str]:
    """Return one line per folder of archived stages."""
    return [
        f"archived in {path / folder}: {', '.join(stages)}"
        for folder, stages in archive_folders.archived_stages(path).items()
    ]
