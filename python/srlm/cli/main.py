"""The command line. Imports nothing heavy at module level, so that `srlm --help` is fast.

Exit codes: 0 success, 2 wrong user input, 1 any other failure, 130 interrupted.
"""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from srlm import __version__
from srlm.cli.common import FILE, FOLDER, OVERRIDES, console, launcher, resolve
from srlm.cli.evaluate import evaluation
from srlm.cli.export import export
from srlm.cli.stage_commands import COMMANDS
from srlm.errors import InputError, StageError
from srlm.run import output_lock

if TYPE_CHECKING:
    from srlm.config import Config
    from srlm.run.run_dir import RunDir

# Errors of the operating system that mean a wrong path.
WRONG_PATH_ERRORS = frozenset(
    {errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM, errno.EROFS}
)
OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="srlm")
def srlm() -> None:
    """Self-rewarding language models: train models on data that they generate and judge themselves.

    `srlm run quickstart` runs the whole loop on a small packaged model.
    """


@srlm.command()
@click.argument("config", metavar="CONFIG")
@OVERRIDES
@click.option("--run-dir", type=FOLDER, help="Run directory. [default: runs/<name>]")
def run(config: str, overrides: tuple[str, ...], run_dir: Path | None) -> None:
    """Run the self-rewarding loop.

    Trains M1 by supervised fine-tuning, then M2, M3, … on self-generated data. CONFIG is a YAML file or the name of a
    packaged configuration. The same command resumes an interrupted run. `seeds=3` runs three seeds, `control=random`
    also the random control of each.
    """
    from srlm import config as configuration
    from srlm.preflight import preflight
    from srlm.run import lock
    from srlm.run.run_dir import RunDir, with_date

    loaded = configuration.load(config, overrides)
    folder = run_dir or Path("runs") / loaded.name
    if loaded.several_runs:
        from srlm.cli.seeds import run_seeds

        run_seeds(folder, loaded, _run)
        return
    preflight(loaded)
    with lock.held(folder):
        loaded = with_date(folder, loaded)
        _run(loaded, RunDir.open(folder, loaded))


@srlm.command("config")
@click.argument("config", metavar="CONFIG", required=False)
@OVERRIDES
@click.option("--describe", is_flag=True, help="List every key with its default and description.")
def show_config(config: str | None, overrides: tuple[str, ...], *, describe: bool) -> None:
    """Print the resolved configuration, including every default."""
    from srlm import config as configuration

    if describe:
        for key, default, text in configuration.describe():
            click.echo(f"{key} = {default}\n    {text}")
    elif config is None:
        raise InputError(f"CONFIG is missing: use a YAML file, or one of: {', '.join(configuration.packaged_names())}")
    else:
        click.echo(configuration.to_yaml(configuration.load(config, overrides)), nl=False)


@srlm.command()
@click.argument("run_dir", type=FOLDER)
@OVERRIDES
def status(run_dir: Path, overrides: tuple[str, ...]) -> None:
    """Show finished stages, their rows and the next stage.

    With KEY=VALUE: also show which stages `srlm run` would recompute with these settings, and why.
    """
    from srlm import config as configuration
    from srlm.cli.status import archive_lines, status_table
    from srlm.run.run_dir import SEEDS, config_file

    if (run_dir / SEEDS).is_file():
        from srlm.cli.seeds import print_status  # it computes a summary, unlike a plain status

        print_status(run_dir, overrides)
        return
    config, stale, lines = configuration.load(str(config_file(run_dir)), overrides), {}, []
    if overrides:
        from srlm.cli.plan import stages_to_recompute, stale_lines  # they import the loop, unlike a plain status

        stale = stages_to_recompute(run_dir, config)
        lines = stale_lines(stale)
    terminal = console(stderr=False)
    terminal.print(status_table(run_dir, config, stale))
    for line in (*lines, *archive_lines(run_dir)):
        terminal.print(line, highlight=False, markup=False, soft_wrap=True)


@srlm.command()
@click.argument("run_dir", type=FOLDER)
@click.argument("stage")
def redo(run_dir: Path, stage: str) -> None:
    """Archive a stage and its dependents, to recompute them.

    `srlm run` recomputes the archived stages. Nothing is deleted: the files move to RUN_DIR/archive/N. STAGE is a name
    from `srlm status`.
    """
    from srlm.run import archive, lock
    from srlm.run.run_dir import RunDir, config_file

    config_file(run_dir)
    with lock.held(run_dir):
        moved = archive.archive_stage(RunDir(run_dir), stage)
    click.echo(f"archived in {moved.folder}: {', '.join(moved.stages)}; `srlm run` recomputes them")


@srlm.command()
@click.argument("run_dir", type=FOLDER)
def replay(run_dir: Path) -> None:
    """Verify the rows of a run, without a model.

    Checks that files are as their stages left them, and that ids, scores, pairs and wins are consistent.
    """
    from dataclasses import replace

    from srlm import replay as replays
    from srlm.run.seed_folders import has_several, started_runs

    several = has_several(run_dir)
    checks = [
        replace(check, name=f"{folder.name}/{check.name}") if several else check
        for folder in (started_runs(run_dir) if several else [run_dir])
        for check in replays.replay(folder)
    ]
    for check in checks:
        result = "WRONG" if check.problems else "ok" if check.checked else "not checked"
        click.echo(f"{result:11} {check.name}, {check.rows} rows")
    if problems := replays.problem_lines(checks):
        raise StageError("; ".join(problems))


@srlm.command()
@click.argument("run_dir", type=FOLDER)
@click.option("--out", type=FILE, help="Output HTML file. [default: RUN_DIR/report.html]")
@click.option(
    "--samples", type=click.IntRange(0), default=2000, show_default=True, help="Maximum number of pairs to show."
)
def report(run_dir: Path, out: Path | None, samples: int) -> None:
    """Write an HTML report: do the models of a run improve?"""
    from srlm.report.page import report_file, write_report
    from srlm.run.run_dir import read_config
    from srlm.run.seed_folders import has_several, read_seeds_config

    if has_several(run_dir):
        from srlm.cli.seeds import write_summary

        write_summary(run_dir, read_seeds_config(run_dir), out, stderr=False)
        return
    read_config(run_dir)
    with output_lock.held(out or report_file(run_dir)):
        click.echo(write_report(run_dir, out, samples=samples))


@srlm.command()
@click.argument("run_a", type=FOLDER)
@click.argument("run_b", type=FOLDER)
@click.option("--out", type=FILE, help="Also write an HTML comparison to this file.")
def compare(run_a: Path, run_b: Path, out: Path | None) -> None:
    """Compare two runs side by side."""
    from srlm.report.compare import comparison_table, write_comparison
    from srlm.run.run_dir import read_config

    for run_dir in (run_a, run_b):
        read_config(run_dir)
    console(stderr=False).print(comparison_table(run_a, run_b))
    if out is not None:
        with output_lock.held(out):
            click.echo(write_comparison(run_a, run_b, out))


@srlm.command()
@click.argument("source", metavar="IN", type=FILE)
@click.option("--out", type=FILE, required=True, help="Output file of kept rows; it is overwritten.")
@click.option("--field", default="text", show_default=True, help="Text field to compare; a.b is field b of field a.")
@click.option(
    "--method", type=click.Choice(["exact", "near"]), default="near", show_default=True, help="Deduplication method."
)
@click.option("--threshold", type=float, help="Minimum Jaccard similarity of near duplicates. [default: 0.8]")
@click.option("--ngram", type=int, help="Number of words or characters per n-gram. [default: 3]")
@click.option("--unit", type=click.Choice(["word", "char"]), help="Unit of the n-grams. [default: word]")
@click.option("--index", type=FILE, help="Index of earlier files to compare with and to update; created if missing.")
@click.option("--dropped", type=FILE, help="Output file of the dropped lines and the lines that they duplicate.")
def dedup(source: Path, out: Path, field: str, method: str, dropped: Path | None, **near: Any) -> None:  # noqa: ANN401
    """Drop exact or near duplicates from a JSONL file.

    The first row of each group of duplicates is kept.
    """
    from srlm.rows import dedup as duplicates

    given = {name: value for name, value in near.items() if value is not None}
    if method == "exact" and given:
        raise InputError(f"--{next(iter(given))}: only used with --method near; remove it")
    settings = duplicates.NearOptions(**given) if method == "near" else None
    outputs = [path for path in (out, dropped, settings.index if settings else None) if path is not None]
    with output_lock.held(*outputs):
        counts = duplicates.run(source, out, field=field, near=settings, dropped=dropped)
    click.echo(f"{out}: {counts.kept} of {counts.rows} rows kept, {counts.dropped} dropped")


@srlm.group()
def model() -> None:
    """Find, convert or download models by name."""


@model.command("get")
@click.argument("name")
@click.option("--revision", default=None, help="Branch, tag or commit of a hub model.")
def get_model(name: str, revision: str | None) -> None:
    """Find, convert or download a model, and print its folder."""
    with launcher(None, ()) as workers:
        click.echo(resolve(workers, name, revision))


for command in (*COMMANDS, evaluation, export):
    srlm.add_command(command)


def _run(config: Config, run_dir: RunDir, title: str | None = None) -> None:
    """Run the loop and print its results; `title` names the run in trackers and on the terminal (None: its name)."""
    from srlm.cli.display import Display, closing_table
    from srlm.cli.log import LoggedDisplay
    from srlm.cli.report_writer import ReportWriter
    from srlm.evaluation.conclusion import conclusion
    from srlm.loop import Loop
    from srlm.report.trackers import open_curves
    from srlm.run import environment
    from srlm.run.stage_runner import StageRunner
    from srlm.workers.launcher import Launcher

    run_dir.environment = environment.record(run_dir.path)
    run_dir.log("started", version=__version__, environment=run_dir.environment)
    terminal = console()
    title = title or config.name
    curves = open_curves(config.report_to, title, run_dir.path, config.model_dump(mode="json", by_alias=True))
    try:
        with Display(terminal) as display, run_dir.end_logged():
            report = LoggedDisplay(display, run_dir)
            workers = Launcher(run_dir.log_file, report, config)
            workers.supervisor.sizes = run_dir.sizes()
            workers.warm_up()
            display.say(f"run {title}: {config.model.name} to M{config.iterations}, in {run_dir.path}")
            if config.model.trust_remote_code:
                report.note("model.trust_remote_code: Python code shipped with a model runs with your permissions")
            runner = StageRunner(config, run_dir, workers, report, report.set_title, lambda: curves.send(report))
            curves.send(report)  # curves that an interrupted run has not sent
            with ReportWriter(run_dir.path, report) as writer:
                Loop(runner, lambda _: writer.start()).run()
    finally:
        curves.finish()
    terminal.print(closing_table(run_dir, config.iterations))
    if (found := conclusion(run_dir, config.iterations)) is not None:
        terminal.print(found, style="bold", highlight=False)
    terminal.print(f"models: {run_dir.path}/m*/model; report: {run_dir.path}/report.html", highlight=False)


def main() -> None:
    """Run the command line and exit with its exit code."""
    try:
        code = srlm.main(standalone_mode=False)
    except click.exceptions.Abort:
        _print_error("interrupted; run the same command again to resume")
        code = INTERRUPTED
    except KeyboardInterrupt:
        _print_error("interrupted; run the same command again to resume")
        code = INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = WRONG_INPUT
    except InputError as error:
        _print_error(f"error: {' '.join(str(error).splitlines())}")
        code = WRONG_INPUT
    except StageError as error:
        _print_error(f"error: {' '.join(str(error).splitlines())}")
        code = FAILED
    except OSError as error:
        wrong, where = error.errno in WRONG_PATH_ERRORS, f"{error.filename}: " if error.filename else ""
        advice = "use another path" if wrong else "rows written so far are kept"
        _print_error(f"error: {where}{error.strerror or error}; {advice}")
        code = WRONG_INPUT if wrong else FAILED
    sys.exit(code if isinstance(code, int) else OK)


def _print_error(text: str) -> None:
    click.echo(f"srlm: {text}", err=True)
