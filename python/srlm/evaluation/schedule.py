"""What is measured of which model, and what of it is done: the loop asks here for each M_t.

M_t's own tasks (judging, answering held-out prompts, following instructions) are done while it is loaded to write new
data. Head to head needs two models' answers, and its judge loaded: that is a job of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlm.evaluation import held_out, pairwise
from srlm.evaluation.baselines import opponents
from srlm.evaluation.tasks import AnswersTask, CompareTask, CompareThroughEndpoint, InstructionsTask, JudgeTask
from srlm.models import registry
from srlm.rows.records import file_hash, write_rows
from srlm.run import cache_keys
from srlm.run.cache_keys import ENDPOINT
from srlm.workers.jobs import Generate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from srlm.config import Config
    from srlm.rows.records import Example, RankedAnswers
    from srlm.run.stage_runner import Stages
    from srlm.workers.tasks import Task


@dataclass
class Schedule:
    """The evaluation of one run."""

    stages: Stages

    def make_held_out(
        self, *, ift: Sequence[Example], ranked: Sequence[RankedAnswers], valid: Sequence[RankedAnswers]
    ) -> None:
        """Choose the prompts that models are compared on (see `held_out.held_out_prompts`)."""
        stages, head_to_head = self.stages, self.stages.config.head_to_head
        if not self._wants_held_out():
            return
        rows = held_out.held_out_prompts(head_to_head, valid, ift=ift, ranked=ranked, seed=stages.config.seed)
        file = stages.run_dir.seed("held_out.jsonl")
        if not stages.is_done("seed/held_out", file, {"held-out prompts": [row.id for row in rows]}):
            write_rows(file, rows)
            stages.finish("seed/held_out", {"rows": len(rows)})

    def tasks(self, t: int) -> list[Task]:
        """Return what is still to be measured with M_t loaded."""
        return [task for task, parts, made_from in self._planned(t) if not self._is_done(task, parts, made_from)]

    def compare(self, t: int) -> None:
        """Let the judge compare the models up to M_t, as far as that is not done."""
        stages = self.stages
        number = run_model(stages.config.head_to_head.judge)
        if not self.has_held_out() or (number is not None and number > t):
            return
        tasks = [
            task
            for later in range(2, t + 1)
            for earlier in opponents(stages.config.head_to_head, later)
            for task in [self._comparison(later, earlier)]
            if not self._is_done(task, self.judge_parts(), self._compared(later, earlier))
        ]
        if tasks:
            self.compare_all(tasks)

    def compare_all(self, tasks: list[CompareTask]) -> None:
        """Do comparisons in one job: the judge is loaded once."""
        stages = self.stages
        judge, number = stages.config.head_to_head.judge, run_model(stages.config.head_to_head.judge)
        if judge == ENDPOINT:
            cache = stages.run_dir.path / "endpoint_cache.jsonl"
            stages.launch(CompareThroughEndpoint(stages.config, cache, tuple(tasks)))
        elif number is not None:
            folder = str(stages.run_dir.model(number))
            stages.launch(Generate(stages.config, folder, stages.config.seed, tuple(tasks)))
        else:
            folder = stages.resolve(judge, None)
            stages.launch(Generate(other_model(stages.config), folder, stages.config.seed, tuple(tasks)))

    def judge_parts(self) -> dict[str, Any]:
        """Return what of the configuration decides how two answers are compared, for a stage's key."""
        return {**cache_keys.compared(self.stages.config), "judge's weights": self._judge_weights}

    @cached_property
    def _judge_weights(self) -> str | None:
        """Hash of the weights of a judge that is a folder of its own: read once, they may be many gigabytes."""
        judge = self.stages.config.head_to_head.judge
        of_its_own = run_model(judge) is None and registry.is_local(judge)
        return self.stages.run_dir.weights_hash(judge) if of_its_own else None

    def judge_stages(self) -> tuple[str, ...]:
        """Return the stage that trained the judge, where it is one of the run's models."""
        number = run_model(self.stages.config.head_to_head.judge)
        return (self.stages.trained(number),) if number is not None else ()

    def comparison(self, name: str, answers_a: Path, answers_b: Path, file: Path) -> CompareTask:
        """Return the job of comparing two files of answers to the held-out prompts."""
        held_out_file = self.stages.run_dir.seed("held_out.jsonl")
        return CompareTask(name, held_out_file, answers_a, answers_b, file, judge_name(self.stages.config))

    def _planned(self, t: int) -> list[tuple[Task, dict[str, Any], tuple[str, ...]]]:
        stages, folder = self.stages, self.stages.run_dir.file(t, "")
        trained, evaluate = stages.trained(t), stages.config.evaluate
        judging = stages.sections("judge", "engine", but=cache_keys.drawing(stages.config.judge))
        prompts = {"evaluate.judge_prompts": evaluate.judge_prompts}
        planned: list[tuple[Task, dict[str, Any], tuple[str, ...]]] = []
        valid = stages.run_dir.entry("seed/eft_valid")
        if evaluate.judge_prompts and valid is not None and valid["rows"]:
            data = stages.run_dir.seed("eft_valid.jsonl")
            task = JudgeTask(
                f"m{t}/judge_held_out", data, folder / "judge_held_out.jsonl", True, evaluate.judge_prompts
            )
            planned.append((task, {**judging, **prompts}, (trained, "seed/eft_valid")))
        for name, source in evaluate.preferences.items() if evaluate.judge_prompts else ():
            judge_file, limit = folder / f"judge_{name}.jsonl", evaluate.judge_prompts
            data = Path(source).absolute()
            judge_task = JudgeTask(f"m{t}/judge_{name}", data, judge_file, of_run=False, limit=limit)
            planned.append(
                (judge_task, {**judging, **prompts, f"evaluate.preferences.{name}": file_hash(data)}, (trained,))
            )
        if self.has_held_out():
            answers = AnswersTask(f"m{t}/answers", stages.run_dir.seed("held_out.jsonl"), folder / "answers.jsonl")
            parts = stages.sections("candidates", "engine", but=cache_keys.ONCE)
            planned.append((answers, parts, (trained, "seed/held_out")))
        if evaluate.instructions is not None:
            source = evaluate.instructions
            rules = InstructionsTask(f"m{t}/instructions", Path(source).absolute(), folder / "instructions.jsonl")
            length = {"evaluate.instructions_max_tokens": evaluate.instructions_max_tokens}
            parts = {**stages.sections("engine"), **length, "evaluate.instructions": file_hash(Path(source))}
            planned.append((rules, parts, (trained,)))
        return planned

    def _is_done(self, task: Task, parts: dict[str, Any], made_from: tuple[str, ...]) -> bool:
        return self.stages.is_done(task.name, task.file, parts, made_from)

    def has_held_out(self) -> bool:
        """Tell whether there are prompts to compare models on."""
        entry = self.stages.run_dir.entry("seed/held_out") if self._wants_held_out() else None
        return entry is not None and entry["rows"] > 0

    def _wants_held_out(self) -> bool:
        config = self.stages.config
        return config.head_to_head.prompts > 0 and bool(config.head_to_head.against or config.dpo.eval_steps)

    def _comparison(self, later: int, earlier: int) -> CompareTask:
        file = self.stages.run_dir.file
        answers = file(later, "answers.jsonl"), file(earlier, "answers.jsonl")
        return self.comparison(f"m{later}/vs_m{earlier}", *answers, file(later, f"vs_m{earlier}.jsonl"))

    def _compared(self, later: int, earlier: int) -> tuple[str, ...]:
        return (f"m{later}/answers", f"m{earlier}/answers", *self.judge_stages())


def run_model(judge: str) -> int | None:
    """Return t where `head_to_head.judge` names a model M_t of the run (`m1`, `m2` …), else None."""
    return int(judge[1:]) if judge[:1] == "m" and judge[1:].isascii() and judge[1:].isdigit() else None


def judge_name(config: Config) -> str:
    """Return what to call whoever compares, and how: the model's name at an endpoint, too."""
    judge = config.head_to_head.judge
    if judge == ENDPOINT:
        return f"{config.endpoint.model} (endpoint)"
    return f"{judge} (scores)" if config.head_to_head.by == "scores" else judge


def other_model(config: Config) -> Config:
    """Return the configuration for a model that is none of the run's: it speaks by its own chat template."""
    return config.model_copy(update={"model": config.model.model_copy(update={"chat_template": None})})


def preflight(config: Config) -> None:
    """Check what evaluation is to read, before anything is written.

    Raises:
        InputError: a file cannot be read, or the judge is neither known nor to be found.
    """
    from srlm.evaluation.instructions import read_instructions
    from srlm.evaluation.preferences import read_preferences

    evaluate, head_to_head = config.evaluate, config.head_to_head
    pairwise.read_template(head_to_head)
    for source in evaluate.preferences.values():
        read_preferences(Path(source))
    if evaluate.instructions is not None:
        read_instructions(Path(evaluate.instructions))
    for name in head_to_head.prompt_files:
        held_out.read_prompts(Path(name))
    judge = head_to_head.judge
    if head_to_head.prompts and judge != ENDPOINT and run_model(judge) is None and registry.is_path(judge):
        registry.resolve(judge)
