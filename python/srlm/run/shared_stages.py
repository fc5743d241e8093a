"""What a control takes over from its run: all stages up to M2's candidates, as hard links and manifest entries.

Up to there the two runs have the same settings: the seed data, the measures of M0, the SFT baseline and M1, M1 itself,
M2's prompts and candidates. Their cache keys are the same, so the loop finds these stages done, and would recompute
any whose key has changed. Hard links are safe because no finished file is written to in place: a stage that is
recomputed is moved to the archive first, and a file with several names is copied before rows are appended
(`rows.atomic_file.own_copy`).
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from srlm.rows.json_lines import read_object
from srlm.rows.records import write_text
from srlm.run import archive, environment
from srlm.run.model_names import BASE, SFT_BASELINE
from srlm.run.run_dir import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from srlm.run.run_dir import RunDir

SHARED_FOLDERS = ("seed", BASE, SFT_BASELINE, "m1")
SHARED_STAGES = frozenset({"m2/file_prompts", "m2/prompts", "m2/supplied", "m2/candidates"})
# Errors of file systems that cannot link these two files: they are copied.
NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})
SAME = ("cache_key", "sha256")  # fields of a manifest entry that say what its files contain


def shared_entries(run: RunDir) -> dict[str, dict[str, Any]]:
    """Return the manifest entries of the stages that a run shares with its control, in the run's order.

    A stage that depends on one that is not shared, such as a comparison with M2 as judge, is not shared either; nor is
    one whose file is not as the stage left it.
    """
    known = {name: entry for name in run.stages() if (entry := run.entry(name)) is not None}
    found = {
        name: entry
        for name, entry in known.items()
        if (name.partition("/")[0] in SHARED_FOLDERS or name in SHARED_STAGES) and run.state(name) == "done"
    }
    while True:
        kept = {name: entry for name, entry in found.items() if set(entry.get("depends_on", ())) <= found.keys()}
        if len(kept) == len(found):
            return kept
        found = kept


def stages_to_share(run: RunDir, control: RunDir) -> dict[str, dict[str, Any]]:
    """Return the entries of the shared stages that the control lacks, or has with other inputs or other content."""
    return {
        name: entry
        for name, entry in shared_entries(run).items()
        if not _same(entry, control.entry(name)) or control.state(name) == "missing"
    }


def share(run: RunDir, control: RunDir) -> list[str]:
    """Link the files of the shared stages into the control, and record them there; return notes for the user.

    What the control had of these stages is archived with its dependents. The manifest is written last, so a crash in
    between leaves links that the next call completes.
    """
    notes = [
        note for name, entry in stages_to_share(run, control).items() for note in _make_room(name, entry, run, control)
    ]
    taken = stages_to_share(run, control)  # again: dependents were archived too
    for name, entry in taken.items():
        for path in archive.stage_paths(name, entry):
            if (run.path / path).exists():
                _link(run.path / path, control.path / path)
    if taken:
        _share_environments(run, control)
        origin = os.path.relpath(run.path, control.path)
        control.adopt({name: {**entry, "shared_from": origin} for name, entry in taken.items()})
    return notes


def _make_room(name: str, entry: Mapping[str, Any], run: RunDir, control: RunDir) -> list[str]:
    """Archive what the control has of a stage, with its dependents; return a note for the user if it had something."""
    paths = [path for path in archive.stage_paths(name, entry) if (run.path / path).exists()]
    if name not in control.known_stages():
        if not any(_foreign(run.path / path, control.path / path) for path in paths):
            return []
        control.start(name, {field: entry[field] for field in ("cache_key", "path", "depends_on") if field in entry})
    moved = archive.archive_stage(control, name)
    return [f"{control.path.name}: {name} is taken from {run.path.name} again; the previous one is in {moved.folder}"]


def _same(entry: Mapping[str, Any], other: Mapping[str, Any] | None) -> bool:
    return other is not None and all(entry.get(field) == other.get(field) for field in SAME)


def _foreign(source: Path, target: Path) -> bool:
    """Tell whether `target` has a file that is neither the one of `source` nor a copy of it."""
    if source.is_dir():
        return target.is_dir() and any(_foreign(child, target / child.name) for child in source.iterdir())
    return target.exists() and not target.samefile(source) and fingerprint(target) != fingerprint(source)


def _link(source: Path, target: Path) -> None:
    """Give a file, or every file in a folder, a second name; copy it where the file system has no links."""
    if source.is_dir():
        for child in source.iterdir():
            _link(child, target / child.name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and target.samefile(source):
        return
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), partial)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        shutil.copy2(source, partial)  # with its modification time, which the manifest's fingerprint has
    partial.replace(target)


def _share_environments(run: RunDir, control: RunDir) -> None:
    """Copy the descriptions of the environments that the shared entries name."""
    files = [folder.path / environment.FILE for folder in (run, control)]
    known = read_object(files[0]) | read_object(files[1])
    if known:
        write_text(files[1], json.dumps(known, indent=1) + "\n")
