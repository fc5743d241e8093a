"""The jobs of evaluation that need a model, as a worker does them (see `worker.Task`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from srlm.models import chat
from srlm.rows.records import Candidate, Comparison, Prompt, RankedAnswers, Verdict, read_rows

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.config import Config
    from srlm.engines.base import Engine
    from srlm.evaluation.pairwise import Judge
    from srlm.evaluation.preferences import Preferences
    from srlm.reporter import Reporter
    from srlm.workers.jobs import Finish
    from srlm.workers.tasks import Result


@dataclass(frozen=True, slots=True)
class JudgeTask:
    """Judge answers that humans ordered: rows of a run (`seed/eft_valid.jsonl`), or a file of human preferences."""

    name: str
    data: Path
    file: Path
    of_run: bool  # whether `data` holds RankedAnswers rows
    limit: int | None = None  # judge at most so many rows; of a file they are drawn by the seed

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        from srlm.evaluation import judging
        from srlm.evaluation.judge_metrics import measure

        preferences = self._read(config.seed)
        fitting = judging.that_fit(engine.tokenizer, preferences, config.judge, config.engine.max_model_len)
        left_out = len(preferences.rows) - len(fitting.rows)
        if left_out:
            report.note(f"{self.name}: {left_out} prompts left out, too long for engine.max_model_len")
        stage = f"judging {self.data.stem}" if not self.of_run else "judging held-out answers"
        verdicts = judging.judge_rows(
            engine, fitting.rows, self.file, judge=config.judge, seed=seed, report=report, stage=stage
        )
        found = measure(fitting.rows, verdicts, judge=config.judge, annotators=fitting.annotators)
        return {"rows": len(read_rows(self.file, Verdict)), "too_long": left_out, **asdict(found)}

    def _read(self, seed: int) -> Preferences:
        from srlm.evaluation.preferences import Preferences, draw, read_preferences

        if self.of_run:
            return Preferences(read_rows(self.data, RankedAnswers)[: self.limit], None)
        return draw(read_preferences(self.data), self.limit, seed)


@dataclass(frozen=True, slots=True)
class AnswersTask:
    """Answer held-out prompts, once each, as candidates are drawn."""

    name: str
    prompts: Path
    file: Path

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        from srlm.stages import candidates

        longest = config.engine.max_model_len - config.candidates.max_tokens
        prompts = read_rows(self.prompts, Prompt)
        fitting = [row for row in prompts if len(chat.prompt_ids(engine.tokenizer, chat.user(row.text))) <= longest]
        if len(fitting) < len(prompts):
            report.note(f"{self.name}: {len(prompts) - len(fitting)} prompts left out, too long for the engine")
        once = config.candidates.model_copy(update={"per_prompt": 1})
        candidates.write_candidates(
            engine, fitting, self.file, candidates=once, seed=seed, report=report, stage="answers to held-out prompts"
        )
        rows = read_rows(self.file, Candidate)
        characters = sum(len(row.text) for row in rows)
        return {"rows": len(rows), "mean_length": characters / max(1, len(rows))}


@dataclass(frozen=True, slots=True)
class InstructionsTask:
    """Answer prompts whose instructions are checked by rule, greedily."""

    name: str
    data: Path
    file: Path

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        from srlm.evaluation import instructions

        rows = instructions.read_instructions(self.data)
        instructions.write_answers(
            engine, rows, self.file, max_tokens=config.evaluate.instructions_max_tokens, report=report
        )
        answers = {row.prompt_id: row.text for row in read_rows(self.file, Candidate)}
        answered = [row for row in rows if row.id in answers]
        return {"rows": len(answers), **asdict(instructions.score(answered, answers))}


@dataclass(frozen=True, slots=True)
class CompareTask:
    """Let a judge compare model a's answers with model b's."""

    name: str
    prompts: Path
    answers_a: Path
    answers_b: Path
    file: Path
    judge_name: str

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`; the engine holds the judge."""
        from srlm.evaluation import pointwise
        from srlm.evaluation.judges import LocalJudge

        if config.head_to_head.by == "comparison":
            return self.compare(LocalJudge(engine, config.head_to_head, config.engine.max_model_len), config, report)
        prompts, answers = self._answered()
        pointwise.write_scored(
            engine, prompts, answers, self.file, config=config, seed=seed, report=report, stage=self._stage
        )
        return self._result(prompts, answers, config)

    def compare(self, judge: Judge, config: Config, report: Reporter) -> Result:
        """Compare, and return what the manifest keeps."""
        from srlm.evaluation import pairwise

        prompts, answers = self._answered()
        pairwise.write_comparisons(
            judge, prompts, answers, self.file, head_to_head=config.head_to_head, report=report, stage=self._stage
        )
        return self._result(prompts, answers, config)

    @property
    def _stage(self) -> str:
        return f"comparing {self.name.replace('/', ' ')}"

    def _answered(self) -> tuple[list[Prompt], tuple[list[Candidate], list[Candidate]]]:
        """Return the prompts that both models have answered, and all answers."""
        answers = (read_rows(self.answers_a, Candidate), read_rows(self.answers_b, Candidate))
        both = {row.prompt_id for row in answers[0]} & {row.prompt_id for row in answers[1]}
        return [row for row in read_rows(self.prompts, Prompt) if row.id in both], answers

    def _result(
        self, prompts: list[Prompt], answers: tuple[list[Candidate], list[Candidate]], config: Config
    ) -> Result:
        from srlm.evaluation import pairwise

        rows = read_rows(self.file, Comparison)
        result = asdict(pairwise.head_to_head_result(prompts, answers, rows))
        if config.head_to_head.by == "scores":
            result["first_share"] = None  # nobody stood first
        return {"rows": len(rows), "judge": self.judge_name, **result}


@dataclass(frozen=True, slots=True)
class CompareThroughEndpoint:
    """Let a server compare. A worker's job without an engine."""

    config: Config
    cache: Path
    tasks: tuple[CompareTask, ...]

    def run(self, report: Reporter, finish: Finish) -> None:
        """Do the tasks, each reported as soon as it is done."""
        from srlm.evaluation.endpoint import Endpoint
        from srlm.evaluation.judges import EndpointJudge

        for task in self.tasks:
            with Endpoint(self.config.endpoint, self.cache) as endpoint:
                judge = EndpointJudge(endpoint, self.config.head_to_head)
                result = task.compare(judge, self.config, report)
                if endpoint.first_refusal is not None:
                    report.note(
                        f"{task.name}: {endpoint.usage.refused} questions were refused, and have no verdict; "
                        f"the first: {endpoint.first_refusal}"
                    )
                finish(task.name, {**result, "usage": asdict(endpoint.usage)})
