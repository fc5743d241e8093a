"""What makes a stage of a run done, and who does it: shared by the loop and by what is measured of its models."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from srlm.errors import InputError, StageError
from srlm.models import registry
from srlm.rows.records import content_id
from srlm.run import archive, cache_keys
from srlm.run.run_dir import content_hash, fingerprint
from srlm.workers.jobs import Resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from srlm.config import Config
    from srlm.reporter import Reporter
    from srlm.run.run_dir import RunDir
    from srlm.workers.jobs import Work
    from srlm.workers.launcher import Launcher

# Raise it when the same settings and weights would give other rows than with the code before, or other keys.
FORMAT = 2
FORMAT_PART = "srlm's format of runs"
MADE_FROM = "what it was made from has changed"
SHOWN = 3  # names of stages in a sentence


@dataclass(frozen=True, slots=True)
class Planned:
    """What a stage is made from."""

    key: str
    hashes: dict[str, str]  # of what decides what comes out, by name
    made_from: tuple[str, ...]  # stages
    file: Path

    def record(self, run: Path) -> dict[str, Any]:
        """Return what the run's folder keeps of it."""
        path = self.file.relative_to(run).as_posix()
        return {"key": self.key, "path": path, "made_from": list(self.made_from), "made_with": self.hashes}


@dataclass
class Stages:
    """One run: its configuration, its folder, and who does the work."""

    config: Config
    run_dir: RunDir
    launcher: Launcher
    report: Reporter
    titled: Callable[[str], None] = lambda _: None  # told the name of the model that is at work or in training
    told: Callable[[], None] = lambda: None  # called after every stage that is done
    _planned: dict[str, Planned] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)

    def sections(self, *names: str, but: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return parts of the configuration for a stage's key (see `keys.sections`)."""
        return cache_keys.sections(self.config, *names, but=but)

    def is_done(self, name: str, file: Path, parts: Mapping[str, Any], made_from: tuple[str, ...] = ()) -> bool:
        """Tell whether a stage is done from what it would be made from now.

        What was made from something else is set aside, with all that was made from it in turn, and said.

        Args:
            name: the stage's, in the manifest.
            file: its rows, or the folder of its model.
            parts: all that decides what comes out, by names that a user understands, as JSON has it.
            made_from: the stages whose rows or models it reads.

        Raises:
            InputError: it was done, but its file is missing or has been changed.
        """
        planned = self.plan(name, file, parts, made_from)
        self._started = time.monotonic()
        before = self.run_dir.known().get(name)
        if before is not None and "made_with" not in before and name in self.run_dir.stages():
            raise InputError(
                f"{self.run_dir.path}: stage {name} was made by an earlier srlm, which did not keep what it was made "
                f"from; go on with that version, or let `srlm redo {self.run_dir.path} {name}` set it aside"
            )
        if before is None and file.exists() and not self.run_dir.holds(file):
            # Rows of an earlier srlm, or a stranger's: by what settings cannot be told.
            self.run_dir.begin(name, planned.record(self.run_dir.path))
            moved = archive.set_aside(self.run_dir, name)
            self.report.note(f"{name}: {file} was there, made from what is not known; it is kept in {moved.folder}")
        if before is not None and before["key"] != planned.key:
            self._set_aside(name, before, planned)
            before = None
        if before is None or self.run_dir.entry(name) is None:
            self.run_dir.begin(name, planned.record(self.run_dir.path))
            return False
        self.run_dir.check(name, file)
        return True

    def plan(self, name: str, file: Path, parts: Mapping[str, Any], made_from: tuple[str, ...] = ()) -> Planned:
        """Return what a stage would be made from now; its key stands for it in the keys of what is made from it."""
        every = {**parts, FORMAT_PART: FORMAT}
        hashes = {part: self.part_hash(name, part, value) for part, value in every.items()}
        key = content_id(name, sorted(hashes.items()), [self._key(stage) for stage in made_from])
        self._planned[name] = Planned(key, hashes, made_from, file)
        return self._planned[name]

    def part_hash(self, _name: str, _part: str, value: object) -> str:
        """Return the hash of one part of what a stage is made from."""
        return content_id(value)

    def launch(self, work: Work) -> None:
        """Let a worker do it; each of its stages is recorded as it is done."""
        self._started = time.monotonic()
        self.launcher.run(work, self.finish)

    def finish(self, name: str, result: dict[str, Any]) -> None:
        """Record that a stage, whose `is_done` was asked before, is done."""
        now, planned = time.monotonic(), self._planned[name]
        if not planned.file.exists():
            raise StageError(f"{name}: ended without {planned.file}; the worker's log may say why")
        content = self._content(planned.file)
        record = planned.record(self.run_dir.path)
        self.run_dir.finish(name, record, now - self._started, {**result, **content})
        self.told()
        self._started = time.monotonic()

    def _content(self, file: Path) -> dict[str, Any]:
        """Return what the manifest keeps of the content of a stage's rows or model, by which it is known again."""
        if not file.is_file() and not (file / "config.json").is_file():
            return {}  # a folder of several models: checkpoints on the way
        name = file.relative_to(self.run_dir.path).as_posix()
        return {"sha256": {name: content_hash(file)}, "fingerprint": fingerprint(file)}

    def _key(self, stage: str) -> str:
        """Return the key of a stage that another one is made from: as planned now, or as it was made before."""
        return self._planned[stage].key if stage in self._planned else str(self.run_dir.known()[stage]["key"])

    def _set_aside(self, name: str, before: Mapping[str, Any], planned: Planned) -> None:
        moved = archive.set_aside(self.run_dir, name)
        others = f", with {_listed(moved.stages[1:])} that came of it," if len(moved.stages) > 1 else ""
        self.report.note(
            f"{name}: made again, since {self.why(before, planned)}; what was there{others} is kept in {moved.folder}"
        )

    def why(self, before: Mapping[str, Any], planned: Planned) -> str:
        """Say what a stage is made from that it was not made from before."""
        made_with = before.get("made_with", {})
        every = dict.fromkeys([*planned.hashes, *made_with])
        parts = [part for part in every if made_with.get(part) != planned.hashes.get(part)]
        if FORMAT_PART in parts:  # then its other parts may go by other names
            return f"{FORMAT_PART} has changed"
        changes, others = cache_keys.differing(self.changes(), parts)
        # What is only read now, or no longer, follows from what else has changed, unless nothing has.
        others = [part for part in others if part in made_with and part in planned.hashes] or others * (not changes)
        said = [f"{key} is {change}" for key, change in changes.items()]
        said += [f"{part} {'have' if part.endswith(('weights', 'prompts')) else 'has'} changed" for part in others]
        return ", ".join(said) or MADE_FROM

    def changes(self) -> dict[str, str]:
        """Return the keys that differ from the configuration before: `before → now`."""
        return archive.changed_keys(self.run_dir.path, self.config)

    def trained(self, t: int) -> str:
        """Return the name of the stage that gives M_t."""
        return f"m{t}/sft" if t < 2 or self.config.pairs.method == "positives_only" else f"m{t}/dpo"

    def resolve(self, model: str, revision: str | None) -> str:
        """Return the folder of a model's weights."""
        if registry.is_local(model):
            return registry.resolve(model)
        found: dict[str, str] = {}
        self.launcher.run(Resolve("model", model, revision), lambda _, result: found.update(result))
        return found["folder"]


def _listed(names: list[str]) -> str:
    shown = names if len(names) <= SHOWN else [*names[:SHOWN], f"{len(names) - SHOWN} more"]
    return ", ".join(shown[:-1]) + " and " * (len(shown) > 1) + shown[-1]


def data_seed(config: Config, t: int) -> int:
    """Return the seed of the data for M_t: one of its own for each iteration, so that no two draw alike."""
    return config.seed * 1000 + t
