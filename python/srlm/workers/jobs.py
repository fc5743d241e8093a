"""The jobs that a worker process runs: generate with one engine, train, score answers under M1, resolve a model.

A job is picklable and imports what it needs when it runs, so importing this module is light.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Protocol

from srlm.errors import StageError
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import Candidate, Example, Pair, Prompt, Reading, read_rows

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.config import Config
    from srlm.engines.base import Engine
    from srlm.reporter import Reporter
    from srlm.workers.tasks import Result, Task


@dataclass(frozen=True, slots=True)
class Generate:
    """Load a model into an engine and do tasks with it."""

    config: Config
    folder: str
    seed: int
    tasks: tuple[Task, ...]
    # By the task's name and the request's key: how often an engine has died while it was at it.
    deaths: dict[str, dict[str, int]] = field(default_factory=dict)

    def run(self, report: Reporter, finish: Finish) -> None:
        """Do the tasks, each reported as soon as it is done."""
        from srlm.engines.fault_tolerant import GuardedEngine

        engine = self.load(report)
        try:
            distance = self.check_policy(engine, report)
            for task in self.tasks:
                deaths, longest = self.deaths.get(task.name, {}), self.config.engine.max_model_len
                guarded = GuardedEngine(engine, task.file, deaths, longest, report)
                result = task.run(guarded, self.config, self.seed, report)
                facts = guarded.facts()
                if "failed" in facts:
                    report.note(
                        f"{task.name}: requests without an answer: {facts['failed']}; see {guarded.failed_file}"
                    )
                if distance is not None:
                    facts["policy_distance"] = distance
                finish(task.name, {**result, **facts})
        finally:
            engine.close()

    def load(self, report: Reporter) -> Engine:
        """Load the engine."""
        from srlm.engines import factory

        return factory.load(self.folder, self.config.model, self.config.engine, report)

    def check_policy(self, engine: Engine, report: Reporter) -> float | None:
        """See `policy_check.check`."""
        from srlm.engines import factory, weight_check

        config = self.config
        if config.engine.policy_check == "off" or not weight_check.is_kept(self.folder):
            return None
        dtype = str(factory.weights_dtype(config.engine)).removeprefix("torch.")
        if lost := weight_check.lost_by_rounding(self.folder, dtype):
            report.note(lost)
        try:
            return weight_check.check(engine, self.folder, dtype, config.engine.max_model_len)
        except StageError as error:
            if config.engine.policy_check == "stop":
                raise
            report.note(str(error))
            return None


@dataclass(frozen=True, slots=True)
class Train:
    """Train a model: `kind` is sft or dpo, `data` its rows (for sft several files)."""

    name: str
    kind: str
    config: Config
    base: str
    target: Path
    metrics: Path
    data: tuple[Path, ...]
    card: dict[str, str] = field(default_factory=dict)
    pause_at: int | None = None  # train to this optimizer step only, and save what there is at `pause_to`
    pause_to: Path | None = None

    def run(self, report: Reporter, finish: Finish) -> None:
        """Train and save."""
        from srlm.training import train

        config = self.config
        job = train.Job(
            base=self.base,
            target=self.target,
            metrics=self.metrics,
            model=config.model,
            seed=config.seed,
            processes=config.launch.processes,
            card=self.card,
            pause_at=self.pause_at,
            pause_to=self.pause_to,
            save_steps=config.sft.save_steps if self.kind == "sft" else config.dpo.save_steps,
        )
        if self.kind == "sft":
            from srlm.training.sft import train_sft

            examples = [row for file in self.data for row in read_rows(file, Example)]
            trained = train_sft(examples, sft=config.sft, job=job, report=report)
        else:
            from srlm.training.dpo import train_dpo

            pairs = [row for file in self.data for row in read_rows(file, Pair)]
            trained = train_dpo(pairs, dpo=config.dpo, job=job, report=report)
        facts = asdict(trained)
        to_its_end = facts.pop("finished")  # which is a time in the manifest
        finish(self.name, {**facts, "to_its_end": to_its_end})


@dataclass(frozen=True, slots=True)
class ReadByM1:
    """Let M1 read a sample of a later model's answers, which tells how far that model has moved."""

    name: str
    config: Config
    folder: str
    seed: int
    prompts: Path
    candidates: Path
    file: Path

    def run(self, report: Reporter, finish: Finish) -> None:
        """Read, and take the mean."""
        from srlm.training import kl

        prompts, candidates = read_rows(self.prompts, Prompt), RowFile(self.candidates, Candidate)
        kl.write_readings(self.folder, self.config.model, prompts, candidates, self.file, seed=self.seed, report=report)
        rows = read_rows(self.file, Reading)
        finish(self.name, {"rows": len(rows), "kl_from_m1": kl.kl_from_m1(rows)})


@dataclass(frozen=True, slots=True)
class Resolve:
    """Find, convert or download a model's weights; the result is its folder."""

    name: str
    model: str
    revision: str | None

    def run(self, report: Reporter, finish: Finish) -> None:
        """Find the folder."""
        from srlm.models import registry

        report.start(f"model {self.model}", 1)
        finish(self.name, {"folder": registry.resolve(self.model, self.revision)})
        report.advance()


class Work(Protocol):
    """A job of a worker: something picklable that is done in a process of its own."""

    def run(self, report: Reporter, finish: Finish) -> None:
        """Do it; every finished stage is passed to `finish`."""


class Finish(Protocol):
    """Told of a finished stage, by name, and what the manifest is to keep of it."""

    def __call__(self, name: str, result: Result, /) -> None:
        """Pass the result on."""
