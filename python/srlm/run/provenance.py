"""Record the inputs of rows that are written outside a run, so that rows of different inputs are not mixed.

A command that resumes from existing rows keeps its inputs beside them: settings, file hashes and weight hashes. The
same command with other inputs is refused.
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
    """Write the inputs, or compare them with the recorded ones. New models may be added to the recorded ones.

    Args:
        note: the file of the recorded inputs.
        place: the file or folder of the rows, for the error.
        folders: model folders by name.
        settings: all other inputs, with JSON values.
        advice: what the user can do if the command is refused.

    Raises:
        InputError: the rows have other inputs (the message names them), or the record cannot be read.
    """
    inputs = {**settings, "models": {name: weights_hash(folder) for name, folder in folders.items()}}
    if note.is_file():
        before = _read(note)
        if differing := _differing(before, inputs):
            raise InputError(f"{place}: has rows made with another {', '.join(differing)}; {advice}")
        inputs["models"] = {**before["models"], **inputs["models"]}
    write_text(note, json.dumps(inputs, indent=1) + "\n")


def _read(note: Path) -> dict[str, Any]:
    try:
        before = json.loads(note.read_text(encoding="utf-8"))
        return {**before, "models": dict(before["models"])}
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{note}: not a valid record of inputs ({error}); delete it and the rows beside it") from error


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names of inputs that differ; a model that only one side has does not count."""
    noted = before["models"]
    every = sorted(key for key in {*before, *now} - {"models"} if before.get(key) != now.get(key))
    # An input that only one side has follows from another difference, unless there is none.
    settings = [key for key in every if key in before and key in now] or every
    return settings + [f"model {name}".rstrip() for name, key in now["models"].items() if noted.get(name, key) != key]
