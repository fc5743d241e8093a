"""The commands `srlm eval …`: what the loop measures of its models, of any model and on any file."""

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

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from srlm.config import Config
    from srlm.workers.tasks import Task

OUT = click.option("--out", type=FOLDER, required=True, help="Folder for rows and figures; rows in it are kept.")
RUN = click.option(
    "--run", "run_dir", type=FOLDER, help="Instead of --model: every model of this run, by its settings."
)
INPUTS = "inputs.json"  # what the rows in a folder were made from
Results = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Measured:
    """The settings, the models to measure by the names of their files, and the folder for what is found."""

    config: Config
    models: dict[str, str]
    out: Path

    def rows(self, name: str) -> Path:
        """Return the file for a model's rows."""
        return self.out.absolute() / f"{name}.jsonl"


def measured(command: Callable[[Path, Measured], None]) -> Callable[..., None]:
    """Add the options by which a command is told what to measure."""

    @functools.wraps(command)
    def called(
        data: Path, model: str | None, run_dir: Path | None, out: Path, config: str | None, overrides: tuple[str, ...]
    ) -> None:
        _check_ours(out)
        command(existing(data), Measured(*_models(model, run_dir, config, overrides), out))

    model = click.option("--model", help="The model to measure: a name or folder.")
    return functools.reduce(lambda function, option: option(function), (OVERRIDES, CONFIG, OUT, RUN, model), called)


@click.group("eval")
def evaluation() -> None:
    """Measure a model: as a judge, against another one, and as a follower of instructions."""


@evaluation.command("judge")
@click.option(
    "--data", type=FILE, required=True, help="Human preferences: Open Assistant trees, LLMBar, PandaLM, JSONL."
)
@measured
def judge_command(data: Path, what: Measured) -> None:
    """Let a model judge answers that humans ordered, and compare.

    At most evaluate.judge_prompts rows are judged; 0 stands for all of them here.
    """
    from srlm.evaluation.preferences import read_preferences
    from srlm.evaluation.summary import judge_table
    from srlm.evaluation.tasks import JudgeTask
    from srlm.run.cache_keys import drawing, sections
    from srlm.stages import judge

    judge.check(what.config.judge)
    read_preferences(data)
    limit = what.config.evaluate.judge_prompts or None
    tasks = {name: JudgeTask(name, data, what.rows(name), of_run=False, limit=limit) for name in what.models}
    how = sections(what.config, "judge", "engine", but=("judge.score", *drawing(what.config.judge)))
    inputs = {"data": file_hash(data), **how, "evaluate.judge_prompts": limit}
    console(stderr=False).print(judge_table(_measure(what, tasks, inputs), str(data)))


@evaluation.command("instructions")
@click.option("--data", type=FILE, required=True, help="Prompts with instructions to check, in IFEval's format.")
@measured
def instructions_command(data: Path, what: Measured) -> None:
    """Check by rule how well a model follows instructions (IFEval)."""
    from srlm.evaluation.instructions import read_instructions
    from srlm.evaluation.summary import instructions_table
    from srlm.evaluation.tasks import InstructionsTask
    from srlm.run.cache_keys import sections

    read_instructions(data)
    longest = what.config.evaluate.instructions_max_tokens
    inputs = {"data": file_hash(data), **sections(what.config, "engine"), "evaluate.instructions_max_tokens": longest}
    tasks = {name: InstructionsTask(name, data, what.rows(name)) for name in what.models}
    console(stderr=False).print(instructions_table(_measure(what, tasks, inputs), str(data)))


@evaluation.command("compare")
@click.option("--a", "model_a", required=True, help="One model: a name or folder.")
@click.option("--b", "model_b", required=True, help="The other model.")
@click.option("--judge", required=True, help="Who compares: a model, or `endpoint` (see the section endpoint).")
@click.option("--prompts", type=FILE, required=True, help="Prompts: JSON lines or a JSON list.")
@OUT
@CONFIG
@OVERRIDES
def compare_command(
    model_a: str, model_b: str, judge: str, prompts: Path, out: Path, config: str | None, overrides: tuple[str, ...]
) -> None:
    """Let two models answer the same prompts and a judge compare, in both orders."""
    from srlm.evaluation import held_out, pairwise
    from srlm.evaluation.schedule import judge_name, other_model
    from srlm.evaluation.summary import comparison_table
    from srlm.evaluation.tasks import AnswersTask, CompareTask, CompareThroughEndpoint
    from srlm.rows.records import Prompt, content_id, write_rows
    from srlm.run.cache_keys import ENDPOINT, ONCE, compared, sections
    from srlm.workers.jobs import Generate

    _check_ours(out)
    loaded = stage_config(config, (*overrides, f"head_to_head.judge={json.dumps(judge)}"), model_a)
    pairwise.read_template(loaded.head_to_head)
    texts = dict.fromkeys(held_out.read_prompts(existing(prompts)))
    rows = [Prompt(content_id("prompt", text), text, "seed", [], -1) for text in texts]
    folder, results = out.absolute(), Results()
    files = {name: folder / f"{name}.jsonl" for name in ("prompts", "a", "b", "comparisons")}
    comparison = CompareTask(
        "comparisons", files["prompts"], files["a"], files["b"], files["comparisons"], judge_name(loaded)
    )
    with launcher(loaded, ("generate",)) as workers:
        names = {"a": model_a, "b": model_b, **({} if judge == ENDPOINT else {"judge": judge})}
        folders = {name: resolve(workers, model, revision(loaded, model)) for name, model in names.items()}
        settings = {**sections(loaded, "candidates", but=ONCE), **compared(loaded)}
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
    _keep(out, results)
    console(stderr=False).print(comparison_table(results["comparisons"], model_a, model_b))


def _models(
    model: str | None, run_dir: Path | None, config: str | None, overrides: tuple[str, ...]
) -> tuple[Config, dict[str, str]]:
    """Return the settings, and the models to measure by the names of their files."""
    from srlm.run.run_dir import RunDir, read_config

    if run_dir is None:
        if model is None:
            raise InputError("give either --model or --run")
        return stage_config(config, overrides, model), {"model": model}
    if model is not None:
        raise InputError("give either --model or --run, not both")
    if config is not None or overrides:
        raise InputError("--run takes the run's own settings; leave --config and KEY=VALUE out")
    loaded, run = read_config(run_dir), RunDir(run_dir)
    trained = {f"m{t}": str(run.model(t)) for t in range(1, loaded.iterations + 1) if run.model(t).is_dir()}
    if not trained:
        raise InputError(f"{run_dir}: no model is trained there yet")
    return loaded, trained


def _measure(what: Measured, tasks: Mapping[str, Task], inputs: dict[str, Any]) -> Results:
    """Let each model do its task; rows that are there already are gone on from if they were made from the same."""
    from srlm.workers.jobs import Generate

    results = Results()
    with launcher(what.config, ("generate",)) as workers:
        folders = {name: resolve(workers, model, revision(what.config, model)) for name, model in what.models.items()}
        _claim(what.out, folders, inputs)
        for name, folder in folders.items():
            workers.run(Generate(what.config, folder, what.config.seed, (tasks[name],)), results.__setitem__)
    _keep(what.out, results)
    return results


def _check_ours(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()) and not (out / INPUTS).is_file():
        raise InputError(f"{out}: not empty, and not made by this command; give another --out")


def _claim(out: Path, folders: Mapping[str, str], settings: Mapping[str, Any]) -> None:
    """Refuse a folder whose rows were made from something else."""
    from srlm.run.provenance import claim

    claim(out / INPUTS, out, folders, settings, "give another --out")


def _keep(out: Path, results: Results) -> None:
    from srlm.rows.records import write_text

    write_text(out / "results.json", json.dumps(results, indent=1) + "\n")
