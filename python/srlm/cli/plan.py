"""What a command would do in a run's folder, without doing it: the loop is walked, and nothing is launched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from srlm import config as configuration
from srlm.loop import Loop
from srlm.models import registry
from srlm.reporter import SilentReporter
from srlm.rows.records import content_id
from srlm.run import cache_keys
from srlm.run.archive import with_what_follows
from srlm.run.run_dir import RunDir, read_config
from srlm.run.stage_runner import MADE_FROM, Stages
from srlm.workers.launcher import Launcher

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from srlm.config import Config


@dataclass
class Preview(Stages):
    """Stages that are only looked at: each counts as done, so that the loop goes on to the next."""

    changed: dict[str, str] = field(default_factory=dict)  # keys, from the run's configuration to this one
    again: dict[str, str] = field(default_factory=dict)  # stages that would be made again, and why

    def is_done(self, name: str, file: Path, parts: Mapping[str, Any], made_from: tuple[str, ...] = ()) -> bool:
        """Compare a stage with what is there."""
        planned, before = self.plan(name, file, parts, made_from), self.run_dir.known().get(name)
        if before is not None and before["key"] != planned.key:
            self.again[name] = self.why(before, planned)
        return True

    def part_hash(self, name: str, part: str, value: object) -> str:
        """See `Stages.part_hash`; weights that would have to be looked up are those of then if their name is."""
        known = self.run_dir.known().get(name, {}).get("made_with", {})
        looked_up = (
            part == cache_keys.BASE_WEIGHTS and value is None and not set(cache_keys.BASE_MODEL) & self.changes().keys()
        )
        return str(known[part]) if looked_up and part in known else content_id(value)

    def changes(self) -> dict[str, str]:
        """See `Stages.changes`; the run has not been given this configuration yet."""
        return self.changed

    def resolve(self, model: str, revision: str | None) -> str:
        """Return the folder of a model; one that would have to be looked up stays a name."""
        return registry.resolve(model) if registry.is_local(model) else model


def stages_made_again(path: Path, config: Config) -> dict[str, str]:
    """Return the stages of a run that this configuration would make again, in order, and why.

    Raises:
        InputError: seed data, or files that the configuration names, cannot be read.
    """
    report = SilentReporter()
    run = RunDir(path)
    changed = configuration.changes(read_config(path), config)
    preview = Preview(config, run, Launcher(run.log_file, report, config), report, changed=changed)
    Loop(preview).run()
    known = run.known()
    for name in list(preview.again):  # also stages that the loop asks for while it does this one
        for follower in with_what_follows(known, name):
            preview.again.setdefault(follower, MADE_FROM)
    return {name: preview.again[name] for name in known if name in preview.again}
