"""The evaluation tasks of each model, and which of them are finished.

M0 and the SFT baseline (`run.model_names`) are evaluated as M_t is.

M_t's own tasks (judging, answering held-out prompts, following instructions) run while it is loaded to generate new
data, and so does head to head if M_t is its judge. Otherwise head to head loads its judge, so it is a separate job.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlm.evaluation import held_out, pairwise
from srlm.evaluation.baselines import READINGS, matches, measured_before_m1, wants_held_out, wants_readings
from srlm.evaluation.comparison_key import ENDPOINT, comparison_key_inputs
from srlm.evaluation.implicit_preferences import ReadPreferences
from srlm.evaluation.tasks import AnswersTask, CompareTask, CompareThroughEndpoint, InstructionsTask, JudgeTask
from srlm.models import registry
from srlm.rows.records import file_hash, write_rows
from srlm.rows.sources import data_file
from srlm.run import stage_inputs
from srlm.run.model_names import BASE, display_name, iteration, model_name
from srlm.run.stage_runner import data_seed
from srlm.workers.jobs import Generate, ScoreUnderM1

if TYPE_CHECKING:
    from collections.abc import Sequence

    from srlm.config import Config
    from srlm.rows.records import Example, Prompt, RankedAnswers
    from srlm.run.stage_runner import StageRunner
    from srlm.workers.tasks import Task


@dataclass
class Schedule:
    """The evaluation of one run."""

    runner: StageRunner

    def make_held_out(
        self, *, ift: Sequence[Example], ranked: Sequence[RankedAnswers], valid: Sequence[RankedAnswers]
    ) -> None:
        """Write the held-out prompts: those to compare models on, and those to choose checkpoints on."""
        runner, head_to_head = self.runner, self.runner.config.head_to_head
        if not wants_held_out(runner.config):
            return
        stops, seed = runner.config.dpo.eval_steps is not None, runner.config.seed
        sets = held_out.held_out_sets(head_to_head, valid, ift=ift, ranked=ranked, seed=seed, early_stop=stops)
        self._write_prompts("held_out", "held-out prompts", sets.compare)
        if stops and self._write_prompts("early_stop", "early-stopping prompts", sets.early_stop):
            few = "; so few hardly tell checkpoints apart" if len(sets.early_stop) < held_out.FEW else ""
            runner.report.note(
                f"seed: {len(sets.early_stop)} held-out prompts choose checkpoints (dpo.eval_steps), "
                f"{len(sets.compare)} others compare models{few}"
            )

    def _write_prompts(self, name: str, role: str, rows: list[Prompt]) -> bool:
        """Write a set of held-out prompts, and return whether it was not done yet."""
        file = self.runner.run_dir.seed(f"{name}.jsonl")
        if self.runner.is_done(f"seed/{name}", file, {role: [row.id for row in rows]}):
            return False
        write_rows(file, rows)
        self.runner.finish(f"seed/{name}", {"rows": len(rows)})
        return True

    def measure_base(self) -> None:
        """Let M0 judge and answer as every later model does, so that the gain of each training can be seen."""
        runner = self.runner
        runner.set_title(display_name(BASE))
        if tasks := self.tasks(BASE):
            runner.check_base()
            runner.launch(Generate(runner.config, runner.base, data_seed(runner.config, 1), tuple(tasks)))
        self.read_preferences(BASE)

    def tasks(self, model: int | str) -> list[Task]:
        """Return the unfinished tasks that need M_t, or another model by its name, loaded."""
        name, runner = model_name(model), self.runner
        if iteration(name) == 0 and name not in measured_before_m1(runner.config):
            return []
        base = runner.base_inputs() if name == BASE else {}
        trained = () if name == BASE else (runner.training_stage(name),)
        return [
            task
            for task, inputs, depends_on in self._planned(name)
            if not self._is_done(task, {**base, **inputs}, (*trained, *depends_on))
        ]

    def read_preferences(self, model: int | str) -> None:
        """Read the held-out ranked answers under M_t, or another model by its name, and compare with M0's readings."""
        name, runner = model_name(model), self.runner
        if not wants_readings(runner.config) or not (runner.run_dir.entry("seed/eft_valid") or {}).get("rows"):
            return
        stage, file, is_base = f"{name}/{READINGS}", runner.run_dir.file(name, f"{READINGS}.jsonl"), name == BASE
        depends_on = ("seed/eft_valid", *(() if is_base else (runner.training_stage(name), f"{BASE}/{READINGS}")))
        inputs = {**runner.key_inputs(), **(runner.base_inputs() if is_base else {})}
        if not runner.is_done(stage, file, inputs, depends_on):
            folder = runner.base if is_base else str(runner.run_dir.model(name))
            base = None if is_base else runner.run_dir.file(BASE, f"{READINGS}.jsonl")
            data = runner.run_dir.seed("eft_valid.jsonl")
            runner.launch(ReadPreferences(stage, runner.config, folder, data, file, base))

    def own_comparisons(self, t: int) -> list[CompareTask]:
        """Return the unfinished comparisons for which M_t, which is loaded anyway, is the judge."""
        is_judge = run_model(self.runner.config.head_to_head.judge) == t
        return self._comparisons(t) if is_judge else []

    def compare(self, t: int) -> None:
        """Run the unfinished comparisons of the models up to M_t."""
        number = run_model(self.runner.config.head_to_head.judge)
        if (number is None or number <= t) and (tasks := self._comparisons(t)):
            self.compare_all(tasks)

    def _comparisons(self, t: int) -> list[CompareTask]:
        if not self.has_held_out():
            return []
        return [
            task
            for number in range(1, t + 1)
            for later, earlier in matches(self.runner.config, number)
            for task in [self._comparison(later, earlier)]
            if not self._is_done(task, self.judge_key_inputs(), self._compared(later, earlier))
        ]

    def compare_all(self, tasks: list[CompareTask]) -> None:
        """Run comparisons in one job, so that the judge is loaded once."""
        runner = self.runner
        judge, number = runner.config.head_to_head.judge, run_model(runner.config.head_to_head.judge)
        if judge == ENDPOINT:
            cache = runner.run_dir.path / "endpoint_cache.jsonl"
            runner.launch(CompareThroughEndpoint(runner.config, cache, tuple(tasks)))
        elif number is not None:
            folder = str(runner.run_dir.model(number))
            runner.launch(Generate(runner.config, folder, runner.config.seed, tuple(tasks)))
        else:
            folder = runner.resolve(judge, None)
            runner.launch(Generate(other_model(runner.config), folder, runner.config.seed, tuple(tasks)))

    def judge_key_inputs(self) -> dict[str, Any]:
        """Return the inputs of a comparison's cache key: settings, texts and the judge's weights."""
        return {**comparison_key_inputs(self.runner.config), "judge's weights": self._judge_weights}

    @cached_property
    def _judge_weights(self) -> str | None:
        """Hash of the weights of a judge in a local directory. Cached, as they may be many gigabytes."""
        judge = self.runner.config.head_to_head.judge
        return self.runner.local_weights(judge) if run_model(judge) is None else None

    def judge_dependencies(self) -> tuple[str, ...]:
        """Return the stage that trained the judge, if it is one of the run's models."""
        number = run_model(self.runner.config.head_to_head.judge)
        return (self.runner.training_stage(number),) if number is not None else ()

    def kl_from_m1(self, t: int) -> float | None:
        """Return the KL divergence from M1 of the model that generated M_t's data, if a gate needs it."""
        runner = self.runner
        if runner.config.gates.kl_from_m1 is None:
            return None
        if t == 2:
            return 0.0  # M1 generated the data itself
        name = f"m{t}/m1_logprobs"
        files = [runner.run_dir.file(t, f"{rows}.jsonl") for rows in ("prompts", "candidates", "m1_logprobs")]
        depends_on = (f"m{t}/candidates", runner.training_stage(1))
        if not runner.is_done(name, files[-1], stage_inputs.m1_logprobs(runner.config), depends_on):
            folder = str(runner.run_dir.model(1))
            runner.launch(ScoreUnderM1(name, runner.config, folder, data_seed(runner.config, t), *files))
        entry = runner.run_dir.entry(name)
        return None if entry is None else entry["kl_from_m1"]

    def comparison(
        self, name: str, answers_a: Path, answers_b: Path, file: Path, prompts: str = "held_out.jsonl"
    ) -> CompareTask:
        """Return the task that compares two files of answers to held-out prompts."""
        prompts_file = self.runner.run_dir.seed(prompts)
        return CompareTask(name, prompts_file, answers_a, answers_b, file, judge_name(self.runner.config))

    def _planned(self, model: str) -> list[tuple[Task, dict[str, Any], tuple[str, ...]]]:
        """Return the tasks of a model with their inputs and the stages that they read, without the model itself."""
        runner, folder = self.runner, self.runner.run_dir.file(model, "")
        evaluate = runner.config.evaluate
        judging = stage_inputs.held_out_verdicts(runner.config)
        prompts = {"evaluate.judge_prompts": evaluate.judge_prompts}
        planned: list[tuple[Task, dict[str, Any], tuple[str, ...]]] = []
        valid = runner.run_dir.entry("seed/eft_valid")
        if evaluate.judge_prompts and valid is not None and valid["rows"]:
            data = runner.run_dir.seed("eft_valid.jsonl")
            stops = ("seed/early_stop",) if runner.config.dpo.eval_steps is not None else ()
            task = JudgeTask(
                f"{model}/judge_held_out",
                data,
                folder / "judge_held_out.jsonl",
                of_run=True,
                limit=evaluate.judge_prompts,
                exclude=runner.run_dir.seed("early_stop.jsonl") if stops else None,
            )
            planned.append((task, {**judging, **prompts}, ("seed/eft_valid", *stops)))
        for name, source in evaluate.preferences.items() if evaluate.judge_prompts else ():
            judge_file, limit = folder / f"judge_{name}.jsonl", evaluate.judge_prompts
            data = Path(source).absolute()
            judge_task = JudgeTask(f"{model}/judge_{name}", data, judge_file, of_run=False, limit=limit)
            planned.append((judge_task, {**judging, **prompts, f"evaluate.preferences.{name}": file_hash(data)}, ()))
        if self.has_held_out():
            answers = AnswersTask(f"{model}/answers", runner.run_dir.seed("held_out.jsonl"), folder / "answers.jsonl")
            planned.append((answers, stage_inputs.held_out_answers(runner.config), ("seed/held_out",)))
        if evaluate.instructions is not None:
            prompts_file = data_file(evaluate.instructions).absolute()
            rules = InstructionsTask(f"{model}/instructions", prompts_file, folder / "instructions.jsonl")
            length = {"evaluate.instructions_max_tokens": evaluate.instructions_max_tokens}
            inputs = {**runner.key_inputs("engine"), **length, "evaluate.instructions": file_hash(prompts_file)}
            planned.append((rules, inputs, ()))
        return planned

    def _is_done(self, task: Task, inputs: dict[str, Any], depends_on: tuple[str, ...]) -> bool:
        return self.runner.is_done(task.name, task.file, inputs, depends_on)

    def has_held_out(self, name: str = "held_out") -> bool:
        """Return whether there are held-out prompts: to compare models on, or as `early_stop` checkpoints."""
        entry = self.runner.run_dir.entry(f"seed/{name}") if wants_held_out(self.runner.config) else None
        return entry is not None and entry["rows"] > 0

    def _comparison(self, later: str, earlier: str) -> CompareTask:
        file = self.runner.run_dir.file
        answers = file(later, "answers.jsonl"), file(earlier, "answers.jsonl")
        return self.comparison(f"{later}/vs_{earlier}", *answers, file(later, f"vs_{earlier}.jsonl"))

    def _compared(self, later: str, earlier: str) -> tuple[str, ...]:
        return (f"{later}/answers", f"{earlier}/answers", *self.judge_dependencies())


def run_model(judge: str) -> int | None:
    """Return t if `head_to_head.judge` names a model M_t of the run (`m1`, `m2` …), else None."""
    return int(judge[1:]) if judge[:1] == "m" and judge[1:].isascii() and judge[1:].isdigit() else None


def judge_name(config: Config) -> str:
    """Return the judge's display name: the model with its method, or the model's name at an endpoint."""
    judge = config.head_to_head.judge
    if judge == ENDPOINT:
        return f"{config.endpoint.model} (endpoint)"
    return f"{judge} (pointwise)" if config.head_to_head.by == "pointwise" else judge


def other_model(config: Config) -> Config:
    """Return the configuration for a model that is not one of the run's: it uses its own chat template."""
    return config.model_copy(update={"model": config.model.model_copy(update={"chat_template": None})})


def preflight(config: Config) -> None:
    """Validate the input files of the evaluation before anything is written.

    Raises:
        InputError: a file cannot be read, or the judge's directory does not exist.
    """
    from srlm.evaluation.instructions import read_instructions
    from srlm.evaluation.preferences import read_preferences

    evaluate, head_to_head = config.evaluate, config.head_to_head
    pairwise.read_template(head_to_head)
    for source in evaluate.preferences.values():
        read_preferences(Path(source))
    if evaluate.instructions is not None:
        read_instructions(data_file(evaluate.instructions))
    for name in head_to_head.prompt_files:
        held_out.read_prompts(Path(name))
    judge = head_to_head.judge
    if head_to_head.prompts and judge != ENDPOINT and run_model(judge) is None and registry.is_path(judge):
        registry.resolve(judge)
