"""The folders between which a training stops and goes on: which one counts, and for which training.

They are the trainer's own checkpoints, in a folder beside the model's: `model.trainer/checkpoint-200`. One counts once
it holds `complete.json`, which is written last and names every file with its size, so one that a crash tore is as good
as not there, and the one before it is removed only afterwards. `complete.json` also has the training's key: a
checkpoint of other rows, settings, weights or versions is not gone on from.

Importing this module is light. Left out: more than the last checkpoint, as each is three to four times the weights.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from srlm.rows.atomic_file import sync
from srlm.rows.records import to_json, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MARKER = "complete.json"
# A pickle that the trainer writes beside its weights; nothing reads it, and nothing here keeps it.
PICKLED_ARGUMENTS = "training_args.bin"
PREFIX = "checkpoint-"  # the trainer's own
# Versions that change random numbers, states or the order of rows: another one's checkpoint is another training's.
PACKAGES = ("torch", "transformers", "trl", "accelerate", "peft")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint of a training."""

    folder: Path
    step: int  # optimizer steps that are done
    key: str  # of the training


def folder_of(target: Path) -> Path:
    """Return the trainer's folder, beside the folder of the model that is trained."""
    return target.with_name(f"{target.name}.trainer")


def remove(target: Path) -> None:
    """Remove the trainer's folder: the training has finished, or is not gone on with."""
    shutil.rmtree(folder_of(target), ignore_errors=True)


def key_of(base: str, rows: Sequence[Mapping[str, Sequence[int]]], *settings: object) -> str:
    """Return the key: a hash of the base's files, the rows in order, any settings, and the packages' versions."""
    from srlm.training import reference_logps

    digest = hashlib.sha256()
    for row in rows:
        digest.update(to_json(row).encode() + b"\n")
    versions = [metadata.version(package) for package in PACKAGES]
    return reference_logps.key_of(base, (), digest.hexdigest(), versions, *settings)


def started(folder: Path) -> bool:
    """Tell whether the trainer's folder holds a checkpoint, complete or not."""
    return any(folder.glob(f"{PREFIX}*"))


def last(folder: Path) -> Checkpoint | None:
    """Return the complete checkpoint that is farthest on, of whatever training."""
    found = [checkpoint for some in folder.glob(f"{PREFIX}*") if (checkpoint := _read(some)) is not None]
    return max(found, key=lambda checkpoint: checkpoint.step, default=None)


def complete(folder: Path, step: int, key: str) -> None:
    """Declare a checkpoint complete, and remove all others beside it; a kill at any time leaves one of them.

    `folder` holds what it is to hold, and is named by the trainer: `checkpoint-STEP`.
    """
    (folder / PICKLED_ARGUMENTS).unlink(missing_ok=True)
    sizes = {}
    for file in _files(folder):
        sync(file)
        sizes[file.relative_to(folder).as_posix()] = file.stat().st_size
    write_text(folder / MARKER, to_json({"step": step, "key": key, "files": sizes}) + "\n")
    sync(folder)
    keep_only(folder.parent, folder)


def keep_only(folder: Path, kept: Path | None) -> None:
    """Remove the checkpoints of a trainer's folder but for one, and what a crash left of others."""
    for some in folder.glob(f"{PREFIX}*"):
        if some != kept:
            (some / MARKER).unlink(missing_ok=True)  # first: what is half removed does not count
            shutil.rmtree(some)


def _read(folder: Path) -> Checkpoint | None:
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        sizes, checkpoint = marker["files"], Checkpoint(folder, marker["step"], marker["key"])
        whole = all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # there is no marker, or not a whole one, or a file that it names is missing
    return checkpoint if whole else None


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.name != MARKER)
