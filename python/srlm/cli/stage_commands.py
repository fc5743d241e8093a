"""The commands that run one stage on files: prompts, generate, judge, score, pairs, sft and dpo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from srlm.cli.common import (
    FILE,
    FOLDER,
    OVERRIDES,
    existing,
    launcher,
    resolve,
    revision,
    rows_in,
    stage_config,
    writable,
)
from srlm.errors import InputError
from srlm.run import output_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from srlm.workers.tasks import Task


def _config_option(section: str) -> Callable[[Any], Any]:
    text = f"Configuration to load (section `{section}`). [default: built-in defaults]"
    return click.option("--config", default=None, help=text)


@click.command()
@click.option("--model", required=True, help="Model that writes prompts: a name or a folder.")
@click.option("--ift", type=FILE, required=True, help="Seed examples for few-shot demonstrations (seed/ift.jsonl).")
@click.option(
    "--earlier",
    type=FILE,
    multiple=True,
    help="File of earlier prompts (prompts.jsonl) that new ones must differ from; repeatable.",
)
@click.option(
    "--held-out",
    type=FILE,
    multiple=True,
    help="File of held-out prompts (held_out.jsonl, eft_valid.jsonl) that new ones must differ from; repeatable.",
)
@click.option("--out", type=FILE, required=True, help="Output file of prompts; existing rows are reused (resume).")
@_config_option("prompts")
@OVERRIDES
def prompts(
    model: str,
    ift: Path,
    earlier: tuple[Path, ...],
    held_out: tuple[Path, ...],
    out: Path,
    config: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Generate new prompts by self-instruct."""
    from srlm.rows.records import Example
    from srlm.stages import novelty
    from srlm.workers.tasks import PromptsTask

    dropped = out.with_name(f"{out.stem}_dropped{out.suffix}")
    known = (
        *(novelty.KnownFile(existing(file), novelty.EARLIER) for file in earlier),
        *(novelty.KnownFile(existing(file), novelty.HELD_OUT) for file in held_out),
    )
    novelty.read_known(known)  # a wrong row is an error before a model is loaded
    for given in (*earlier, *held_out):
        if out.exists() and out.samefile(given):
            raise InputError(f"{given}: is also --out, whose own prompts are compared anyway; use another file")
    task = PromptsTask("prompts", rows_in(ift, Example), writable(out), dropped, known)
    run_generation(model, task, config, overrides, dropped)


@click.command()
@click.option("--model", required=True, help="Model to sample from: a name or a folder.")
@click.option("--prompts", type=FILE, required=True, help="Input file of prompts.")
@click.option("--out", type=FILE, required=True, help="Output file of candidates; existing rows are reused (resume).")
@_config_option("candidates")
@OVERRIDES
def generate(model: str, prompts: Path, out: Path, config: str | None, overrides: tuple[str, ...]) -> None:
    """Sample N responses per prompt."""
    from srlm.rows.records import Prompt
    from srlm.workers.tasks import CandidatesTask

    supplier = stage_config(config, overrides, model).suppliers.model
    if supplier is not None:
        raise InputError(
            f"suppliers.model={supplier}: `srlm generate` samples from --model alone; set suppliers.model=null, or use "
            "`srlm run`"
        )
    run_generation(model, CandidatesTask("candidates", rows_in(prompts, Prompt), writable(out)), config, overrides)


@click.command()
@click.option("--model", help="Model to judge with: a name or a folder.")
@click.option("--prompts", type=FILE, help="Input file of prompts.")
@click.option("--candidates", type=FILE, help="Input file of candidates.")
@click.option("--out", type=FILE, required=True, help="Output file of verdicts; existing rows are reused (resume).")
@_config_option("judge")
@click.option("--parse-only", is_flag=True, help="Parse existing replies, without a model; overwrites --out.")
@click.option("--replies", type=FILE, help="With --parse-only: JSONL file of replies.")
@click.option("--field", help="With --parse-only: field of the reply text, or a path such as a.0.b. [default: text]")
@OVERRIDES
def judge(
    model: str | None,
    prompts: Path | None,
    candidates: Path | None,
    out: Path,
    config: str | None,
    overrides: tuple[str, ...],
    *,
    parse_only: bool,
    replies: Path | None,
    field: str | None,
) -> None:
    """Score candidates with an LLM judge.

    With --parse-only: parse the scores of existing replies, without a model.
    """
    for_model = {"--model": model, "--prompts": prompts, "--candidates": candidates}
    for_replies = {"--replies": replies, "--field": field}
    if parse_only:
        _refuse("not used with --parse-only, which loads no model", for_model)
        if replies is None:
            raise InputError("--parse-only needs --replies: a JSONL file of replies")
        _parse_replies(replies, field or "text", out, config, overrides)
        return
    _refuse("only used with --parse-only", for_replies)
    if model is None or prompts is None or candidates is None:
        missing = next(name for name, value in for_model.items() if value is None)
        raise InputError(f"{missing} is missing; add it, or parse existing replies with --parse-only --replies")
    from srlm.rows.records import Candidate, Prompt
    from srlm.workers.tasks import VerdictsTask

    files = rows_in(prompts, Prompt), rows_in(candidates, Candidate)
    run_generation(model, VerdictsTask("verdicts", *files, writable(out)), config, overrides)


@click.command()
@click.option("--prompts", type=FILE, required=True, help="Input file of prompts.")
@click.option("--candidates", type=FILE, required=True, help="Input file of candidates.")
@click.option("--out", type=FILE, required=True, help="Output file of scores; existing rows are reused (resume).")
@_config_option("signal")
@OVERRIDES
def score(prompts: Path, candidates: Path, out: Path, config: str | None, overrides: tuple[str, ...]) -> None:
    """Score candidates by a signal that needs no model: signal.kind=rules, majority, function or random."""
    from srlm.rows.records import Candidate, Prompt, read_rows
    from srlm.signals.registry import signal_of

    loaded = stage_config(config, overrides, "unused")
    signal = signal_of(loaded)
    files = rows_in(prompts, Prompt), rows_in(candidates, Candidate)
    signal.check([row for row in read_rows(prompts, Prompt) if row.source == "file"])
    job, result = signal.job("scores", *files, writable(out), loaded.seed, {}), dict[str, Any]()
    if job is None or signal.models(2):
        other = "srlm judge" if loaded.signal.kind == "judge" else "srlm run"
        raise InputError(f"signal.kind={loaded.signal.kind} needs a model, so it is not used here; use {other}")
    with output_lock.held(out), launcher(None, ()) as workers:
        workers.run(job, lambda _, counts: result.update(counts))
    click.echo(f"{out}: {result['rows']} rows")


@click.command()
@click.option("--prompts", type=FILE, required=True, help="Input file of prompts.")
@click.option("--candidates", type=FILE, required=True, help="Input file of candidates.")
@click.option(
    "--verdicts",
    "--scores",
    type=FILE,
    required=True,
    help="Input file of verdicts, or of the scores of another signal.kind.",
)
@click.option("--out", type=FILE, required=True, help="Output file of pairs; it is overwritten.")
@_config_option("pairs")
@OVERRIDES
def pairs(
    prompts: Path, candidates: Path, verdicts: Path, out: Path, config: str | None, overrides: tuple[str, ...]
) -> None:
    """Build preference pairs from verdicts or other scores.

    With train.kind=sft: the winners instead, for the judge responses with a perfect score. pairs.method=random samples
    with seed=N.
    """
    from srlm.signals.registry import signal_of
    from srlm.stages import pairs as stage

    loaded = stage_config(config, overrides, "unused")
    for section, name in ((loaded.pairs, "min_margin"), (loaded.pairs, "rho"), (loaded.signal, "min_votes")):
        if isinstance(getattr(section, name), list):
            key = f"{'signal' if name == 'min_votes' else 'pairs'}.{name}"
            raise InputError(f"{key}: is a list over the iterations of a run; set one value, as {key}=0.1")
    for given in (prompts, candidates, verdicts):
        if out.exists() and given.exists() and out.samefile(given):
            raise InputError(f"--out {out}: is an input file; use another --out")
    with output_lock.held(out):
        made = stage.write_pairs(
            prompts,
            candidates,
            out,
            lambda answers: signal_of(loaded).read(answers, verdicts),
            pairs=loaded.pairs,
            winners=loaded.train.kind == "sft",
            seed=loaded.seed,
        )
    click.echo(f"{out}: {len(made)} rows; dropped: {', '.join(f'{reason} {n}' for reason, n in made.drops.items())}")


@click.command()
@click.option("--model", required=True, help="Model to start from: a name or a folder.")
@click.option("--data", type=FILE, multiple=True, required=True, help="Input file of examples; repeatable.")
@click.option("--out", type=FOLDER, required=True, help="Output folder of the trained model.")
@_config_option("sft")
@OVERRIDES
def sft(model: str, data: tuple[Path, ...], out: Path, config: str | None, overrides: tuple[str, ...]) -> None:
    """Fine-tune a model on examples (SFT)."""
    run_training("sft", model, data, out, config, overrides)


@click.command()
@click.option("--model", required=True, help="Model to start from, also the reference model: a name or a folder.")
@click.option("--pairs", type=FILE, required=True, help="Input file of preference pairs.")
@click.option("--out", type=FOLDER, required=True, help="Output folder of the trained model.")
@_config_option("dpo")
@OVERRIDES
def dpo(model: str, pairs: Path, out: Path, config: str | None, overrides: tuple[str, ...]) -> None:
    """Train a model on preference pairs (DPO).

    Trains to the end: dpo.eval_steps (early stopping) applies to `srlm run` only.
    """
    run_training("dpo", model, (pairs,), out, config, overrides)


COMMANDS = (prompts, generate, judge, score, pairs, sft, dpo)


def run_generation(model: str, task: Task, config: str | None, overrides: tuple[str, ...], *more_outputs: Path) -> None:
    """Run one generation stage in a worker process; `more_outputs` are its outputs besides the task's file."""
    from srlm.stages import judge_prompt
    from srlm.workers.jobs import Generate

    loaded = stage_config(config, overrides, model)
    judge_prompt.check(loaded.judge)
    rows: dict[str, Any] = {}
    with output_lock.held(task.file, *more_outputs), launcher(loaded, ("generate",)) as workers:
        folder = resolve(workers, model, revision(loaded, model))
        workers.run(Generate(loaded, folder, loaded.seed, (task,)), lambda _, result: rows.update(result))
    click.echo(f"{task.file}: {rows['rows']} rows")


def run_training(
    kind: str, model: str, data: tuple[Path, ...], out: Path, config: str | None, overrides: tuple[str, ...]
) -> None:
    """Train a model in a worker process; `kind` is sft or dpo."""
    from srlm.rows.records import Example, Pair
    from srlm.workers.jobs import Train

    loaded = stage_config(config, overrides, model)
    _check_new(out)
    metrics = writable(out).with_name(f"{out.name}.metrics.jsonl")
    files = tuple(rows_in(file, Example if kind == "sft" else Pair) for file in data)
    trained: dict[str, Any] = {}
    with output_lock.held(out, metrics), launcher(loaded, ("train",)) as workers:
        _check_new(out)  # another training may have finished while the rows were validated
        work = Train(
            name=kind,
            kind=kind,
            config=loaded,
            base=resolve(workers, model, revision(loaded, model)),
            target=out.absolute(),
            metrics=metrics,
            data=files,
            card={"model": out.name, "base model": model, "trained by": kind.upper()},
        )
        workers.run(work, lambda _, result: trained.update(result))
    click.echo(f"{out}: " + ", ".join(f"{name} {value}" for name, value in trained.items()))


def _check_new(out: Path) -> None:
    if out.exists():
        raise InputError(f"{out}: already exists; use another --out")


def _parse_replies(replies: Path, field: str, out: Path, config: str | None, overrides: tuple[str, ...]) -> None:
    """Parse the scores of existing replies, without a model."""
    from srlm.cli.reparse import parse_replies
    from srlm.stages import judge_prompt

    loaded = stage_config(config, overrides, "unused")
    judge_prompt.check(loaded.judge)
    with output_lock.held(out):
        summary = parse_replies(existing(replies), out, field=field, judge=loaded.judge)
    click.echo(f"{out}: {summary}")


def _refuse(reason: str, options: Mapping[str, object]) -> None:
    """Refuse options that the chosen mode does not use."""
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{name}: {reason}; remove {name}")
