"""Run stages once: decide whether a stage is done, archive what is stale, launch its worker, record its result."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from srlm.errors import StageError
from srlm.models import registry
from srlm.rows.records import content_id
from srlm.run import archive, archive_folders, cache_keys, stage_inputs
from srlm.run.model_names import iteration, model_name
from srlm.run.run_dir import content_hash, fingerprint
from srlm.workers.jobs import CheckModel, Resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from srlm.config import Config
    from srlm.reporter import Reporter
    from srlm.run.run_dir import RunDir
    from srlm.workers.jobs import Work
    from srlm.workers.launcher import Launcher

UPSTREAM_CHANGED = "a stage that it depends on has changed"
MAX_NAMES = 3  # stages named in a note


@dataclass(frozen=True, slots=True)
class StagePlan:
    """The inputs and the output of a stage under the current configuration."""

    cache_key: str
    input_hashes: dict[str, str]  # by the input's name
    depends_on: tuple[str, ...]  # stages
    file: Path

    def record(self, run: Path) -> dict[str, Any]:
        """Return the stage's record for the run directory."""
        path = self.file.relative_to(run).as_posix()
        return {
            "cache_key": self.cache_key,
            "path": path,
            "depends_on": list(self.depends_on),
            "input_hashes": self.input_hashes,
        }


@dataclass
class StageRunner:
    """The stages of one run: its configuration, its directory, and the launcher of its workers.

    `set_title` is called with the name of the model that generates or is trained, `on_stage_done` after every stage.
    """

    config: Config
    run_dir: RunDir
    launcher: Launcher
    report: Reporter
    set_title: Callable[[str], None] = lambda _: None
    on_stage_done: Callable[[], None] = lambda: None
    _plans: dict[str, StagePlan] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)
    _checked: bool = False

    def key_inputs(self, *names: str, exclude: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return the inputs of a stage's cache key (see `cache_keys.key_inputs`)."""
        return cache_keys.key_inputs(self.config, *names, exclude=exclude)

    def is_done(self, name: str, file: Path, inputs: Mapping[str, Any], depends_on: tuple[str, ...] = ()) -> bool:
        """Tell whether a stage is done with the inputs that it would have now.

        A stage with other inputs is archived with everything that depends on it, and the reason is reported.

        Args:
            name: the stage's name in the manifest.
            file: its file of rows, or its model folder.
            inputs: everything that decides its output, by names that a user understands; JSON values.
            depends_on: the stages whose rows or models it reads.

        Raises:
            InputError: the stage is done, but its file is missing or has been changed.
        """
        plan = self.plan(name, file, inputs, depends_on)
        self._started = time.monotonic()
        before = self.run_dir.known_stages().get(name)
        if before is None and file.exists() and not self.run_dir.contains(file):
            # The settings that these rows were made with are unknown.
            self.run_dir.start(name, plan.record(self.run_dir.path))
            archived = archive.archive_stage(self.run_dir, name)
            self.report.note(f"{name}: {file} existed, from unknown inputs; archived in {archived.folder}")
        if before is not None and before["cache_key"] != plan.cache_key:
            self._archive(name, before, plan)
            before = None
        if before is None or self.run_dir.entry(name) is None:
            self.run_dir.start(name, plan.record(self.run_dir.path))
            return False
        self.run_dir.check(name, file)
        return True

    def plan(self, name: str, file: Path, inputs: Mapping[str, Any], depends_on: tuple[str, ...] = ()) -> StagePlan:
        """Return the inputs that a stage would have now; its cache key enters the keys of its dependents."""
        hashes = {part: self.input_hash(name, part, value) for part, value in inputs.items()}
        cache_key = content_id(name, sorted(hashes.items()), [self._cache_key(stage) for stage in depends_on])
        self._plans[name] = StagePlan(cache_key, hashes, depends_on, file)
        return self._plans[name]

    def input_hash(self, _name: str, _part: str, value: object) -> str:
        """Return the hash of one input of a stage."""
        return content_id(value)

    def launch(self, work: Work) -> None:
        """Run a job in a worker; each of its stages is recorded as soon as it is done."""
        self._started = time.monotonic()
        self.launcher.run(work, self.finish)

    def finish(self, name: str, result: dict[str, Any]) -> None:
        """Record that a stage is done; `is_done` must have been called before.

        `result` has the seconds of a stage that shared its worker's time with others.

        Raises:
            StageError: its file does not exist.
        """
        now, plan = time.monotonic(), self._plans[name]
        if not plan.file.exists():
            raise StageError(f"{name}: finished without writing {plan.file}; the worker's log may say why")
        content = self._content(plan.file)
        record, result = plan.record(self.run_dir.path), dict(result)
        seconds = result.pop("seconds", now - self._started)
        self.run_dir.finish(name, record, seconds, {**result, **content})
        self.on_stage_done()
        self._started = time.monotonic()

    def _content(self, file: Path) -> dict[str, Any]:
        """Return the content hash and fingerprint that the manifest keeps of a stage's rows or model."""
        if not file.is_file() and not (file / "config.json").is_file():
            return {}  # a folder of several models: intermediate checkpoints
        name = file.relative_to(self.run_dir.path).as_posix()
        return {"sha256": {name: content_hash(file)}, "fingerprint": fingerprint(file)}

    def _cache_key(self, stage: str) -> str:
        """Return the cache key of a dependency: as planned now, or as recorded."""
        if stage in self._plans:
            return self._plans[stage].cache_key
        return str(self.run_dir.known_stages()[stage]["cache_key"])

    def _archive(self, name: str, before: Mapping[str, Any], plan: StagePlan) -> None:
        archived = archive.archive_stage(self.run_dir, name)
        dependents = f" and its dependents ({_join(archived.stages[1:])})" if len(archived.stages) > 1 else ""
        reason = self.stale_reason(before, plan)
        self.report.note(
            f"{name}: recomputed because {reason}; the previous output{dependents} is archived in {archived.folder}"
        )

    def stale_reason(self, before: Mapping[str, Any], plan: StagePlan) -> str:
        """Return which inputs of a stage differ from those that it was computed with."""
        recorded = before.get("input_hashes", {})
        names = dict.fromkeys([*plan.input_hashes, *recorded])
        differing = [name for name in names if recorded.get(name) != plan.input_hashes.get(name)]
        changes, others = cache_keys.explain_changes(self.changed_settings(), differing)
        # An input that only one side has follows from another change, unless nothing else has changed.
        others = [name for name in others if name in recorded and name in plan.input_hashes] or others * (not changes)
        reasons = [f"{key} changed: {change}" for key, change in changes.items()]
        reasons += [f"{name} changed" for name in others]
        return ", ".join(reasons) or UPSTREAM_CHANGED

    def changed_settings(self) -> dict[str, str]:
        """Return the configuration keys that differ from the previous configuration, as `before → now`."""
        return archive_folders.changed_settings(self.run_dir.path, self.config)

    def training_stage(self, model: int | str) -> str:
        """Return the name of the stage that trains M_t, or the SFT baseline by its name."""
        name = model_name(model)
        by_sft = iteration(name) < 2 or self.config.train.kind == "sft"
        return f"{name}/sft" if by_sft else f"{name}/dpo"

    @cached_property
    def base(self) -> str:
        """The folder of the base model's weights."""
        return self.resolve(self.config.model.name, self.config.model.revision)

    def local_weights(self, folder: str) -> str | None:
        """Return the weights hash of a model from outside the run, or None if it is not on this machine."""
        return self.run_dir.weights_hash(folder) if registry.is_local(folder) else None

    def resolve(self, model: str, revision: str | None) -> str:
        """Return the folder of a model's weights."""
        if registry.is_ready(model):
            return registry.resolve(model)
        found: dict[str, str] = {}
        self.launcher.run(Resolve("model", model, revision), lambda _, result: found.update(result))
        return found["folder"]

    def base_inputs(self) -> dict[str, Any]:
        """Return the inputs of a stage that loads the base model; one not on this machine may print the date."""
        prints_date = not registry.is_local(self.base) or registry.prints_date(self.base, self.config.model)
        return stage_inputs.base_model(self.config, self.local_weights(self.base), prints_date=prints_date)

    def check_base(self) -> None:
        """Check once that the base model, its tokenizer, the configuration and the IFT examples fit together.

        Raises:
            InputError: they do not; see `srlm.models.fit`.
        """
        if not self._checked:
            self._checked = True
            examples = (self.run_dir.seed("ift.jsonl"),)
            self.launcher.run(CheckModel("check", self.config, self.base, examples), lambda *_: None)


def _join(names: list[str]) -> str:
    shown = names if len(names) <= MAX_NAMES else [*names[:MAX_NAMES], f"{len(names) - MAX_NAMES} more"]
    return ", ".join(shown[:-1]) + " and " * (len(shown) > 1) + shown[-1]


def data_seed(config: Config, t: int) -> int:
    """Return the seed of the data for M_t: one per iteration, so that no two iterations sample the same."""
    return config.seed * 1000 + t
