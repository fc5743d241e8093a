"""The commands `srlm eval …`: the evaluations of the loop, for any model on any file."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from srlm.cli.common import (
    CONFIG,
    FILE,
    FOLDER,
    OVERRIDES,
    console,
    existing,
    launcher,
    resolve,
    revision,
    stage_config,
)
from srlm.errors import InputError
from srlm.rows.records import file_hash
from srlm.run import output_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from srlm.config import Config
    from srlm.workers.launcher import Launcher
    from srlm.workers.tasks import Task

OUT = click.option(
    "--out", type=FOLDER, required=True, help="Output folder for rows and metrics; existing rows are reused (resume)."
)
RUN = click.option(
    "--run",
    "run_dir",
    type=FOLDER,
    help="Instead of --model: every model of this run, M0 too (evaluate.base), with the settings of the run.",
)
INPUTS = "inputs.json"  # the settings and hashes of the inputs that the rows of a folder depend on
Results = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class EvaluationTarget:
    """The settings, the models to evaluate by the names of their files, and the output folder."""

    config: Config
    models: dict[str, str]
    out: Path

    @property
    def files(self) -> dict[str, Path]:
        """The files of rows by model."""
        return {name: self.rows(name) for name in self.models}

    def rows(self, name: str) -> Path:
        """Return the file of a model's rows."""
        return self.out.absolute() / f"{name}.jsonl"


def with_target_options(command: Callable[[Path, EvaluationTarget], None]) -> Callable[..., None]:
    """Add the options that select the models to evaluate."""

    @functools.wraps(command)
    def called(
        data: Path, model: str | None, run_dir: Path | None, out: Path, config: str | None, overrides: tuple[str, ...]
    ) -> None:
        _check_out(out)
        file, target = existing(data), EvaluationTarget(*_models(model, run_dir, config, overrides), out)
        with output_lock.held(out):
            command(file, target)

    model = click.option("--model", help="Model to evaluate: a name or a folder.")
    return functools.reduce(lambda function, option: option(function), (OVERRIDES, CONFIG, OUT, RUN, model), called)


@click.group("eval")
def evaluation() -> None:
    """Evaluate models: as judges, head to head, or by IFEval."""


@evaluation.command("judge")
@click.option(
    "--data", type=FILE, required=True, help="Human preferences: Open Assistant trees, LLMBar, PandaLM or JSONL."
)
@with_target_options
def judge_command(data: Path, target: EvaluationTarget) -> None:
    """Evaluate a model as a judge, against human preferences.

    Judges at most evaluate.judge_prompts rows; 0: all rows.
    """
    from srlm.evaluation.preferences import read_preferences
    from srlm.evaluation.summary import judge_table
    from srlm.evaluation.tasks import JudgeTask
    from srlm.run import stage_inputs
    from srlm.stages import judge_prompt

    judge_prompt.check(target.config.judge)
    read_preferences(data)
    limit = target.config.evaluate.judge_prompts or None
    tasks = {name: JudgeTask(name, data, target.rows(name), of_run=False, limit=limit) for name in target.models}
    how = stage_inputs.verdicts(target.config)
    inputs = {"data": file_hash(data), **how, "evaluate.judge_prompts": limit}
    console(stderr=False).print(judge_table(_evaluate(target, tasks, inputs), str(data), target.files))


@evaluation.command("instructions")
@click.option("--data", type=FILE, required=True, help="Prompts with verifiable instructions, in IFEval's format.")
@with_target_options
def instructions_command(data: Path, target: EvaluationTarget) -> None:
    """Evaluate instruction following by verifiable rules (IFEval)."""
    from srlm.evaluation.instructions import read_instructions
    from srlm.evaluation.summary import instructions_table
    from srlm.evaluation.tasks import InstructionsTask
    from srlm.run.cache_keys import key_inputs

    read_instructions(data)
    max_tokens = target.config.evaluate.instructions_max_tokens
    inputs = {
        "data": file_hash(data),
        **key_inputs(target.config, "engine"),
        "evaluate.instructions_max_tokens": max_tokens,
    }
    tasks = {name: InstructionsTask(name, data, target.rows(name)) for name in target.models}
    console(stderr=False).print(instructions_table(_evaluate(target, tasks, inputs), str(data), target.files))


@evaluation.command("compare")
@click.option("--a", "model_a", required=True, help="First model: a name or a folder.")
@click.option("--b", "model_b", required=True, help="Second model: a name or a folder.")
@click.option(
    "--judge", required=True, help="Judge: a name or a folder of a model, or `endpoint` (section `endpoint`)."
)
@click.option("--prompts", type=FILE, required=True, help="Prompts: JSONL or a JSON list.")
@OUT
@CONFIG
@OVERRIDES
def compare_command(
    model_a: str, model_b: str, judge: str, prompts: Path, out: Path, config: str | None, overrides: tuple[str, ...]
) -> None:
    """Compare two models head to head.

    Both models answer the same prompts, and a judge compares the answers.
    """
    from srlm.evaluation import held_out, pairwise
    from srlm.evaluation.comparison_key import ENDPOINT, comparison_key_inputs
    from srlm.evaluation.schedule import judge_name, other_model
    from srlm.evaluation.summary import comparison_table
    from srlm.evaluation.tasks import AnswersTask, CompareTask, CompareThroughEndpoint
    from srlm.rows.records import Prompt, content_id, write_rows
    from srlm.run.cache_keys import CANDIDATES_PER_PROMPT, key_inputs
    from srlm.workers.jobs import Generate

    _check_out(out)
    loaded = stage_config(config, (*overrides, f"head_to_head.judge={json.dumps(judge)}"), model_a)
    pairwise.read_template(loaded.head_to_head)
    texts = dict.fromkeys(held_out.read_prompts(existing(prompts)))
    rows = [Prompt(content_id("prompt", text), text, "seed", [], -1) for text in texts]
    folder, results = out.absolute(), Results()
    files = {name: folder / f"{name}.jsonl" for name in ("prompts", "a", "b", "comparisons")}
    comparison = CompareTask(
        "comparisons", files["prompts"], files["a"], files["b"], files["comparisons"], judge_name(loaded)
    )
    with output_lock.held(out), launcher(loaded, ("generate",)) as workers:
        names = {"a": model_a, "b": model_b, **({} if judge == ENDPOINT else {"judge": judge})}
        folders = {name: resolve(workers, model, revision(loaded, model)) for name, model in names.items()}
        settings = {
            **key_inputs(loaded, "candidates", exclude=CANDIDATES_PER_PROMPT),
            **comparison_key_inputs(loaded),
        }
        _claim(out, folders, {"prompts": file_hash(prompts), **settings})
        write_rows(files["prompts"], rows)
        for name in ("a", "b"):
            answers: tuple[Task, ...] = (AnswersTask(name, files["prompts"], files[name]),)
            workers.run(Generate(loaded, folders[name], loaded.seed, answers), results.__setitem__)
        if judge == ENDPOINT:
            cache = folder / "endpoint_cache.jsonl"
            workers.run(CompareThroughEndpoint(loaded, cache, (comparison,)), results.__setitem__)
        else:
            work = Generate(other_model(loaded), folders["judge"], loaded.seed, (comparison,))
            workers.run(work, results.__setitem__)
    _write_results(out, results)
    console(stderr=False).print(comparison_table(results["comparisons"], model_a, model_b))


def _models(
    model: str | None, run_dir: Path | None, config: str | None, overrides: tuple[str, ...]
) -> tuple[Config, dict[str, str]]:
    """Return the settings, and the models to evaluate by the names of their files."""
    from srlm.evaluation.baselines import measured_before_m1
    from srlm.run.model_names import BASE
    from srlm.run.run_dir import RunDir, read_config

    if run_dir is None:
        if model is None:
            raise InputError("neither --model nor --run is set; add one of them")
        return stage_config(config, overrides, model), {"model": model}
    if model is not None:
        raise InputError("--model and --run are both set; remove one of them")
    if config is not None or overrides:
        raise InputError("--run uses the settings of the run; remove --config and KEY=VALUE")
    loaded, run = read_config(run_dir), RunDir(run_dir)
    names = [name for name in measured_before_m1(loaded) if name != BASE]
    names += [f"m{t}" for t in range(1, loaded.iterations + 1)]
    trained = {name: str(run.model(name)) for name in names if run.model(name).is_dir()}
    if not trained:
        raise InputError(f"{run_dir}: no model has been trained yet; continue with `srlm run`")
    return loaded, {BASE: loaded.model.name, **trained} if loaded.evaluate.base else trained


def _evaluate(target: EvaluationTarget, tasks: Mapping[str, Task], inputs: dict[str, Any]) -> Results:
    """Run the task of each model; existing rows are reused if their inputs are the same."""
    from srlm.workers.jobs import Generate

    results = Results()
    with launcher(target.config, ("generate",)) as workers:
        folders = _folders(workers, target)
        _claim(target.out, folders, inputs)
        for name, folder in folders.items():
            workers.run(Generate(target.config, folder, target.config.seed, (tasks[name],)), results.__setitem__)
    _write_results(target.out, results)
    return results


def _folders(workers: Launcher, target: EvaluationTarget) -> dict[str, str]:
    """Return the folders of the models. A run's M0 is left out, with a message, if it is not on this machine any more.

    Raises:
        InputError: there is no such model.
    """
    from srlm.run.model_names import BASE, display_name

    folders = {}
    for name, model in target.models.items():
        try:
            folders[name] = resolve(workers, model, revision(target.config, model))
        except InputError as error:
            if name != BASE:
                raise
            click.echo(f"srlm: {display_name(name)} is not evaluated: {error}", err=True)
    return folders


def _check_out(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()) and not (out / INPUTS).is_file():
        raise InputError(f"{out}: not empty, and not an output of this command; use another --out")


def _claim(out: Path, folders: Mapping[str, str], settings: Mapping[str, Any]) -> None:
    """Refuse an output folder whose rows have other inputs."""
    from srlm.run.provenance import claim

    claim(out / INPUTS, out, folders, settings, "use another --out")


def _write_results(out: Path, results: Results) -> None:
    from srlm.rows.records import write_text

    write_text(out / "results.json", json.dumps(results, indent=1) + "\n")
