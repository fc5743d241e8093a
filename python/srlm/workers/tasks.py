"""The generation stages as tasks of a `Generate` job: files in, a file out, with an engine that is already loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from srlm.progress import count_lines
from srlm.rows.growing_file import GrowingFile, written
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import Candidate, Example, Prompt, RankedAnswers, Row, Verdict, read_rows
from srlm.rows.resume import drop_orphans

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from srlm.config import Config
    from srlm.engines.base import Engine
    from srlm.reporter import Reporter
    from srlm.stages.generation import GenerationStage
    from srlm.stages.novelty import KnownFile

Result = dict[str, Any]


class Task(Protocol):
    """One stage that generates with a loaded engine."""

    @property
    def name(self) -> str:
        """The stage's name in the manifest."""

    @property
    def file(self) -> Path:
        """The file that the stage appends to."""

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """Run the stage and return the fields of its manifest entry."""


# The files that stages of this job are still writing, with whether they have ended.
Growing = Mapping["Path", "Callable[[], bool]"]


@runtime_checkable
class StreamTask(Task, Protocol):
    """A task that can share the engine with others, among them the one that writes its input."""

    def open(self, engine: Engine, config: Config, seed: int, report: Reporter, growing: Growing) -> GenerationStage:
        """Return the stage; it waits for the rows of files in `growing`."""

    def result(self, config: Config, report: Reporter) -> Result:
        """Return the fields of its manifest entry, from its complete file."""


def _rows(path: Path, kind: type[Row], growing: Growing) -> GrowingFile[Row] | RowFile[Row]:
    return GrowingFile(path, kind, growing[path]) if path in growing else RowFile(path, kind)


@dataclass(frozen=True, slots=True)
class PromptsTask:
    """Generate new prompts that differ from the seed prompts and from those in `known`."""

    name: str
    ift: Path
    file: Path
    dropped_file: Path
    known: tuple[KnownFile, ...] = ()
    given: Path | None = None  # prompts from the user's files, which come first and count

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        return run_alone(self, engine, config, seed, report)

    def open(self, engine: Engine, config: Config, seed: int, report: Reporter, growing: Growing) -> GenerationStage:
        """See `StreamTask.open`."""
        from srlm.stages import novelty, prompts
        from srlm.stages import seed as seed_stage

        seeds, known = seed_stage.seed_prompts(read_rows(self.ift, Example)), novelty.read_known(self.known)
        given = read_rows(self.given, Prompt) if self.given is not None else []
        settings: Any = {"prompts": config.prompts, "seed": seed, "report": report, "known": known, "given": given}
        return prompts.PromptsStage(engine, seeds, self.file, self.dropped_file, **settings)

    def result(self, config: Config, report: Reporter) -> Result:
        """See `StreamTask.result`."""
        return {"rows": count_lines(self.file)}


@dataclass(frozen=True, slots=True)
class SuppliedTask:
    """Sample answers of `suppliers.model`."""

    name: str
    prompts: Path
    file: Path

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        from srlm.stages import candidates

        section = config.candidates.model_copy(update={"per_prompt": config.suppliers.model_per_prompt})
        settings: Any = {"candidates": section, "seed": seed, "report": report, "source": "model"}
        rows = RowFile(self.prompts, Prompt)
        candidates.write_candidates(engine, rows, self.file, **settings, stage="answers of suppliers.model")
        return {"rows": count_lines(self.file)}


@dataclass(frozen=True, slots=True)
class CandidatesTask:
    """Sample candidates for prompts, and add the answers of a `SuppliedTask`."""

    name: str
    prompts: Path
    file: Path
    supplied: Path | None = None

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        return run_alone(self, engine, config, seed, report)

    def open(self, engine: Engine, config: Config, seed: int, report: Reporter, growing: Growing) -> GenerationStage:
        """See `StreamTask.open`."""
        from srlm.stages import candidates, supplied_answers, suppliers

        prompts, expected = _rows(self.prompts, Prompt, growing), 0
        if self.prompts in growing:
            expected = config.prompts.count
            drop_orphans(self.file, Candidate, lambda row: row.prompt_id, (row.id for row in written(prompts)), report)
        settings: Any = {"candidates": config.candidates, "seed": seed, "report": report, "expected": expected}
        if self.supplied is not None:
            keeps_tokens = suppliers.other_model(config.suppliers) is None
            settings["supplied"] = supplied_answers.SuppliedAnswers(self.supplied, keeps_tokens=keeps_tokens)
        return candidates.CandidatesStage(engine, prompts, self.file, **settings, suppliers=config.suppliers)

    def result(self, config: Config, report: Reporter) -> Result:
        """See `StreamTask.result`."""
        return {"rows": count_lines(self.file)}


@dataclass(frozen=True, slots=True)
class VerdictsTask:
    """Judge candidates."""

    name: str
    prompts: Path
    candidates: Path
    file: Path

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        return run_alone(self, engine, config, seed, report)

    def open(self, engine: Engine, config: Config, seed: int, report: Reporter, growing: Growing) -> GenerationStage:
        """See `StreamTask.open`."""
        from srlm.stages import judge, judge_items
        from srlm.stages.suppliers import slots

        prompts, candidates = _rows(self.prompts, Prompt, growing), _rows(self.candidates, Candidate, growing)
        answers, expected = judge_items.CandidateItems(prompts, candidates), 0
        if self.candidates in growing:
            count = config.prompts.count if self.prompts in growing else count_lines(self.prompts)
            expected = count * slots(config.candidates, config.suppliers).total
            known = (row.id for row in written(candidates))
            drop_orphans(self.file, Verdict, lambda row: row.candidate_id, known, report)
        settings: Any = {"judge": config.judge, "seed": seed, "report": report, "stage": "verdicts"}
        return judge.JudgeStage(engine, answers, self.file, **settings, expected=expected)

    def result(self, config: Config, report: Reporter) -> Result:
        """See `StreamTask.result`."""
        return {"rows": count_lines(self.file)}


@dataclass(frozen=True, slots=True)
class JudgementsTask:
    """Judge the human-ranked answers, several times each, to build EFT (judge) examples from."""

    name: str
    ranked: Path
    file: Path

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        from srlm.stages import eft, judge

        answers = eft.answers_to_judge(read_rows(self.ranked, RankedAnswers))
        sampled = config.judge.model_copy(update={"samples": config.eft.samples})
        judge.judge_answers(
            engine, answers, self.file, judge=sampled, seed=seed, report=report, stage="judgements of ranked answers"
        )
        return {"rows": count_lines(self.file)}


def run_alone(task: StreamTask, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
    """Run a task with the engine to itself."""
    from srlm.stages import generation

    generation.run(engine, task.open(engine, config, seed, report, {}))
    return task.result(config, report)
