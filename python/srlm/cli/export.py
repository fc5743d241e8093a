"""The commands `srlm export …`: a model's answers in the forms that other tools read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from srlm.cli.common import CONFIG, FILE, FOLDER, OVERRIDES, existing, launcher, resolve, revision, stage_config
from srlm.errors import InputError
from srlm.rows.records import file_hash

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.config import Config
    from srlm.workers.tasks import Task

MODEL = click.option("--model", required=True, help="The model that answers: a name or folder.")


@click.group()
def export() -> None:
    """Write what AlpacaEval, MT-Bench and lm-evaluation-harness read."""


@export.command("alpaca-eval")
@MODEL
@click.option("--instructions", type=FILE, required=True, help="AlpacaEval's instructions: a JSON list or JSON lines.")
@click.option("--name", required=True, help="The model's name in AlpacaEval.")
@click.option("--out", type=FILE, required=True, help="AlpacaEval's outputs.json.")
@CONFIG
@OVERRIDES
def alpaca_eval_command(
    model: str, instructions: Path, name: str, out: Path, config: str | None, overrides: tuple[str, ...]
) -> None:
    """Answer AlpacaEval's instructions, drawn as candidates are."""
    from srlm.export.answers import AlpacaEvalTask, read_instructions
    from srlm.run.cache_keys import ONCE, sections

    read_instructions(existing(instructions))
    _ending(out, ".json")
    task = AlpacaEvalTask("alpaca-eval", existing(instructions), out.absolute(), name)
    loaded = stage_config(config, overrides, model)
    settings = {"instructions": file_hash(instructions), **sections(loaded, "candidates", "engine", but=ONCE)}
    _answer(loaded, model, task, task.kept, settings)
    click.echo(out)


@export.command("mt-bench")
@MODEL
@click.option("--questions", type=FILE, required=True, help="FastChat's question.jsonl.")
@click.option("--out", type=FILE, required=True, help="FastChat's file of answers, named after the model: NAME.jsonl.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="For all. [default: FastChat's, by category]")
@click.option("--max-tokens", type=click.IntRange(1), default=1024, show_default=True, help="The longest turn.")
@CONFIG
@OVERRIDES
def mt_bench_command(
    model: str,
    questions: Path,
    out: Path,
    temperature: float | None,
    max_tokens: int,
    config: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Answer MT-Bench's questions of two turns."""
    from srlm.export.mt_bench import MtBenchTask, read_questions
    from srlm.run.cache_keys import sections

    read_questions(existing(questions))
    _ending(out, ".jsonl")
    task = MtBenchTask("mt-bench", existing(questions), out.absolute(), temperature, max_tokens)
    loaded = stage_config(config, overrides, model)
    drawn = {"--temperature": temperature, "--max-tokens": max_tokens}
    settings = {"questions": file_hash(questions), **drawn, **sections(loaded, "engine")}
    _answer(loaded, model, task, task.kept, settings)
    click.echo(out)


@export.command("lm-eval")
@click.option("--model", type=FOLDER, required=True, help="The folder of a saved model.")
@click.option("--tasks", required=True, help="Tasks of lm_eval, with commas between.")
@click.option("--out", type=FOLDER, required=True, help="The folder that lm_eval is to write to.")
@click.option("--chat/--no-chat", default=True, show_default=True, help="Ask through the model's chat template.")
@click.option("--backend", default="hf", show_default=True, help="lm_eval's --model: hf or vllm.")
@click.option("--dtype", default="auto", show_default=True, help="The weights' type.")
@click.option("--batch-size", default="auto", show_default=True, help="lm_eval's --batch_size.")
def lm_eval_command(
    model: Path, tasks: str, out: Path, *, chat: bool, backend: str, dtype: str, batch_size: str
) -> None:
    """Print the command by which lm-evaluation-harness evaluates a model."""
    from srlm.export import answers as exports

    named = [task for task in tasks.split(",") if task]
    click.echo(
        exports.lm_eval_command(model, named, out, chat=chat, backend=backend, dtype=dtype, batch_size=batch_size)
    )


def _answer(config: Config, model: str, task: Task, kept: Path, settings: dict[str, Any]) -> None:
    """Let the model answer, from where an earlier call came to if it had the same model and settings."""
    from srlm.run.provenance import claim
    from srlm.workers.jobs import Generate

    note, advice = kept.with_suffix(".inputs"), f"give another --out, or remove {kept.name}"
    if kept.exists() and not note.is_file():
        raise InputError(f"{kept}: answers that do not say what they were made from; {advice}")
    with launcher(config, ("generate",)) as workers:
        folder = resolve(workers, model, revision(config, model))
        claim(note, kept, {"": folder}, settings, f"{advice} and {note.name}")
        workers.run(Generate(config, folder, config.seed, (task,)), lambda *_: None)


def _ending(out: Path, ending: str) -> None:
    if out.suffix != ending:
        raise InputError(f"{out}: the tool knows its files by the ending {ending}; give a name that ends so")
