"""The evaluation tasks of a worker (see `workers.tasks.Task`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from srlm.models import chat
from srlm.rows.records import Candidate, Comparison, Prompt, RankedAnswers, Verdict, read_rows
from srlm.workers.tasks import run_alone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from srlm.config import Config
    from srlm.engines.base import Engine
    from srlm.evaluation.endpoint import Endpoint
    from srlm.evaluation.pairwise import Judge
    from srlm.evaluation.preferences import Preferences
    from srlm.reporter import Reporter
    from srlm.stages.generation import GenerationStage
    from srlm.workers.jobs import Finish
    from srlm.workers.tasks import Growing, Result


@dataclass(frozen=True, slots=True)
class JudgeTask:
    """Judge human-ranked answers: the rows of a run (`seed/eft_valid.jsonl`), or a preference set."""

    name: str
    data: Path
    file: Path
    of_run: bool  # whether `data` contains RankedAnswers rows
    limit: int | None = None  # maximum number of rows; those of a preference set are sampled with the seed
    exclude: Path | None = None  # prompts whose rows of a run are left out: those that choose checkpoints

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        from srlm.evaluation import judge_preferences
        from srlm.evaluation.judge_metrics import case_results, measure
        from srlm.evaluation.paired import write_cases

        preferences, equal = self._read(config.seed)
        longest = config.engine.length
        fitting = judge_preferences.fitting_rows(engine.tokenizer, preferences, config.judge, longest)
        too_long = len(preferences.rows) - len(fitting.rows)
        if too_long:
            report.note(f"{self.name}: skipped {too_long} prompts that are too long for engine.max_model_len")
        stage = f"judging {self.data.stem}" if not self.of_run else "judging held-out answers"
        verdicts = judge_preferences.judge_rows(
            engine, fitting.rows, self.file, judge=config.judge, seed=seed, report=report, stage=stage
        )
        write_cases(self.file, case_results(fitting.rows, verdicts, judge=config.judge))
        found = measure(fitting.rows, verdicts, judge=config.judge, annotators=fitting.annotators)
        if equal := equal + found.pairs_equal:
            report.note(f"{self.name}: dropped {equal} pairs whose two answers are the same")
        return {
            "rows": len(read_rows(self.file, Verdict)),
            "too_long": too_long,
            **asdict(found),
            "pairs_equal": equal,
        }

    def _read(self, seed: int) -> tuple[Preferences, int]:
        """Return the rows to judge, and the number of pairs in rows that are dropped, as all their answers are equal.

        These are dropped before the rows are sampled, so that as many rows are judged as configured.
        """
        from srlm.evaluation.held_out import without_prompts
        from srlm.evaluation.preferences import Preferences, drop_equal_answers, read_preferences, sample_rows

        if self.of_run:
            rows, excluded = read_rows(self.data, RankedAnswers), self.exclude
            kept = rows if excluded is None else without_prompts(rows, read_rows(excluded, Prompt))
            return drop_equal_answers(Preferences(kept[: self.limit], None))
        preferences, equal = drop_equal_answers(read_preferences(self.data))
        return sample_rows(preferences, self.limit, seed), equal


@dataclass(frozen=True, slots=True)
class AnswersTask:
    """Sample one response per held-out prompt, with the settings of the candidates."""

    name: str
    prompts: Path
    file: Path

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        return run_alone(self, engine, config, seed, report)

    def open(self, engine: Engine, config: Config, seed: int, report: Reporter, growing: Growing) -> GenerationStage:
        """See `StreamTask.open`."""
        from srlm.stages import candidates

        max_prompt_tokens = config.engine.length - config.candidates.max_tokens
        prompts = read_rows(self.prompts, Prompt)
        lengths = [len(chat.prompt_ids(engine.tokenizer, chat.user(row.text))) for row in prompts]
        fitting = [row for row, length in zip(prompts, lengths, strict=True) if length <= max_prompt_tokens]
        if too_long := len(prompts) - len(fitting):
            report.note(f"{self.name}: skipped {too_long} prompts that are too long for engine.max_model_len")
        once = config.candidates.model_copy(update={"per_prompt": 1})
        settings: Any = {"seed": seed, "report": report, "stage": "answers to held-out prompts"}
        return candidates.CandidatesStage(engine, fitting, self.file, candidates=once, **settings)

    def result(self, config: Config, report: Reporter) -> Result:
        """See `StreamTask.result`."""
        rows = read_rows(self.file, Candidate)
        characters = sum(len(row.text) for row in rows)
        return {"rows": len(rows), "mean_length": characters / max(1, len(rows))}


@dataclass(frozen=True, slots=True)
class InstructionsTask:
    """Generate one greedy response per prompt with verifiable instructions, and check them."""

    name: str
    data: Path
    file: Path

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        return run_alone(self, engine, config, seed, report)

    def open(self, engine: Engine, config: Config, seed: int, report: Reporter, growing: Growing) -> GenerationStage:
        """See `StreamTask.open`."""
        from srlm.evaluation import instructions

        rows = instructions.read_instructions(self.data)
        most = config.evaluate.instructions_max_tokens
        return instructions.answers_stage(engine, rows, self.file, max_tokens=most, report=report)

    def result(self, config: Config, report: Reporter) -> Result:
        """See `StreamTask.result`."""
        from srlm.evaluation import instructions
        from srlm.evaluation.paired import write_cases

        rows = instructions.read_instructions(self.data)
        answers = {row.prompt_id: row.text for row in read_rows(self.file, Candidate)}
        found = instructions.score(rows, answers)
        write_cases(self.file, instructions.case_results(rows, answers))
        if found.unanswered:
            report.note(
                f"{self.name}: {found.unanswered} of {len(rows)} prompts have no response; they count as not followed"
            )
        return {"rows": len(answers), **asdict(found)}


@dataclass(frozen=True, slots=True)
class CompareTask:
    """Compare model a's answers with model b's by a judge."""

    name: str
    prompts: Path
    answers_a: Path
    answers_b: Path
    file: Path
    judge_name: str

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`; the engine runs the judge."""
        from srlm.evaluation import pointwise
        from srlm.evaluation.pairwise_judges import LocalJudge

        if config.head_to_head.by == "pairwise":
            return self.compare(LocalJudge(engine, config.head_to_head, config.engine.length), config, report)
        prompts, answers = self._answered()
        pointwise.write_score_comparisons(
            engine, prompts, answers, self.file, config=config, seed=config.seed, report=report, stage=self._stage
        )
        return self._result(prompts, answers, config)

    def compare(self, judge: Judge, config: Config, report: Reporter) -> Result:
        """Compare the answers, and return the result for the manifest."""
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
        """Return the prompts that both models have answered, and the answers."""
        answers = (read_rows(self.answers_a, Candidate), read_rows(self.answers_b, Candidate))
        both = {row.prompt_id for row in answers[0]} & {row.prompt_id for row in answers[1]}
        return [row for row in read_rows(self.prompts, Prompt) if row.id in both], answers

    def _result(
        self, prompts: list[Prompt], answers: tuple[list[Candidate], list[Candidate]], config: Config
    ) -> Result:
        from srlm.evaluation import pairwise
        from srlm.evaluation.paired import write_cases

        rows = read_rows(self.file, Comparison)
        write_cases(self.file, pairwise.case_results(prompts, rows))
        result = asdict(pairwise.head_to_head_result(prompts, answers, rows))
        if config.head_to_head.by == "pointwise":
            result |= {"first_position_rate": None, "disagreements": None}  # scores do not depend on a position
        return {"rows": len(rows), "judge": self.judge_name, **result}


@dataclass(frozen=True, slots=True)
class CompareThroughEndpoint:
    """Comparisons by an endpoint: a worker's job without an engine."""

    config: Config
    cache: Path
    tasks: tuple[CompareTask, ...]

    def run(self, report: Reporter, finish: Finish) -> None:
        """Run the tasks; `finish` is called after each one."""
        from srlm.evaluation.endpoint import Endpoint
        from srlm.evaluation.pairwise_judges import EndpointJudge

        for task in self.tasks:
            with Endpoint(self.config.endpoint, self.cache) as endpoint:
                if endpoint.cache_note is not None:
                    report.note(endpoint.cache_note)
                judge = EndpointJudge(endpoint, self.config.head_to_head)
                result = task.compare(judge, self.config, report)
                for note in self._notes(endpoint):
                    report.note(f"{task.name}: {note}")
                finish(task.name, {**result, "usage": asdict(endpoint.usage)})

    def _notes(self, endpoint: Endpoint) -> Iterator[str]:
        """Yield a note on each kind of request that has no verdict."""
        usage = endpoint.usage
        if endpoint.first_refusal is not None:
            yield (
                f"the endpoint refused {usage.refused} requests, which have no verdict; the first: "
                f"{endpoint.first_refusal}"
            )
        if endpoint.first_unreadable is not None:
            yield (
                f"the replies to {usage.unreadable} requests were malformed, so these have no verdict; the first: "
                f"{endpoint.first_unreadable}"
            )
        if usage.cut_off:
            yield (
                f"{usage.cut_off} of the endpoint's replies were cut off at head_to_head.max_tokens "
                f"({self.config.head_to_head.max_tokens}), which counts reasoning too; raise it if verdicts are missing"
            )
