"""What makes a stage of a run done, and who does it: shared by the loop and by what is measured of its models."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from srlm import judge, models
from srlm.evaluation import comparing
from srlm.records import file_hash
from srlm.worker import Resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from srlm.config import Config
    from srlm.launcher import Launcher
    from srlm.reporter import Reporter
    from srlm.run_dir import RunDir
    from srlm.worker import Work


@dataclass
class Stages:
    """One run: its configuration, its folder, and who does the work."""

    config: Config
    run_dir: RunDir
    launcher: Launcher
    report: Reporter
    titled: Callable[[str], None] = lambda _: None  # told the name of the model that is at work or in training
    told: Callable[[], None] = lambda: None  # called after every stage that is done
    _keys: dict[str, str] = field(default_factory=dict)
    _files: dict[str, Path] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)

    def sections(self, *names: str) -> dict[str, Any]:
        """Return parts of the configuration for a stage's key, with the text of the files that they name."""
        return sections(self.config, *names)

    def is_done(self, name: str, file: Path, parts: object, made_from: tuple[str, ...] = ()) -> bool:
        """Tell whether a stage is done from what it would be made from now (see `RunDir.is_done`)."""
        self._keys[name] = self.run_dir.key(name, parts, made_from)
        self._files[name] = file
        self._started = time.monotonic()
        return self.run_dir.is_done(name, self._keys[name], file)

    def launch(self, work: Work) -> None:
        """Let a worker do it; each of its stages is recorded as it is done."""
        self._started = time.monotonic()
        self.launcher.run(work, self.finish)

    def finish(self, name: str, result: dict[str, Any]) -> None:
        """Record that a stage, whose `is_done` was asked before, is done."""
        now = time.monotonic()
        hashes = self._hashes(self._files[name])
        self.run_dir.finish(name, self._keys[name], now - self._started, {**result, **hashes})
        self.told()
        self._started = time.monotonic()

    def _hashes(self, file: Path) -> dict[str, dict[str, str]]:
        """Return what the manifest keeps of the content of a stage's rows or model, by which `srlm replay` knows it."""
        if file.is_file():
            digest = file_hash(file)
        elif (file / "config.json").is_file():
            digest = models.weights_hash(str(file))
        else:
            return {}  # a folder of several models: checkpoints on the way
        return {"sha256": {file.relative_to(self.run_dir.path).as_posix(): digest}}

    def trained(self, t: int) -> str:
        """Return the name of the stage that gave M_t."""
        return f"m{t}/dpo" if self.run_dir.entry(f"m{t}/dpo") else f"m{t}/sft"

    def resolve(self, model: str, revision: str | None) -> str:
        """Return the folder of a model's weights."""
        if models.is_local(model):
            return models.resolve(model)
        found: dict[str, str] = {}
        self.launcher.run(Resolve("model", model, revision), lambda _, result: found.update(result))
        return found["folder"]


def data_seed(config: Config, t: int) -> int:
    """Return the seed of the data for M_t: one of its own for each iteration, so that no two draw alike."""
    return config.seed * 1000 + t


def sections(config: Config, *names: str) -> dict[str, Any]:
    """Return parts of a configuration that decide what comes out, with the text of the files that they name."""
    values = config.model_dump(mode="json", exclude={"sft": {"save_steps"}, "dpo": {"save_steps"}})
    parts = {name: values[name] for name in ("seed", *names)}
    if "judge" in names:
        parts["judge prompt"] = judge.read_template(config.judge)
    if "head_to_head" in names:
        parts["comparing prompt"] = comparing.read_template(config.head_to_head)
    if config.model.chat_template is not None:
        parts["chat template"] = models.read_chat_template(config.model.chat_template)
    return parts
