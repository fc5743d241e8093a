"""The commands `srlm export …`: a model's answers in the formats of other evaluation tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from srlm.cli.common import CONFIG, FILE, FOLDER, OVERRIDES, existing, launcher, resolve, revision, stage_config
from srlm.errors import InputError
from srlm.rows.records import file_hash
from srlm.run import output_lock

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.config import Config
    from srlm.workers.tasks import Task

MODEL = click.option("--model", required=True, help="Model that answers: a name or a folder.")


@click.group()
def export() -> None:
    """Export to AlpacaEval, MT-Bench, lm-evaluation-harness."""


@export.command("alpaca-eval")
@MODEL
@click.option("--instructions", type=FILE, required=True, help="AlpacaEval's instructions: a JSON list or JSONL.")
@click.option("--name", required=True, help="Name of the model in AlpacaEval.")
@click.option(
    "--out",
    type=FILE,
    required=True,
    help="Output file, AlpacaEval's outputs.json; an interrupted call resumes.",
)
@CONFIG
@OVERRIDES
def alpaca_eval_command(
    model: str, instructions: Path, name: str, out: Path, config: str | None, overrides: tuple[str, ...]
) -> None:
    """Answer AlpacaEval's instructions.

    Uses the sampling settings of the section candidates.
    """
    from srlm.export.answers import AlpacaEvalTask, read_instructions
    from srlm.run import stage_inputs

    read_instructions(existing(instructions))
    _check_suffix(out, ".json")
    task = AlpacaEvalTask("alpaca-eval", existing(instructions), out.absolute(), name)
    loaded = stage_config(config, overrides, model)
    settings = {"instructions": file_hash(instructions), **stage_inputs.held_out_answers(loaded)}
    _answer(loaded, model, task, task.partial_file, settings)
    click.echo(out)


@export.command("mt-bench")
@MODEL
@click.option("--questions", type=FILE, required=True, help="FastChat's question.jsonl.")
@click.option(
    "--out",
    type=FILE,
    required=True,
    help="Output file, named after the model: NAME.jsonl; an interrupted call resumes.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(0, 2),
    help="Sampling temperature of all categories. [default: FastChat's, by category]",
)
@click.option("--max-tokens", type=click.IntRange(1), default=1024, show_default=True, help="Maximum tokens per turn.")
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
    """Answer MT-Bench's two-turn questions."""
    from srlm.export.mt_bench import MtBenchTask, read_questions
    from srlm.run.cache_keys import key_inputs

    read_questions(existing(questions))
    _check_suffix(out, ".jsonl")
    task = MtBenchTask("mt-bench", existing(questions), out.absolute(), temperature, max_tokens)
    loaded = stage_config(config, overrides, model)
    sampling = {"--temperature": temperature, "--max-tokens": max_tokens}
    settings = {"questions": file_hash(questions), **sampling, **key_inputs(loaded, "engine")}
    _answer(loaded, model, task, task.partial_file, settings)
    click.echo(out)


@export.command("lm-eval")
@click.option("--model", type=FOLDER, required=True, help="Folder of a saved model.")
@click.option("--tasks", required=True, help="Tasks of lm_eval, separated by commas.")
@click.option("--out", type=FOLDER, required=True, help="Output folder of lm_eval.")
@click.option("--chat/--no-chat", default=True, show_default=True, help="Apply the model's chat template.")
@click.option("--backend", default="hf", show_default=True, help="lm_eval's --model: hf or vllm.")
@click.option("--dtype", default="auto", show_default=True, help="Data type of the weights.")
@click.option("--batch-size", default="auto", show_default=True, help="lm_eval's --batch_size.")
def lm_eval_command(
    model: Path, tasks: str, out: Path, *, chat: bool, backend: str, dtype: str, batch_size: str
) -> None:
    """Print the lm-evaluation-harness command for a model."""
    from srlm.export import answers as exports

    named = [task for task in tasks.split(",") if task]
    click.echo(
        exports.lm_eval_command(model, named, out, chat=chat, backend=backend, dtype=dtype, batch_size=batch_size)
    )


def _answer(config: Config, model: str, task: Task, kept: Path, settings: dict[str, Any]) -> None:
    """Generate the answers; resumes an earlier call with the same model and settings."""
    from srlm.run.provenance import claim
    from srlm.workers.jobs import Generate

    note, advice = kept.with_suffix(".inputs"), f"use another --out, or remove {kept.name}"
    with output_lock.held(task.file, kept), launcher(config, ("generate",)) as workers:
        if kept.exists() and not note.is_file():
            raise InputError(f"{kept}: the inputs of these answers are unknown, as {note.name} is missing; {advice}")
        folder = resolve(workers, model, revision(config, model))
        claim(note, kept, {"": folder}, settings, f"{advice} and {note.name}")
        workers.run(Generate(config, folder, config.seed, (task,)), lambda *_: None)


def _check_suffix(out: Path, suffix: str) -> None:
    if out.suffix != suffix:
        raise InputError(f"{out}: the file name must end with {suffix}; use another --out")
