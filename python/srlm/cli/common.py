"""Shared by the commands: option types, configuration, workers, the terminal. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from srlm.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from srlm.config import Config
    from srlm.workers.launcher import Kind, Launcher

OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
CONFIG = click.option("--config", help="Configuration to load. [default: built-in defaults]")
FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


def stage_config(config: str | None, overrides: tuple[str, ...], model: str) -> Config:
    """Return the configuration of a command: the given one, or the defaults."""
    from srlm import config as configuration

    if config is not None:
        return configuration.load(config, overrides)
    return configuration.build({"model": {"name": model}}, overrides, "command line")


@contextlib.contextmanager
def launcher(config: Config | None, kinds: tuple[Kind, ...]) -> Iterator[Launcher]:
    """Open a worker launcher outside of a run."""
    from srlm.cli.display import Display
    from srlm.models.registry import cache_dir
    from srlm.workers.launcher import Launcher

    with Display(console()) as display:
        yield Launcher(cache_dir() / "workers.log", display, config, kinds)


def resolve(launcher: Launcher, name: str, revision: str | None) -> str:
    """Return the folder of a model's weights; a hub model is downloaded by a worker."""
    from srlm.models import registry
    from srlm.workers.jobs import Resolve

    if registry.is_ready(name) or registry.is_path(name):
        return registry.resolve(name)
    found: dict[str, Any] = {}
    launcher.run(Resolve("model", name, revision), lambda _, result: found.update(result))
    return str(found["folder"])


def revision(config: Config, name: str) -> str | None:
    """Return the revision of a model: `model.revision` applies to the model in the configuration only."""
    return config.model.revision if name == config.model.name else None


def existing(file: Path) -> Path:
    """Return the absolute path of a file that must exist."""
    if not file.is_file():
        raise InputError(f"{file}: no such file; check the path")
    return file.absolute()


def rows_in(file: Path, kind: type[Any]) -> Path:
    """Return the absolute path of a file of rows, after validating every row; nothing heavy is loaded for that."""
    from srlm.rows.records import iter_rows

    rows = iter_rows(existing(file), kind)
    if not sum(1 for _ in rows):
        raise InputError(f"{file}: contains no rows; use a file with one {kind.__name__} per line")
    return file.absolute()


def writable(out: Path) -> Path:
    """Return the absolute path of an output, whose folder exists or can be created."""
    parent = next(folder for folder in out.absolute().parents if folder.exists() or folder.is_symlink())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"{out}: {parent} is not {'writable' if parent.is_dir() else 'a folder'}; use another --out")
    return out.absolute()


def console(*, stderr: bool = True) -> Console:
    """Return a console: progress goes to stderr, results to stdout."""
    from rich.console import Console

    return Console(stderr=stderr)
