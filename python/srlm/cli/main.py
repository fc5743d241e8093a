"""The command line. Imports nothing heavy: `srlm --help` answers at once.

Exit codes: 0 done, 2 the user's input is wrong, 1 anything else, 130 interrupted.
"""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from srlm import __version__
from srlm.cli.common import FILE, FOLDER, OVERRIDES, console, launcher, resolve, rows_in, stage_config, writable
from srlm.cli.evaluate import evaluation
from srlm.cli.export import export
from srlm.cli.stages import let_generate, let_train, refuse, reread
from srlm.errors import InputError, StageError

if TYPE_CHECKING:
    from srlm.config import Config
    from srlm.reporter import Reporter
    from srlm.run.run_dir import RunDir

# What the operating system says of a path that cannot be meant.
WRONG_PATH = frozenset(
    {errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM, errno.EROFS}
)
OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="srlm")
def srlm() -> None:
    """Turn a base language model into better ones that write and judge their own training data.

    `srlm run quickstart` runs the whole loop on a small packaged model.
    """


@srlm.command()
@click.argument("config", metavar="CONFIG")
@OVERRIDES
@click.option("--run-dir", type=FOLDER, help="Where the run is kept. [default: runs/<name>]")
def run(config: str, overrides: tuple[str, ...], run_dir: Path | None) -> None:
    """Run the loop: M1 by supervised fine-tuning, then M2, M3, … on the models' own data.

    CONFIG is a YAML file or the name of a packaged configuration. The same command goes on where it was stopped.
    """
    from srlm import config as configuration
    from srlm import loop
    from srlm.run import lock
    from srlm.run.run_dir import RunDir

    loaded = configuration.load(config, overrides)
    loop.preflight(loaded)
    folder = run_dir or Path("runs") / loaded.name
    with lock.held(folder):
        _run(loaded, RunDir.open(folder, loaded))


@srlm.command("config")
@click.argument("config", metavar="CONFIG", required=False)
@OVERRIDES
@click.option("--describe", is_flag=True, help="List every key with its default and what it does.")
def show_config(config: str | None, overrides: tuple[str, ...], *, describe: bool) -> None:
    """Print the resolved configuration, every default written out."""
    from srlm import config as configuration

    if describe:
        for key, default, text in configuration.describe():
            click.echo(f"{key} = {default}\n    {text}")
    elif config is None:
        raise InputError(f"give a CONFIG: a YAML file, or one of: {', '.join(configuration.packaged_names())}")
    else:
        click.echo(configuration.to_yaml(configuration.load(config, overrides)), nl=False)


@srlm.command()
@click.argument("run_dir", type=FOLDER)
@OVERRIDES
def status(run_dir: Path, overrides: tuple[str, ...]) -> None:
    """Show what is done in a run, with rows, and what is next.

    With key=value: also which stages `srlm run` would make again with these settings.
    """
    from srlm import config as configuration
    from srlm.cli.status import aside_lines, status_table
    from srlm.run.run_dir import config_file

    config, again = configuration.load(str(config_file(run_dir)), overrides), {}
    if overrides:
        from srlm.cli.plan import stages_made_again  # with the loop, which the status alone need not wait for

        again = stages_made_again(run_dir, config)
    terminal = console(stderr=False)
    terminal.print(status_table(run_dir, config, again))
    reasons = (f"{name} would be made again, since {reason}" for name, reason in again.items())
    for line in (*reasons, *aside_lines(run_dir)):
        terminal.print(line, highlight=False, markup=False, soft_wrap=True)


@srlm.command()
@click.argument("run_dir", type=FOLDER)
@click.argument("stage")
def redo(run_dir: Path, stage: str) -> None:
    """Set a stage of a run aside, with all that was made from it; `srlm run` makes them again.

    Nothing is deleted: what was there is kept in RUN_DIR/aside. STAGE is named as in `srlm status`.
    """
    from srlm.run import archive, lock
    from srlm.run.run_dir import RunDir, config_file

    config_file(run_dir)
    with lock.held(run_dir):
        moved = archive.set_aside(RunDir(run_dir), stage)
    click.echo(f"{moved.folder}: {', '.join(moved.stages)}")


@srlm.command()
@click.argument("run_dir", type=FOLDER)
def replay(run_dir: Path) -> None:
    """Check, without a model, that a run's rows follow from one another and are as its stages left them."""
    from srlm import replay as replays

    checks = replays.replay(run_dir)
    for check in checks:
        word = "WRONG" if check.problems else "ok" if check.checked else "not checked"
        click.echo(f"{word:11} {check.name}, {check.rows} rows")
    if problems := replays.told(checks):
        raise StageError("; ".join(problems))


@srlm.command()
@click.argument("run_dir", type=FOLDER)
@click.option("--out", type=FILE, help="The page. [default: RUN_DIR/report.html]")
@click.option("--samples", type=click.IntRange(0), default=2000, show_default=True, help="Pairs to show, at most.")
def report(run_dir: Path, out: Path | None, samples: int) -> None:
    """Write a page that tells whether a run got better."""
    from srlm.report.page import write_report
    from srlm.run.run_dir import read_config

    read_config(run_dir)
    click.echo(write_report(run_dir, out, samples=samples))


@srlm.command()
@click.argument("run_a", type=FOLDER)
@click.argument("run_b", type=FOLDER)
@click.option("--out", type=FILE, help="Write a page, too.")
def compare(run_a: Path, run_b: Path, out: Path | None) -> None:
    """Put two runs side by side."""
    from srlm.report.compare import comparison_table, write_comparison
    from srlm.run.run_dir import read_config

    for run_dir in (run_a, run_b):
        read_config(run_dir)
    console(stderr=False).print(comparison_table(run_a, run_b))
    if out is not None:
        click.echo(write_comparison(run_a, run_b, out))


@srlm.command()
@click.option("--model", required=True, help="The model that writes prompts: a name or folder.")
@click.option("--ift", type=FILE, required=True, help="Rows of examples whose prompts are shown (seed/ift.jsonl).")
@click.option("--out", type=FILE, required=True, help="File of new prompts; rows in it are kept.")
@click.option("--config", default=None, help="Configuration with the section prompts. [default: built-in defaults]")
@OVERRIDES
def prompts(model: str, ift: Path, out: Path, config: str | None, overrides: tuple[str, ...]) -> None:
    """Write new prompts."""
    from srlm.rows.records import Example
    from srlm.workers.tasks import PromptsTask

    dropped = out.with_name(f"{out.stem}_dropped{out.suffix}")
    let_generate(model, PromptsTask("prompts", rows_in(ift, Example), writable(out), dropped), config, overrides)


@srlm.command()
@click.option("--model", required=True, help="The model that answers: a name or folder.")
@click.option("--prompts", type=FILE, required=True, help="File of prompts.")
@click.option("--out", type=FILE, required=True, help="File of candidates; rows in it are kept.")
@click.option("--config", default=None, help="Configuration with the section candidates. [default: built-in defaults]")
@OVERRIDES
def generate(model: str, prompts: Path, out: Path, config: str | None, overrides: tuple[str, ...]) -> None:
    """Answer prompts, several times each."""
    from srlm.rows.records import Prompt
    from srlm.workers.tasks import CandidatesTask

    let_generate(model, CandidatesTask("candidates", rows_in(prompts, Prompt), writable(out)), config, overrides)


@srlm.command()
@click.option("--model", help="The model that judges: a name or folder.")
@click.option("--prompts", type=FILE, help="File of prompts.")
@click.option("--candidates", type=FILE, help="File of candidates.")
@click.option("--out", type=FILE, required=True, help="File of verdicts; rows in it are kept.")
@click.option("--config", default=None, help="Configuration with the section judge. [default: built-in defaults]")
@click.option("--parse-only", is_flag=True, help="Read replies that are there, with no model; --out is replaced.")
@click.option("--replies", type=FILE, help="With --parse-only: JSON lines with the replies.")
@click.option("--field", help="With --parse-only: the field of the reply, or a path such as a.0.b. [default: text]")
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
    """Score candidates; or, with --parse-only, read the scores of replies that are there."""
    for_model = {"--model": model, "--prompts": prompts, "--candidates": candidates}
    for_replies = {"--replies": replies, "--field": field}
    if parse_only:
        refuse("with --parse-only no model is loaded", for_model)
        if replies is None:
            raise InputError("--parse-only needs --replies: a file of JSON lines with the replies")
        reread(replies, field or "text", out, config, overrides)
        return
    refuse("without --parse-only a model judges", for_replies)
    if model is None or prompts is None or candidates is None:
        missing = next(name for name, value in for_model.items() if value is None)
        raise InputError(f"{missing} is missing; add it, or read replies that are there with --parse-only --replies")
    from srlm.rows.records import Candidate, Prompt
    from srlm.workers.tasks import VerdictsTask

    files = rows_in(prompts, Prompt), rows_in(candidates, Candidate)
    let_generate(model, VerdictsTask("verdicts", *files, writable(out)), config, overrides)


@srlm.command()
@click.option("--prompts", type=FILE, required=True, help="File of prompts.")
@click.option("--candidates", type=FILE, required=True, help="File of candidates.")
@click.option("--verdicts", type=FILE, required=True, help="File of verdicts.")
@click.option("--out", type=FILE, required=True, help="File of pairs; it is replaced.")
@click.option("--config", default=None, help="Configuration with the section pairs. [default: built-in defaults]")
@OVERRIDES
def pairs(
    prompts: Path, candidates: Path, verdicts: Path, out: Path, config: str | None, overrides: tuple[str, ...]
) -> None:
    """Choose preference pairs (or, with pairs.method=positives_only, perfect answers).

    What pairs.method=random draws follows from seed=N.
    """
    from srlm.stages import pairs as stage

    loaded = stage_config(config, overrides, "unused")
    for given in (prompts, candidates, verdicts):
        if out.exists() and given.exists() and out.samefile(given):
            raise InputError(f"--out {out}: is a file to read; name another one to write")
    made = stage.write(prompts, candidates, verdicts, out, pairs=loaded.pairs, judge=loaded.judge, seed=loaded.seed)
    click.echo(f"{out}: {len(made)} rows; dropped: {', '.join(f'{reason} {n}' for reason, n in made.drops.items())}")


@srlm.command()
@click.option("--model", required=True, help="The model to start from: a name or folder.")
@click.option("--data", type=FILE, multiple=True, required=True, help="Files of examples; may be given several times.")
@click.option("--out", type=FOLDER, required=True, help="Folder for the trained model.")
@click.option("--config", default=None, help="Configuration with the section sft. [default: built-in defaults]")
@OVERRIDES
def sft(model: str, data: tuple[Path, ...], out: Path, config: str | None, overrides: tuple[str, ...]) -> None:
    """Fine-tune a model on examples."""
    let_train("sft", model, data, out, config, overrides)


@srlm.command()
@click.option("--model", required=True, help="The model to start from, and the reference: a name or folder.")
@click.option("--pairs", type=FILE, required=True, help="File of preference pairs.")
@click.option("--out", type=FOLDER, required=True, help="Folder for the trained model.")
@click.option("--config", default=None, help="Configuration with the section dpo. [default: built-in defaults]")
@OVERRIDES
def dpo(model: str, pairs: Path, out: Path, config: str | None, overrides: tuple[str, ...]) -> None:
    """Train a model on preference pairs, to the end: dpo.eval_steps is for `srlm run`."""
    let_train("dpo", model, (pairs,), out, config, overrides)


@srlm.command()
@click.argument("source", metavar="IN", type=FILE)
@click.option("--out", type=FILE, required=True, help="File of the rows that are kept; it is replaced.")
@click.option("--field", default="text", show_default=True, help="The string to compare; a.b is field b of field a.")
@click.option("--method", type=click.Choice(["exact", "near"]), default="near", show_default=True)
@click.option("--threshold", type=float, help="Least Jaccard similarity of near duplicates. [default: 0.8]")
@click.option("--ngram", type=int, help="How many words or characters are compared at once. [default: 3]")
@click.option("--unit", type=click.Choice(["word", "char"]), help="What n-grams are made of. [default: word]")
@click.option("--index", type=FILE, help="Index of earlier files, to compare with and to add to; made if missing.")
@click.option("--dropped", type=FILE, help="File that tells which lines were dropped, and what they duplicate.")
def dedup(source: Path, out: Path, field: str, method: str, dropped: Path | None, **near: Any) -> None:  # noqa: ANN401
    """Keep the first of each group of duplicates in a file of JSON lines."""
    from srlm.rows import dedup as duplicates

    given = {name: value for name, value in near.items() if value is not None}
    if method == "exact" and given:
        raise InputError(f"--{next(iter(given))}: goes with --method near only; leave it out")
    settings = duplicates.Near(**given) if method == "near" else None
    counts = duplicates.run(source, out, field=field, near=settings, dropped=dropped)
    click.echo(f"{out}: {counts.kept} of {counts.rows} rows kept, {counts.dropped} dropped")


@srlm.group()
def model() -> None:
    """Models by name."""


@model.command("get")
@click.argument("name")
@click.option("--revision", default=None, help="Branch, tag or commit of a hub model.")
def get_model(name: str, revision: str | None) -> None:
    """Find, convert or download a model, and print its folder."""
    with launcher(None, ()) as workers:
        click.echo(resolve(workers, name, revision))


srlm.add_command(evaluation)
srlm.add_command(export)


def _run(config: Config, run_dir: RunDir) -> None:
    from srlm.cli.display import Display, closing_table
    from srlm.cli.log import LoggedDisplay
    from srlm.loop import Loop
    from srlm.report.trackers import open_curves
    from srlm.run import environment
    from srlm.run.stage_runner import Stages
    from srlm.workers.launcher import Launcher

    run_dir.environment = environment.keep(run_dir.path)
    run_dir.log("started", version=__version__, environment=run_dir.environment)
    terminal = console()
    curves = open_curves(config.report_to, config.name, run_dir.path, config.model_dump(mode="json", by_alias=True))
    try:
        with Display(terminal) as display, run_dir.end_logged():
            report = LoggedDisplay(display, run_dir)
            workers = Launcher(run_dir.log_file, report, config)
            workers.supervisor.sizes = run_dir.sizes()
            workers.warm_up()
            display.say(f"run {config.name}: {config.model.name} to M{config.iterations}, in {run_dir.path}")
            if config.model.trust_remote_code:
                report.note("model.trust_remote_code: Python code that comes with a model will run with your rights")
            stages = Stages(config, run_dir, workers, report, report.titled, lambda: curves.send(report))
            curves.send(report)  # what an interrupted run has not sent
            Loop(stages, lambda _: _write_report(run_dir.path, report)).run()
    finally:
        curves.finish()
    terminal.print(closing_table(run_dir, config.iterations))
    terminal.print(f"models: {run_dir.path}/m*/model; report: {run_dir.path}/report.html", highlight=False)


def _write_report(run_dir: Path, report: Reporter) -> None:
    """Write the report; days of work are not to end because a picture of them could not be drawn."""
    from srlm.report.page import write_report

    try:
        write_report(run_dir)
    except Exception as error:
        report.note(f"report not written: {type(error).__name__}: {error}; `srlm report {run_dir}` tries again")


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        code = srlm.main(standalone_mode=False)
    except click.exceptions.Abort:
        _say("interrupted; run the same command again to go on")
        code = INTERRUPTED
    except KeyboardInterrupt:
        _say("interrupted; run the same command again to go on")
        code = INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = WRONG_INPUT
    except InputError as error:
        _say(f"error: {' '.join(str(error).splitlines())}")
        code = WRONG_INPUT
    except StageError as error:
        _say(f"error: {' '.join(str(error).splitlines())}")
        code = FAILED
    except OSError as error:
        wrong, where = error.errno in WRONG_PATH, f"{error.filename}: " if error.filename else ""
        advice = "give another path" if wrong else "rows written are kept"
        _say(f"error: {where}{error.strerror or error}; {advice}")
        code = WRONG_INPUT if wrong else FAILED
    sys.exit(code if isinstance(code, int) else OK)


def _say(text: str) -> None:
    click.echo(f"srlm: {text}", err=True)
