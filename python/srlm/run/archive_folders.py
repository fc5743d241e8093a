"""The folders `RUN_DIR/archive/N`: what they hold, and which one comes next.

Each has the stages that one command archived, their manifest entries and the configuration they were computed with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from srlm import config as configuration
from srlm.rows.json_lines import read_object
from srlm.rows.records import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.config import Config

FOLDER = "archive"


def keep_config(run: Path, text: str) -> None:
    """Keep the configuration that a run had before it was changed, for the stages that will be archived."""
    file = next_folder(run) / "config.yaml"
    if not file.exists():  # or no stage has been computed with the configurations in between
        write_text(file, text)


def changed_settings(run: Path, now: Config) -> dict[str, str]:
    """Return the configuration keys that differ from the latest archived configuration, as `before → now`."""
    files = [file for folder in _numbered(run) if (file := folder / "config.yaml").is_file()]
    if not files:
        return {}
    return configuration.changes(configuration.load(str(files[-1])), now)


def archived_stages(run: Path) -> dict[str, dict[str, Any]]:
    """Return the manifest entries of the archived stages by folder (`archive/1`), oldest first."""
    return {f"{FOLDER}/{folder.name}": entries for folder in _numbered(run) if (entries := read_entries(folder))}


def next_folder(run: Path) -> Path:
    """Return a folder that holds no stages yet: the latest, or a new one."""
    folders = _numbered(run)
    if folders and {entry.name for entry in folders[-1].iterdir()} <= {"config.yaml"}:
        return folders[-1]
    return run / FOLDER / str(1 + max((int(folder.name) for folder in folders), default=0))


def read_entries(folder: Path) -> dict[str, Any]:
    """Return the manifest entries of the stages in one folder of the archive."""
    return read_object(folder / "manifest.json")


def _numbered(run: Path) -> list[Path]:
    folder = run / FOLDER
    entries = list(folder.iterdir()) if folder.is_dir() else []
    numbered = [entry for entry in entries if entry.name.isascii() and entry.name.isdigit()]
    return sorted(numbered, key=lambda entry: int(entry.name))
