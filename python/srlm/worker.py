"""What runs inside a worker process: one job, then the process ends and its memory is free.

A job generates (one engine, loaded once, does the stages of an iteration one after the other) or trains. What happens
is sent to the driver as messages; anything printed goes to the run's log. Importing this module is light: jobs import
what they need.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import traceback
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Protocol

from srlm.errors import EngineError, InputError, StageError, is_out_of_memory
from srlm.progress import count_lines
from srlm.records import Candidate, Example, Pair, Prompt, RankedAnswers, Reading, read_rows
from srlm.reporter import SilentReporter
from srlm.row_file import RowFile

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from srlm.config import Config
    from srlm.engines.base import Engine
    from srlm.reporter import Reporter

Result = dict[str, Any]


class Task(Protocol):
    """One generating stage: its name in the manifest, and its work with a loaded engine."""

    @property
    def name(self) -> str:
        """The stage's name in the manifest."""

    @property
    def file(self) -> Path:
        """The file that it appends to."""

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """Do the work and return what the manifest keeps."""


@dataclass(frozen=True, slots=True)
class PromptsTask:
    """Write new prompts."""

    name: str
    ift: Path
    file: Path
    dropped_file: Path

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        from srlm import prompts
        from srlm import seed as seed_stage

        seeds = seed_stage.seed_prompts(read_rows(self.ift, Example))
        prompts.write_prompts(
            engine, seeds, self.file, self.dropped_file, prompts=config.prompts, seed=seed, report=report
        )
        return {"rows": count_lines(self.file)}


@dataclass(frozen=True, slots=True)
class CandidatesTask:
    """Answer prompts."""

    name: str
    prompts: Path
    file: Path

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        from srlm import candidates

        rows = RowFile(self.prompts, Prompt)
        candidates.write_candidates(engine, rows, self.file, candidates=config.candidates, seed=seed, report=report)
        return {"rows": count_lines(self.file)}


@dataclass(frozen=True, slots=True)
class VerdictsTask:
    """Judge candidates."""

    name: str
    prompts: Path
    candidates: Path
    file: Path

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        from srlm import judge

        prompts, candidates = RowFile(self.prompts, Prompt), RowFile(self.candidates, Candidate)
        judge.write_verdicts(engine, prompts, candidates, self.file, judge=config.judge, seed=seed, report=report)
        return {"rows": count_lines(self.file)}


@dataclass(frozen=True, slots=True)
class JudgementsTask:
    """Judge the answers that humans ranked, several times, to build EFT examples from."""

    name: str
    ranked: Path
    file: Path

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        from srlm import eft, judge

        answers = eft.answers_to_judge(read_rows(self.ranked, RankedAnswers))
        sampled = config.judge.model_copy(update={"samples": config.eft.samples})
        judge.judge_answers(
            engine, answers, self.file, judge=sampled, seed=seed, report=report, stage="judgements of ranked answers"
        )
        return {"rows": count_lines(self.file)}


@dataclass(frozen=True, slots=True)
class Generate:
    """Load a model into an engine and do tasks with it."""

    config: Config
    folder: str
    seed: int
    tasks: tuple[Task, ...]
    # By the task's name and the request's key: how often an engine has died while it was at it.
    deaths: dict[str, dict[str, int]] = field(default_factory=dict)

    def run(self, report: Reporter, finish: Finish) -> None:
        """Do the tasks, each reported as soon as it is done."""
        from srlm.engines.guarded import GuardedEngine

        engine = self.load(report)
        try:
            distance = self.check_policy(engine, report)
            for task in self.tasks:
                deaths, longest = self.deaths.get(task.name, {}), self.config.engine.max_model_len
                guarded = GuardedEngine(engine, task.file, deaths, longest, report)
                result = task.run(guarded, self.config, self.seed, report)
                facts = guarded.facts()
                if "failed" in facts:
                    report.note(
                        f"{task.name}: requests without an answer: {facts['failed']}; see {guarded.failed_file}"
                    )
                if distance is not None:
                    facts["policy_distance"] = distance
                finish(task.name, {**result, **facts})
        finally:
            engine.close()

    def load(self, report: Reporter) -> Engine:
        """Load the engine."""
        from srlm.engines import choose

        return choose.load(self.folder, self.config.model, self.config.engine, report)

    def check_policy(self, engine: Engine, report: Reporter) -> float | None:
        """See `policy_check.check`."""
        from srlm import policy_check
        from srlm.engines import choose

        config = self.config
        if config.engine.policy_check == "off" or not policy_check.is_kept(self.folder):
            return None
        dtype = str(choose.weights_dtype(config.engine)).removeprefix("torch.")
        if lost := policy_check.lost_by_rounding(self.folder, dtype):
            report.note(lost)
        try:
            return policy_check.check(engine, self.folder, dtype, config.engine.max_model_len)
        except StageError as error:
            if config.engine.policy_check == "stop":
                raise
            report.note(str(error))
            return None


@dataclass(frozen=True, slots=True)
class Train:
    """Train a model: `kind` is sft or dpo, `data` its rows (for sft several files)."""

    name: str
    kind: str
    config: Config
    base: str
    target: Path
    metrics: Path
    data: tuple[Path, ...]
    card: dict[str, str] = field(default_factory=dict)
    pause_at: int | None = None  # train to this optimizer step only, and save what there is at `pause_to`
    pause_to: Path | None = None

    def run(self, report: Reporter, finish: Finish) -> None:
        """Train and save."""
        from srlm import training

        config = self.config
        job = training.Job(
            base=self.base,
            target=self.target,
            metrics=self.metrics,
            model=config.model,
            seed=config.seed,
            processes=config.launch.processes,
            card=self.card,
            pause_at=self.pause_at,
            pause_to=self.pause_to,
            save_steps=config.sft.save_steps if self.kind == "sft" else config.dpo.save_steps,
        )
        if self.kind == "sft":
            from srlm.sft import train_sft

            examples = [row for file in self.data for row in read_rows(file, Example)]
            trained = train_sft(examples, sft=config.sft, job=job, report=report)
        else:
            from srlm.dpo import train_dpo

            pairs = [row for file in self.data for row in read_rows(file, Pair)]
            trained = train_dpo(pairs, dpo=config.dpo, job=job, report=report)
        facts = asdict(trained)
        to_its_end = facts.pop("finished")  # which is a time in the manifest
        finish(self.name, {**facts, "to_its_end": to_its_end})


@dataclass(frozen=True, slots=True)
class ReadByM1:
    """Let M1 read a sample of a later model's answers, which tells how far that model has moved."""

    name: str
    config: Config
    folder: str
    seed: int
    prompts: Path
    candidates: Path
    file: Path

    def run(self, report: Reporter, finish: Finish) -> None:
        """Read, and take the mean."""
        from srlm import divergence

        prompts, candidates = read_rows(self.prompts, Prompt), RowFile(self.candidates, Candidate)
        divergence.write_readings(
            self.folder, self.config.model, prompts, candidates, self.file, seed=self.seed, report=report
        )
        rows = read_rows(self.file, Reading)
        finish(self.name, {"rows": len(rows), "kl_from_m1": divergence.kl_from_m1(rows)})


@dataclass(frozen=True, slots=True)
class Resolve:
    """Find, convert or download a model's weights; the result is its folder."""

    name: str
    model: str
    revision: str | None

    def run(self, report: Reporter, finish: Finish) -> None:
        """Find the folder."""
        from srlm import models

        report.start(f"model {self.model}", 1)
        finish(self.name, {"folder": models.resolve(self.model, self.revision)})
        report.advance()


class Work(Protocol):
    """A job of a worker: something picklable that is done in a process of its own."""

    def run(self, report: Reporter, finish: Finish) -> None:
        """Do it; every finished stage is passed to `finish`."""


class Finish(Protocol):
    """Told of a finished stage, by name, and what the manifest is to keep of it."""

    def __call__(self, name: str, result: Result, /) -> None:
        """Pass the result on."""


class _Sender:
    """A reporter that sends to the driver; it also passes results on."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def start(self, stage: str, total: int, done: int = 0) -> None:
        self._connection.send(("start", stage, total, done))

    def advance(self, rows: int = 1) -> None:
        self._connection.send(("advance", rows))

    def note(self, text: str) -> None:
        self._connection.send(("note", text))

    def sent(self, key: str) -> None:
        self._connection.send(("sent", key))

    def back(self, key: str) -> None:
        self._connection.send(("back", key))

    def finish(self, name: str, result: Result) -> None:
        self._connection.send(("result", name, result))


class _Mute(SilentReporter):
    """What the other processes of a distributed training report to: nobody."""

    def finish(self, name: str, result: Result) -> None:
        pass


def main(connection: Connection, work: Work, log: Path | None) -> None:
    """Do `work` in this process, which ends with it.

    Ctrl-C is the driver's to handle: it stops its workers itself. A driver that was killed takes its workers with it: a
    next one might write the same files. The process leaves by `os._exit`, because libraries that still hold threads
    would otherwise keep it, and with it the memory.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if log is not None:  # not one of several, which their launcher holds together
        os.setsid()  # what this process starts shares its group, by which the driver sees that all of it has ended
    ending = threading.Event()
    threading.Thread(target=_end_with_driver, args=(connection, ending), name="driver", daemon=True).start()
    if log is not None:
        redirect_output(log)
    faulthandler.enable()
    code = _perform(connection, work, leader=int(os.environ.get("RANK", "0")) == 0)
    ending.set()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _end_with_driver(connection: Connection, ending: threading.Event) -> None:
    """Wait for the driver's end of the connection to close, since nothing else comes through it, and leave at once."""
    wait([connection])
    if not ending.is_set():
        if os.getpgrp() == os.getpid():  # what this process started goes with it
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def _perform(connection: Connection, work: Work, *, leader: bool) -> int:
    sender = _Sender(connection) if leader else _Mute()
    try:
        work.run(sender, sender.finish)
    except (InputError, StageError) as error:
        traceback.print_exc()
        connection.send(("failed", type(error).__name__, str(error)))
    except OSError as error:
        traceback.print_exc()
        connection.send(("failed", "StageError", _disk(error)))
    except EngineError as error:
        traceback.print_exc()
        connection.send(("fault", "engine_error", str(error)))
    except BaseException as error:  # the driver is told of every end, whatever it was
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        connection.send(("fault", "out_of_memory", message) if is_out_of_memory(error) else ("crashed", message))
    else:
        connection.send(("done",))
        return 0
    return 1


def _disk(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return (
        f"{where}{error.strerror or error}; rows written so far are kept: run the same command again once it is mended"
    )


def redirect_output(log: Path) -> None:
    """Send everything this process prints, C libraries included, to the end of `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(target, stream)
    os.close(target)


def launched() -> None:
    """Entry point of a process started by `accelerate launch`: fetch the work from the driver, and do it."""
    from multiprocessing.connection import Client

    connection = Client(sys.argv[1], authkey=bytes.fromhex(os.environ["SRLM_AUTHKEY"]))
    main(connection, connection.recv(), None)


if __name__ == "__main__":
    launched()
