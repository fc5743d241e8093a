"""The checkpoints that a training resumes from: which are complete, and for which training.

They are the trainer's own checkpoints, in a folder next to the model's: `model.trainer/checkpoint-200`. A checkpoint is
complete if it has `complete.json`, which is written last and lists every file with its size. A checkpoint that a crash
left incomplete is ignored, and the previous one is removed only after the new one is complete. `complete.json` also has
the training's key, so a training does not resume from a checkpoint of other rows, settings, weights or versions.

This module imports quickly. Only the last checkpoint is kept, because each is three to four times the size of the
weights.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from srlm.rows.atomic_file import fsync
from srlm.rows.records import to_json, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MARKER = "complete.json"
# A pickle that the trainer writes next to its weights; it is never read, and removed here.
PICKLED_ARGUMENTS = "training_args.bin"
PREFIX = "checkpoint-"  # the trainer's prefix
# Packages whose version is part of the key: it can change random numbers, optimizer states or the order of rows.
PACKAGES = ("torch", "transformers", "trl", "accelerate", "peft")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint of a training."""

    folder: Path
    step: int  # optimizer steps done
    key: str  # of the training, see `key_of`


def trainer_folder(target: Path) -> Path:
    """Return the trainer's folder, next to the folder of the trained model."""
    return target.with_name(f"{target.name}.trainer")


def remove(target: Path) -> None:
    """Remove the trainer's folder: the training has finished, or is abandoned."""
    shutil.rmtree(trainer_folder(target), ignore_errors=True)


def key_of(base: str, rows: Sequence[Mapping[str, Sequence[int]]], *settings: object) -> str:
    """Return the key: a hash of the base model's files, the rows in order, the settings and the package versions."""
    from srlm.training import reference_logps

    digest = hashlib.sha256()
    for row in rows:
        digest.update(to_json(row).encode() + b"\n")
    versions = [metadata.version(package) for package in PACKAGES]
    return reference_logps.key_of(base, (), digest.hexdigest(), versions, *settings)


def has_checkpoints(folder: Path) -> bool:
    """Whether the trainer's folder has a checkpoint, complete or not."""
    return any(folder.glob(f"{PREFIX}*"))


def latest(folder: Path) -> Checkpoint | None:
    """Return the complete checkpoint with the highest step, of any training."""
    complete = [checkpoint for path in folder.glob(f"{PREFIX}*") if (checkpoint := _read(path)) is not None]
    return max(complete, key=lambda checkpoint: checkpoint.step, default=None)


def mark_complete(folder: Path, step: int, key: str) -> None:
    """Mark a checkpoint as complete, and then remove all others; a kill at any time leaves this or the previous one.

    All files in `folder`, which the trainer names `checkpoint-STEP`, must be written.
    """
    (folder / PICKLED_ARGUMENTS).unlink(missing_ok=True)
    sizes = {}
    for file in _files(folder):
        fsync(file)
        sizes[file.relative_to(folder).as_posix()] = file.stat().st_size
    write_text(folder / MARKER, to_json({"step": step, "key": key, "files": sizes}) + "\n")
    fsync(folder)
    keep_only(folder.parent, folder)


def keep_only(folder: Path, kept: Path | None) -> None:
    """Remove all checkpoints from the trainer's folder except one, including incomplete ones."""
    for path in folder.glob(f"{PREFIX}*"):
        if path != kept:
            (path / MARKER).unlink(missing_ok=True)  # first, so that a partly removed checkpoint is not complete
            shutil.rmtree(path)


def _read(folder: Path) -> Checkpoint | None:
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        sizes, checkpoint = marker["files"], Checkpoint(folder, marker["step"], marker["key"])
        complete = all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # the marker is missing or invalid, or a file that it lists is missing
    return checkpoint if complete else None


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.name != MARKER)
