"""What the commands of single stages do once their options are read: check, find the model, let a worker work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from srlm.cli.common import existing, launcher, resolve, revision, rows_in, stage_config, writable
from srlm.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from srlm.workers.tasks import Task


def let_generate(model: str, task: Task, config: str | None, overrides: tuple[str, ...]) -> None:
    """Let a model do a generating stage."""
    from srlm.stages import judge as judge_stage
    from srlm.workers.jobs import Generate

    loaded = stage_config(config, overrides, model)
    judge_stage.check(loaded.judge)
    rows: dict[str, Any] = {}
    with launcher(loaded, ("generate",)) as workers:
        folder = resolve(workers, model, revision(loaded, model))
        workers.run(Generate(loaded, folder, loaded.seed, (task,)), lambda _, result: rows.update(result))
    click.echo(f"{task.file}: {rows['rows']} rows")


def reread(replies: Path, field: str, out: Path, config: str | None, overrides: tuple[str, ...]) -> None:
    """Read the scores of replies that are there, with no model."""
    from srlm.cli.reparse import read_replies
    from srlm.stages import judge as judge_stage

    loaded = stage_config(config, overrides, "unused")
    judge_stage.check(loaded.judge)
    click.echo(f"{out}: {read_replies(existing(replies), out, field=field, judge=loaded.judge)}")


def refuse(reason: str, options: Mapping[str, object]) -> None:
    """Refuse options that the way chosen has no use for."""
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{name}: {reason}; leave {name} out")


def let_train(
    kind: str, model: str, data: tuple[Path, ...], out: Path, config: str | None, overrides: tuple[str, ...]
) -> None:
    """Train a model: `kind` is sft or dpo."""
    from srlm.rows.records import Example, Pair
    from srlm.workers.jobs import Train

    loaded = stage_config(config, overrides, model)
    if out.exists():
        raise InputError(f"{out}: exists already; give another --out")
    writable(out)
    files = tuple(rows_in(file, Example if kind == "sft" else Pair) for file in data)
    trained: dict[str, Any] = {}
    with launcher(loaded, ("train",)) as workers:
        work = Train(
            name=kind,
            kind=kind,
            config=loaded,
            base=resolve(workers, model, revision(loaded, model)),
            target=out.absolute(),
            metrics=out.absolute().with_name(f"{out.name}.metrics.jsonl"),
            data=files,
            card={"model": out.name, "base model": model, "trained by": kind.upper()},
        )
        workers.run(work, lambda _, result: trained.update(result))
    click.echo(f"{out}: " + ", ".join(f"{name} {value}" for name, value in trained.items()))
