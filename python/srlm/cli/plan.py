"""What `srlm run` would recompute with other settings: the loop is walked without running anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from srlm import config as configuration
from srlm.loop import Loop
from srlm.models import registry
from srlm.reporter import SilentReporter
from srlm.rows.records import content_id
from srlm.run import cache_keys
from srlm.run.archive import with_dependents
from srlm.run.run_dir import RunDir, read_config
from srlm.run.stage_runner import UPSTREAM_CHANGED, StageRunner
from srlm.workers.launcher import Launcher

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from srlm.config import Config


@dataclass
class DryRun(StageRunner):
    """Runs no stage: every stage counts as done, so that the loop walks on, and stale ones are collected."""

    changed: dict[str, str] = field(default_factory=dict)  # settings, from the run's configuration to this one
    stale: dict[str, str] = field(default_factory=dict)  # stages that would be recomputed, with the reason
    missing: list[str] = field(default_factory=list)  # stages that are not done, or whose file is not as they left it

    def is_done(self, name: str, file: Path, inputs: Mapping[str, Any], depends_on: tuple[str, ...] = ()) -> bool:
        """Compare the stage's cache key with the recorded one."""
        plan, before = self.plan(name, file, inputs, depends_on), self.run_dir.known_stages().get(name)
        if before is not None and before["cache_key"] != plan.cache_key:
            self.stale[name] = self.stale_reason(before, plan)
        if self.run_dir.entry(name) is None or self.run_dir.state(name) != "done":
            self.missing.append(name)
        return True

    def input_hash(self, name: str, part: str, value: object) -> str:
        """See `StageRunner.input_hash`; unresolved weights count as the recorded ones if the model name is the same."""
        recorded = self.run_dir.known_stages().get(name, {}).get("input_hashes", {})
        if part == cache_keys.TEMPLATE_DATE and recorded.get(part) == content_id(None):
            return content_id(None)  # its template printed no date; a model that is not here may have another
        same_model = not set(cache_keys.BASE_MODEL) & self.changed_settings().keys()
        if part == cache_keys.BASE_WEIGHTS and value is None and same_model and part in recorded:
            return str(recorded[part])
        return content_id(value)

    def changed_settings(self) -> dict[str, str]:
        """See `StageRunner.changed_settings`; the run directory still has the previous configuration."""
        return self.changed

    def resolve(self, model: str, revision: str | None) -> str:
        """Return the folder of a local model; any other stays a name, since nothing is downloaded."""
        return registry.resolve(model) if registry.is_local(model) else model


def stages_to_recompute(path: Path, config: Config) -> dict[str, str]:
    """Return the stages of a run that this configuration would recompute, in order, with the reasons.

    Raises:
        InputError: seed data, or a file that the configuration names, cannot be read.
    """
    dry_run = _walk(path, config)
    known = dry_run.run_dir.known_stages()
    for name in list(dry_run.stale):  # their dependents too, among them stages that the loop did not reach
        for dependent in with_dependents(known, name):
            dry_run.stale.setdefault(dependent, UPSTREAM_CHANGED)
    return {name: dry_run.stale[name] for name in known if name in dry_run.stale}


def is_finished(path: Path, config: Config) -> bool:
    """Tell whether `srlm run` with this configuration would do nothing: every stage is done, and the report is written.

    Raises:
        InputError: see `stages_to_recompute`.
    """
    report, manifest = path / "report.html", path / "manifest.json"
    if not (report.is_file() and manifest.is_file()) or report.stat().st_mtime_ns < manifest.stat().st_mtime_ns:
        return False
    if configuration.changes(read_config(path), config):
        return False
    walked = _walk(path, config)
    return not walked.missing and not walked.stale


def _walk(path: Path, config: Config) -> DryRun:
    report, run = SilentReporter(), RunDir(path)
    changed = configuration.changes(read_config(path), config)
    dry_run = DryRun(config, run, Launcher(run.log_file, report, config), report, changed=changed)
    Loop(dry_run).run()
    return dry_run


def stale_lines(stale: Mapping[str, str]) -> list[str]:
    """Return a line with the reason for each stage to recompute, and one for their dependents."""
    if not stale:
        return ["no stage would be recomputed: none depends on these settings, or their values are as before"]
    lines = [f"{name} would be recomputed: {reason}" for name, reason in stale.items() if reason != UPSTREAM_CHANGED]
    dependents = [name for name, reason in stale.items() if reason == UPSTREAM_CHANGED]
    return [*lines, f"and their dependents: {', '.join(dependents)}"] if dependents else lines
