"""Several runs as one command: every seed's run and its control, one after the other, and the summary over them."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from srlm.cli.common import console
from srlm.errors import InputError, StageError
from srlm.rows.records import write_text
from srlm.run import lock, output_lock, seed_folders, shared_stages
from srlm.run.run_dir import RunDir
from srlm.run.seed_folders import SeedRun, read_seeds_config, seed_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rich.console import Console

    from srlm.config import Config

    RunOne = Callable[[Config, RunDir, str], None]

SUMMARY = "summary.json"


def run_seeds(path: Path, config: Config, run_one: RunOne) -> None:
    """Run all seeds and controls in a folder, and print the summary; finished runs are skipped.

    `run_one` runs the loop of one of them, given its configuration, its directory and a title. Before the first run,
    everything that can be checked without a model is checked for all of them.

    Raises:
        InputError: the configuration or the folder is wrong.
        StageError: a run failed; the message names it.
    """
    from srlm.preflight import preflight

    for run in seed_runs(path, config):
        preflight(run.config)
    with lock.held(path):
        config = seed_folders.with_common_date(path, config)
        seed_folders.open_folder(path, config)
        for run in seed_folders.iter_seed_runs(path, config):
            with lock.held(run.path), _named(run):
                _run(run, run_one)
        write_summary(path, config)


def _run(run: SeedRun, run_one: RunOne) -> None:
    from srlm.cli.plan import is_finished

    terminal = console()
    differs = run.of is not None and bool(shared_stages.stages_to_share(RunDir(run.of), RunDir(run.path)))
    if not differs and is_finished(run.path, run.config):
        terminal.print(f"{run.name}: finished", highlight=False, markup=False)
        return
    folder = RunDir.open(run.path, run.config)
    if run.of is not None:
        for note in shared_stages.share(RunDir(run.of), folder):
            terminal.print(note, style="yellow", highlight=False, markup=False, soft_wrap=True)
    run_one(run.config, folder, f"{run.config.name}-{run.name}")


@contextlib.contextmanager
def _named(run: SeedRun) -> Iterator[None]:
    """Name the run in the errors of the block."""
    try:
        yield
    except (InputError, StageError) as error:
        kind = InputError if isinstance(error, InputError) else StageError
        raise kind(f"{run.name}: {error}") from error


def summarize_seeds(path: Path, config: Config) -> dict[str, Any]:
    """Return the summary of the runs in a folder, with its `conclusion` (None before M1 is trained)."""
    from srlm.evaluation.seeds_conclusion import seeds_conclusion
    from srlm.evaluation.seeds_summary import summarize

    found = summarize(seed_runs(path, config), config.iterations)
    return {**found, "conclusion": seeds_conclusion(found)}


def write_summary(path: Path, config: Config, out: Path | None = None, *, stderr: bool = True) -> None:
    """Write `summary.json` and the page (`report.html`, or `out`), and print the summary, its sentence last."""
    from srlm.report.seeds import write_seeds_report

    summary = summarize_seeds(path, config)
    page = out or path / "report.html"
    with output_lock.held(page, path / SUMMARY):
        write_text(path / SUMMARY, json.dumps(summary, indent=1) + "\n")
        runs = [run.name for run in seed_runs(path, config) if (run.path / "report.html").is_file()]
        write_seeds_report(path, summary, runs, out)
    terminal = console(stderr=stderr)
    written = f"runs: {path}/seed-*; summary: {path / SUMMARY}; report: {page}"
    terminal.print(written, highlight=False, markup=False, soft_wrap=True)
    _print_summary(path, summary, terminal)


def _print_summary(path: Path, summary: dict[str, Any], terminal: Console) -> None:
    from srlm.report.seeds import summary_table

    terminal.print(summary_table(path, summary))
    if summary["conclusion"] is not None:
        terminal.print(summary["conclusion"], style="bold", highlight=False, markup=False)


def print_status(path: Path, overrides: tuple[str, ...]) -> None:
    """Print where each run of a folder is, and the summary; with overrides, also what they would recompute."""
    from srlm.cli.status import seeds_status_table

    config, terminal = read_seeds_config(path, overrides), console(stderr=False)
    terminal.print(seeds_status_table(path, seed_runs(path, config)))
    for line in _stale(path, config) if overrides else ():
        terminal.print(line, highlight=False, markup=False, soft_wrap=True)
    _print_summary(path, summarize_seeds(path, read_seeds_config(path)), terminal)


def _stale(path: Path, config: Config) -> list[str]:
    """Return what each run that has begun would recompute with this configuration."""
    from srlm.cli.plan import stages_to_recompute, stale_lines

    return [
        f"{run.name}: {line}"
        for run in seed_runs(path, config)
        if (run.path / "config.yaml").is_file()
        for line in stale_lines(stages_to_recompute(run.path, run.config))
    ]
