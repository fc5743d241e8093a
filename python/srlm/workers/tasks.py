"""The generation stages as tasks of a `Generate` job: files in, a file out, with an engine that is already loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from srlm.progress import count_lines
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import Candidate, Example, Prompt, RankedAnswers, read_rows

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.config import Config
    from srlm.engines.base import Engine
    from srlm.reporter import Reporter
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


@dataclass(frozen=True, slots=True)
class PromptsTask:
    """Generate new prompts that differ from the seed prompts and from those in `known`."""

    name: str
    ift: Path
    file: Path
    dropped_file: Path
    known: tuple[KnownFile, ...] = ()

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        from srlm.stages import novelty, prompts
        from srlm.stages import seed as seed_stage

        seeds, known = seed_stage.seed_prompts(read_rows(self.ift, Example)), novelty.read_known(self.known)
        prompts.write_prompts(
            engine, seeds, self.file, self.dropped_file, prompts=config.prompts, seed=seed, report=report, known=known
        )
        return {"rows": count_lines(self.file)}


@dataclass(frozen=True, slots=True)
class CandidatesTask:
    """Sample candidates for prompts."""

    name: str
    prompts: Path
    file: Path

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        from srlm.stages import candidates

        rows = RowFile(self.prompts, Prompt)
        candidates.write_candidates(engine, rows, self.file, candidates=config.candidates, seed=seed, report=report)
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
        from srlm.stages import judge

        prompts, candidates = RowFile(self.prompts, Prompt), RowFile(self.candidates, Candidate)
        judge.write_verdicts(engine, prompts, candidates, self.file, judge=config.judge, seed=seed, report=report)
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
