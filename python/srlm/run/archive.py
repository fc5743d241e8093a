"""What was made from other settings than now is kept, and makes room: it moves to `RUN_DIR/aside/N`.

Nothing is deleted. A stage goes aside together with all that was made from it, in the manifest and on the disk, and the
folder keeps their entries and the configuration that they were made with. A kill on the way loses nothing: the run's
manifest is written last, so the rest follows with the next command, perhaps to the next folder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srlm import config as configuration
from srlm.errors import InputError
from srlm.rows.json_lines import read_object
from srlm.rows.records import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from srlm.config import Config
    from srlm.run.run_dir import RunDir

FOLDER = "aside"
# What a stage writes beside the file that it is known by, under the file's name and these endings.
ENDINGS = ("_failed", "_scores")
# And under other names, in the same folder.
COMPANIONS = {
    "prompts": ("prompts_dropped.jsonl",),
    "pairs": ("gates.json",),
    "sft": ("metrics.jsonl", "reference.safetensors", "model.trainer"),
    "dpo": ("metrics.jsonl", "reference.safetensors", "model.trainer"),
}


@dataclass(frozen=True, slots=True)
class Aside:
    """Where stages went to, and which."""

    folder: Path
    stages: list[str]


def set_aside(run: RunDir, name: str) -> Aside:
    """Move a stage that was done or begun, and all that was made from it, out of the way.

    Raises:
        InputError: there is no such stage in the run.
    """
    known = run.known()
    if name not in known:
        raise InputError(f"{run.path}: has no stage {name!r}; it has: {', '.join(known) or 'none'}")
    names = with_what_follows(known, name)
    stay = {record.get("path") for stage, record in known.items() if stage not in names}
    paths = [run.path / path for stage in names for path in _paths(stage, known[stage]) if path not in stay]
    folder = run.aside = _room(run, names, paths)
    for path in paths:
        if path.exists():  # one that lies in a folder of another stage went with it
            target = folder / path.relative_to(run.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    entries = {**_entries(folder), **{stage: known[stage] for stage in names}}
    write_text(folder / "manifest.json", json.dumps(entries, indent=1) + "\n")
    run.forget(names)
    return Aside(folder, names)


def keep_config(path: Path, text: str) -> None:
    """Keep the configuration of a run that goes on with another one, for what will be set aside."""
    file = _next(path) / "config.yaml"
    if not file.exists():  # or nothing has been made by the configuration between
        write_text(file, text)


def changed_keys(path: Path, now: Config) -> dict[str, str]:
    """Return the keys in which the latest configuration set aside differs from this one: `before → now`."""
    files = [file for folder in _numbered(path) if (file := folder / "config.yaml").is_file()]
    if not files:
        return {}
    return configuration.changes(configuration.load(str(files[-1])), now)


def kept(path: Path) -> dict[str, dict[str, Any]]:
    """Return the stages that were set aside, by folder (`aside/1`), in order."""
    return {f"{FOLDER}/{folder.name}": entries for folder in _numbered(path) if (entries := _entries(folder))}


def with_what_follows(known: Mapping[str, Mapping[str, Any]], name: str) -> list[str]:
    """Return the stage, those made from it, and those whose files lie where theirs do, in the order of `known`."""
    found, paths = {name}, {known[name].get("path")}
    while True:
        more = {
            stage
            for stage, record in known.items()
            if found & set(record.get("made_from", ()))
            or any(_within(record.get("path"), path) for path in paths)
            or _is_leg(stage, found)
        }
        if more <= found:
            return [stage for stage in known if stage in found]
        found |= more
        paths = {known[stage].get("path") for stage in found}


def _is_leg(stage: str, found: set[str]) -> bool:
    """Tell whether a stage is a part of a training among those found: its weights went into the model."""
    model, _, name = stage.partition("/")
    return name.startswith("step_") and f"{model}/dpo" in found


def _within(path: str | None, folder: str | None) -> bool:
    return path is not None and folder is not None and (path == folder or path.startswith(f"{folder}/"))


def _paths(stage: str, record: Mapping[str, Any]) -> list[str]:
    folder, _, kind = stage.partition("/")
    own = [record["path"]] if "path" in record else list(record.get("sha256") or {})
    beside = [f"{path.removesuffix('.jsonl')}{end}.jsonl" for path in own for end in ENDINGS if path.endswith(".jsonl")]
    return [*own, *beside, *(f"{folder}/{name}" for name in COMPANIONS.get(kind, ()))]


def _room(run: RunDir, names: list[str], paths: list[Path]) -> Path:
    """Return the folder to move to: the one this process has moved to before, unless it has such stages already."""
    folder = run.aside
    if folder is not None:
        taken = any((folder / path.relative_to(run.path)).exists() for path in paths)
        if not taken and not _entries(folder).keys() & set(names):
            return folder
    return _next(run.path)


def _next(path: Path) -> Path:
    """Return a folder that holds no stages yet: the latest, or a new one."""
    folders = _numbered(path)
    if folders and {entry.name for entry in folders[-1].iterdir()} <= {"config.yaml"}:
        return folders[-1]
    return path / FOLDER / str(1 + max((int(folder.name) for folder in folders), default=0))


def _entries(folder: Path) -> dict[str, Any]:
    return read_object(folder / "manifest.json")


def _numbered(run: Path) -> list[Path]:
    """Return the folders of what was set aside, the earliest first."""
    folder = run / FOLDER
    entries = list(folder.iterdir()) if folder.is_dir() else []
    numbered = [entry for entry in entries if entry.name.isascii() and entry.name.isdigit()]
    return sorted(numbered, key=lambda entry: int(entry.name))
