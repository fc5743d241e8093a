"""The commands `srlm eval …`: what the loop measures of its models, of any model and on any file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from srlm.cli_common import CONFIG, FILE, FOLDER, OVERRIDES, console, existing, launcher, resolve, stage_config
from srlm.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.config import Config
    from srlm.launcher import Launcher
    from srlm.worker import Task

OUT = click.option("--out", type=FOLDER, required=True, help="Folder for rows and figures; rows in it are kept.")
Results = dict[str, dict[str, Any]]


@click.group("eval")
def evaluation() -> None:
    """Measure a model: as a judge, against another one, and as a follower of instructions."""


@evaluation.command("judge")
@click.option(
    "--data", type=FILE, required=True, help="Human preferences: Open Assistant trees, LLMBar, PandaLM, JSONL."
)
@click.option("--model", help="The model that judges: a name or folder.")
@click.option("--run", "run_dir", type=FOLDER, help="Instead of --model: every model of this run, by its own settings.")
@OUT
@CONFIG
@OVERRIDES
def judge_command(
    data: Path, model: str | None, run_dir: Path | None, out: Path, config: str | None, overrides: tuple[str, ...]
) -> None:
    """Let a model judge answers that humans ordered, and compare."""
    from srlm import judge
    from srlm.evaluation.summary import judge_table
    from srlm.evaluation.tasks import JudgeTask

    loaded, models = _models(model, run_dir, config, overrides)
    judge.check(loaded.judge)
    _same_inputs(out, {"data": _hash(existing(data)), **_settings(loaded, "judge", "evaluate", "engine")})
    source, limit = existing(data), loaded.evaluate.judge_prompts
    tasks = {
        name: JudgeTask(name, source, out.absolute() / f"{name}.jsonl", of_run=False, limit=limit) for name in models
    }
    results = _measure(loaded, models, tasks, out)
    console(stderr=False).print(judge_table(results, str(data)))


@evaluation.command("instructions")
@click.option("--data", type=FILE, required=True, help="Prompts with instructions to check, in IFEval's format.")
@click.option("--model", help="The model that answers: a name or folder.")
@click.option("--run", "run_dir", type=FOLDER, help="Instead of --model: every model of this run, by its own settings.")
@OUT
@CONFIG
@OVERRIDES
def instructions_command(
    data: Path, model: str | None, run_dir: Path | None, out: Path, config: str | None, overrides: tuple[str, ...]
) -> None:
    """Check by rule how well a model follows instructions (IFEval)."""
    from srlm.evaluation.instructions import read_instructions
    from srlm.evaluation.summary import instructions_table
    from srlm.evaluation.tasks import InstructionsTask

    loaded, models = _models(model, run_dir, config, overrides)
    read_instructions(existing(data))
    _same_inputs(out, {"data": _hash(existing(data)), **_settings(loaded, "evaluate", "engine")})
    tasks = {name: InstructionsTask(name, existing(data), out.absolute() / f"{name}.jsonl") for name in models}
    console(stderr=False).print(instructions_table(_measure(loaded, models, tasks, out), str(data)))


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
    from srlm.evaluation import held_out
    from srlm.evaluation.schedule import ENDPOINT
    from srlm.evaluation.summary import comparison_table
    from srlm.evaluation.tasks import AnswersTask, CompareTask, CompareThroughEndpoint
    from srlm.records import Prompt, content_id, write_rows
    from srlm.worker import Generate

    words = (*overrides, f"head_to_head.judge={json.dumps(judge)}")
    loaded = stage_config(config, words, model_a)
    texts = dict.fromkeys(held_out.read_prompts(existing(prompts)))
    rows = [Prompt(content_id("prompt", text), text, "seed", [], -1) for text in texts]
    settings = _settings(loaded, "candidates", "engine", "head_to_head")
    _same_inputs(out, {"a": model_a, "b": model_b, "prompts": _hash(existing(prompts)), **settings})
    folder, results = out.absolute(), Results()
    files = {name: folder / f"{name}.jsonl" for name in ("prompts", "a", "b", "comparisons")}
    write_rows(files["prompts"], rows)
    comparison = CompareTask("comparisons", files["prompts"], files["a"], files["b"], files["comparisons"], judge)
    with launcher(loaded, ("generate",)) as workers:
        for name, model in (("a", model_a), ("b", model_b)):
            answers: tuple[Task, ...] = (AnswersTask(name, files["prompts"], files[name]),)
            work = Generate(loaded, resolve(workers, model, None), loaded.seed, answers)
            workers.run(work, results.__setitem__)
        if judge == ENDPOINT:
            cache = folder / "endpoint_cache.jsonl"
            workers.run(CompareThroughEndpoint(loaded, cache, (comparison,)), results.__setitem__)
        else:
            work = Generate(loaded, resolve(workers, judge, None), loaded.seed, (comparison,))
            workers.run(work, results.__setitem__)
    _keep(out, results)
    console(stderr=False).print(comparison_table(results["comparisons"], model_a, model_b))


def _models(
    model: str | None, run_dir: Path | None, config: str | None, overrides: tuple[str, ...]
) -> tuple[Config, dict[str, str]]:
    """Return the settings, and the models to measure by the names of their files."""
    from srlm.run_dir import RunDir, read_config

    if (model is None) == (run_dir is None):
        raise InputError("give either --model or --run")
    if model is not None:
        return stage_config(config, overrides, model), {"model": model}
    assert run_dir is not None  # noqa: S101  one of the two is there
    if config is not None or overrides:
        raise InputError("--run takes the run's own settings; leave --config and KEY=VALUE out")
    loaded, run = read_config(run_dir), RunDir(run_dir)
    trained = {f"m{t}": str(run.model(t)) for t in range(1, loaded.iterations + 1) if run.model(t).is_dir()}
    if not trained:
        raise InputError(f"{run_dir}: no model is trained there yet")
    return loaded, trained


def _measure(config: Config, models: dict[str, str], tasks: dict[str, Any], out: Path) -> Results:
    results = Results()
    with launcher(config, ("generate",)) as workers:
        for name, model in models.items():
            _generate(workers, config, model, tasks[name], results)
    _keep(out, results)
    return results


def _generate(workers: Launcher, config: Config, model: str, task: Task, results: Results) -> None:
    from srlm.worker import Generate

    folder = resolve(workers, model, config.model.revision)
    workers.run(Generate(config, folder, config.seed, (task,)), results.__setitem__)


def _settings(config: Config, *names: str) -> dict[str, Any]:
    values = config.model_dump(mode="json")
    return {name: values[name] for name in ("seed", "model", *names)}


def _hash(file: Path) -> str:
    from srlm.evaluation.schedule import hash_of

    return hash_of(str(file))


def _same_inputs(out: Path, inputs: dict[str, Any]) -> None:
    """Refuse a folder whose rows were made from something else."""
    from srlm.records import write_text

    file = out / "inputs.json"
    if file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))
        if differing := sorted(key for key in {*before, *inputs} if before.get(key) != inputs.get(key)):
            raise InputError(f"{out}: holds rows made with another {', '.join(differing)}; give another --out")
    elif out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: not empty, and not made by this command; give another --out")
    write_text(file, json.dumps(inputs, indent=1) + "\n")


def _keep(out: Path, results: Results) -> None:
    from srlm.records import write_text

    write_text(out / "results.json", json.dumps(results, indent=1) + "\n")
