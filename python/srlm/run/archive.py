"""Archive stale stages: move them, with everything that depends on them, to `RUN_DIR/archive/N`.

Nothing is deleted. The run's manifest is written last, so a crash in between loses nothing: the next command archives
the rest, possibly to the next folder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srlm.errors import InputError
from srlm.rows.records import write_text
from srlm.run.archive_folders import next_folder, read_entries

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from srlm.run.run_dir import RunDir

# Files that a stage writes beside its output file, under the same name with these suffixes.
SUFFIXES = ("_failed", "_scores", "_cases")
# Files that a stage writes to the same folder under other names.
COMPANIONS = {
    "prompts": ("prompts_dropped.jsonl",),
    "pairs": ("gates.json",),
    "sft": ("metrics.jsonl", "reference.safetensors", "model.trainer"),
    "dpo": ("metrics.jsonl", "reference.safetensors", "model.trainer"),
}


@dataclass(frozen=True, slots=True)
class Archived:
    """The stages that were archived, and their folder."""

    folder: Path
    stages: list[str]


def archive_stage(run: RunDir, name: str) -> Archived:
    """Move a finished or started stage and all its dependents to the archive.

    Raises:
        InputError: the run has no such stage.
    """
    known = run.known_stages()
    if name not in known:
        raise InputError(f"{run.path}: no stage {name!r}; the run has: {', '.join(known) or 'none'}")
    names = with_dependents(known, name)
    stay = {record.get("path") for stage, record in known.items() if stage not in names}
    paths = [run.path / path for stage in names for path in stage_paths(stage, known[stage]) if path not in stay]
    folder = run.archive_folder = _target_folder(run, names, paths)
    for path in paths:
        if path.exists():  # a file inside another stage's folder has moved with that folder
            target = folder / path.relative_to(run.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    entries = {**read_entries(folder), **{stage: known[stage] for stage in names}}
    write_text(folder / "manifest.json", json.dumps(entries, indent=1) + "\n")
    run.remove(names)
    return Archived(folder, names)


def with_dependents(known: Mapping[str, Mapping[str, Any]], name: str) -> list[str]:
    """Return the stage, all that depend on it, and those whose files lie inside theirs, in the order of `known`."""
    found, paths = {name}, {known[name].get("path")}
    while True:
        more = {
            stage
            for stage, record in known.items()
            if found & set(record.get("depends_on", ()))
            or any(_within(record.get("path"), path) for path in paths)
            or _is_train_segment(stage, found)
        }
        if more <= found:
            return [stage for stage in known if stage in found]
        found |= more
        paths = {known[stage].get("path") for stage in found}


def _is_train_segment(stage: str, found: set[str]) -> bool:
    """Tell whether a stage is a segment of a training in `found`: its weights became that training's model."""
    model, _, name = stage.partition("/")
    return name.startswith("step_") and f"{model}/dpo" in found


def _within(path: str | None, folder: str | None) -> bool:
    return path is not None and folder is not None and (path == folder or path.startswith(f"{folder}/"))


def stage_paths(stage: str, record: Mapping[str, Any]) -> list[str]:
    """Return the paths, in the run directory, of all files that a stage may have written."""
    folder, _, kind = stage.partition("/")
    own = [record["path"]] if "path" in record else list(record.get("sha256") or {})
    stems = [path.removesuffix(".jsonl") for path in own if path.endswith(".jsonl")]
    beside = [f"{stem}{suffix}.jsonl" for stem in stems for suffix in SUFFIXES]
    return [*own, *beside, *(f"{folder}/{name}" for name in COMPANIONS.get(kind, ()))]


def _target_folder(run: RunDir, names: list[str], paths: list[Path]) -> Path:
    """Return the folder that this process has archived to before, unless it already has one of these stages."""
    folder = run.archive_folder
    if folder is not None:
        taken = any((folder / path.relative_to(run.path)).exists() for path in paths)
        if not taken and not read_entries(folder).keys() & set(names):
            return folder
    return next_folder(run.path)
