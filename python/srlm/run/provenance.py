"""What the rows in a folder or file were made from, so that none is taken for another model's or other settings'.

A command by hand that goes on where it was stopped keeps a note beside its rows: settings, hashes of files and hashes
of models' weights. The same command with something else is refused.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from srlm.errors import InputError
from srlm.models.registry import weights_hash
from srlm.rows.records import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def claim(note: Path, place: Path, folders: Mapping[str, str], settings: Mapping[str, Any], advice: str) -> None:
    """Write the note, or hold it against what is there. Models may come to those that are noted.

    Args:
        note: the file of the note.
        place: what holds the rows, for the error.
        folders: folders of models' weights, by their names.
        settings: all else that the rows follow from, as JSON has it.
        advice: what to do when it is refused.

    Raises:
        InputError: the rows were made from something else (names it), or the note cannot be read.
    """
    made_from = {**settings, "models": {name: weights_hash(folder) for name, folder in folders.items()}}
    if note.is_file():
        before = _read(note)
        if differing := _differing(before, made_from):
            raise InputError(f"{place}: holds rows made with another {', '.join(differing)}; {advice}")
        made_from["models"] = {**before["models"], **made_from["models"]}
    write_text(note, json.dumps(made_from, indent=1) + "\n")


def _read(note: Path) -> dict[str, Any]:
    try:
        before = json.loads(note.read_text(encoding="utf-8"))
        return {**before, "models": dict(before["models"])}
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{note}: not as srlm wrote it ({error}); remove it and the rows beside it") from error


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs, models by their names; a model that is only on one side does not."""
    noted = before["models"]
    every = sorted(key for key in {*before, *now} - {"models"} if before.get(key) != now.get(key))
    # What only one side has follows from what else differs, unless nothing does.
    settings = [key for key in every if key in before and key in now] or every
    return settings + [f"model {name}".rstrip() for name, key in now["models"].items() if noted.get(name, key) != key]
