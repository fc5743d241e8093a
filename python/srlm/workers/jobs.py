"""The jobs that a worker process runs: generate with an engine, train, score answers under M1, resolve a model.

A job is picklable and imports what it needs when it runs, so importing this module is light.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, cast

from srlm.errors import StageError
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import Candidate, Example, Pair, Prompt, SequenceLogprob, read_rows
from srlm.workers import overlap

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.config import Config
    from srlm.engines.base import Engine
    from srlm.engines.fault_tolerant import FaultTolerantEngine
    from srlm.reporter import Reporter
    from srlm.workers.tasks import Result, StreamTask, Task


# Engines that end with this process. If they were released before, vLLM would take a second to take them apart.
_KEPT: list[Engine] = []


@dataclass(frozen=True, slots=True)
class Generate:
    """Load a model into an engine and run tasks with it."""

    config: Config
    folder: str
    seed: int
    tasks: tuple[Task, ...]
    # By task name and request key: how often an engine died while the request was in flight.
    deaths: dict[str, dict[str, int]] = field(default_factory=dict)

    def run(self, report: Reporter, finish: Finish) -> None:
        """Run the tasks; each is reported as soon as it is done."""
        from srlm.models import fit

        replace(self, config=fit.with_engine_length(self.config, self.folder)).run_tasks(report, finish)

    def run_tasks(self, report: Reporter, finish: Finish) -> None:
        """Run the tasks, with the engine's length known."""
        from srlm.engines.fault_tolerant import FaultTolerantEngine

        began = time.monotonic()
        engine = self.load(report)

        def wrap(task: Task) -> FaultTolerantEngine:
            deaths, longest = self.deaths.get(task.name, {}), self.config.engine.length
            return FaultTolerantEngine(engine, task.name, task.file, deaths, longest, report)

        def finished(task: Task, tolerant: FaultTolerantEngine, result: Result) -> None:
            nonlocal began
            metrics = tolerant.metrics()
            if "failed" in metrics:
                file = tolerant.requests.failed_file
                report.note(f"{task.name}: requests without an answer: {metrics['failed']}; see {file}")
            if distance is not None:
                metrics["weight_distance"] = distance
            began = time.monotonic()
            finish(task.name, {**result, **metrics})

        try:
            distance = self.check_weights(engine, report)
            for group in overlap.overlapping(self.tasks):
                if len(group) > 1:
                    streams = cast("list[StreamTask]", group)
                    overlap.run_together(streams, engine, wrap, self.config, self.seed, report, finished, began)
                else:
                    tolerant = wrap(group[0])
                    finished(group[0], tolerant, group[0].run(tolerant, self.config, self.seed, report))
        finally:
            if engine.has_processes:
                engine.close()
            else:
                _KEPT.append(engine)

    def load(self, report: Reporter) -> Engine:
        """Load the engine."""
        from srlm.engines import factory
        from srlm.models import fit

        engine = factory.load(self.folder, self.config.model, self.config.engine, report)
        if self.config.model.date is None and fit.prints_date(engine.tokenizer):  # not in a run, which has said it
            report.note(fit.date_note(self.config.model))
        return engine

    def check_weights(self, engine: Engine, report: Reporter) -> float | None:
        """See `weight_check.check`."""
        from srlm.engines import factory, weight_check

        config = self.config
        if config.engine.weight_check == "off" or not weight_check.has_reference(self.folder):
            return None
        dtype = str(factory.weights_dtype(config.engine)).removeprefix("torch.")
        if lost := weight_check.rounding_warning(self.folder, dtype):
            report.note(lost)
        try:
            return weight_check.check(engine, self.folder, dtype, config.engine.length)
        except StageError as error:
            if config.engine.weight_check == "stop":
                raise
            report.note(str(error))
            return None


@dataclass(frozen=True, slots=True)
class Train:
    """Train a model: `kind` is sft or dpo, `data` the files of its rows."""

    name: str
    kind: str
    config: Config
    base: str
    target: Path
    metrics: Path
    data: tuple[Path, ...]
    card: dict[str, str] = field(default_factory=dict)
    pause_at: int | None = None  # train to this optimizer step only, and save the model to `pause_to`
    pause_to: Path | None = None
    sampled: tuple[Path, ...] = ()  # candidates that `base` sampled with the run's engine

    def run(self, report: Reporter, finish: Finish) -> None:
        """Train and save."""
        from srlm.engines import factory
        from srlm.models import devices
        from srlm.training.training_job import TrainingJob

        config = self.config
        if config.launch.processes == 1 and (count := devices.use_one_gpu()) > 1:
            report.note(f"{self.name}: trains on 1 of {count} GPUs; launch.processes={count} uses all of them")
        engine_dtype = str(factory.weights_dtype(config.engine)).removeprefix("torch.")
        job = TrainingJob(
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
            save_minutes=config.sft.save_minutes if self.kind == "sft" else config.dpo.save_minutes,
            probe_dtypes=("float32", "bfloat16") if engine_dtype == "bfloat16" else ("float32",),
        )
        if self.kind == "sft":
            from srlm.training.sft import train_sft

            examples = [row for file in self.data for row in read_rows(file, Example)]
            trained = train_sft(examples, sft=config.sft, job=job, report=report, max_score=config.judge.max_score)
        else:
            from srlm.training.dpo import train_dpo
            from srlm.training.sampled_logps import read_sampled

            pairs = [row for file in self.data for row in read_rows(file, Pair)]
            sampled = read_sampled(self.sampled, pairs) if engine_dtype == "float32" else {}
            trained = train_dpo(pairs, dpo=config.dpo, job=job, report=report, sampled=sampled)
        result = {name: value for name, value in asdict(trained).items() if value is not None}
        completed = result.pop("finished")  # the manifest has a time under this name
        finish(self.name, {**result, "completed": completed})


def model_card(config: Config, name: str, t: int, kind: str, rows: int) -> dict[str, str]:
    """Return the model card's fields for the model `name` of iteration t, trained by `kind` (sft or dpo) on `rows`."""
    return {
        "model": f"{name} of run {config.name}",
        "base model": config.model.name,
        "iteration": str(t),
        "trained by": kind.upper(),
        "trained from": f"m{t - 1}" if t > 1 else config.model.name,
        "configuration": "config.yaml in the run directory",
        "training rows": str(rows),
    }


@dataclass(frozen=True, slots=True)
class ScoreUnderM1:
    """Score a sample of a later model's answers under M1, to estimate that model's KL divergence from M1."""

    name: str
    config: Config
    folder: str
    seed: int
    prompts: Path
    candidates: Path
    file: Path

    def run(self, report: Reporter, finish: Finish) -> None:
        """Score the sample and average."""
        from srlm.training import kl

        prompts, candidates = read_rows(self.prompts, Prompt), RowFile(self.candidates, Candidate)
        kl.write_logprobs(self.folder, self.config.model, prompts, candidates, self.file, seed=self.seed, report=report)
        rows = read_rows(self.file, SequenceLogprob)
        finish(self.name, {"rows": len(rows), "kl_from_m1": kl.kl_from_m1(rows)})


@dataclass(frozen=True, slots=True)
class Resolve:
    """Find, convert or download a model's weights; the result has its folder."""

    name: str
    model: str
    revision: str | None

    def run(self, report: Reporter, finish: Finish) -> None:
        """Resolve the model."""
        from srlm.models import registry

        report.start(f"model {self.model}", 1)
        finish(self.name, {"folder": registry.resolve(self.model, self.revision)})
        report.advance()


@dataclass(frozen=True, slots=True)
class CheckModel:
    """Compare a base model, its tokenizer and chat template, the configuration and the seed, before weights are loaded.

    `examples` are files of the rows that the model will be trained on.
    """

    name: str
    config: Config
    folder: str
    examples: tuple[Path, ...] = ()

    def run(self, report: Reporter, finish: Finish) -> None:
        """Check, and note what a user should know.

        Raises:
            InputError: something does not fit; see `srlm.models.fit`.
        """
        from srlm.models import fit, registry

        config = self.config
        rows = [row for file in self.examples for row in read_rows(file, Example)]
        report.start("model and seed data", 1)
        tokenizer = registry.load_tokenizer(self.folder, config.model)
        found = fit.model_shape(self.folder, trust=config.model.trust_remote_code)
        fit.check_room(config, found, "the model")
        fit.encode_examples(tokenizer, rows)
        for line in fit.notes(self.folder, tokenizer, config.model):
            report.note(line)
        report.advance()
        finish(self.name, {})


class Work(Protocol):
    """A job of a worker: picklable, and run in a process of its own."""

    def run(self, report: Reporter, finish: Finish) -> None:
        """Run the job; every finished stage is passed to `finish`."""


class Finish(Protocol):
    """Called with the name of a finished stage and the fields of its manifest entry."""

    def __call__(self, name: str, result: Result, /) -> None:
        """Handle the result."""
