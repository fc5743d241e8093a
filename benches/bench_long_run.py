"""Memory and time of an iteration with N candidates: generation, judging, pairs, replay, report and status.

    python benches/bench_long_run.py [--rows 10000,100000,1000000] [--tokens 200] [--folder /tmp/long] [--out FILE.md]

Each stage runs in its own process, which samples its resident memory (VmRSS of /proc/self/status, so Linux only) five
times per second; the peak is VmHWM. No model is loaded: the engine is scripted, and so is its tokenizer, which returns
the same 400 ids for every prompt. Everything else is the code of `srlm run`. There are four answers per prompt and one
verdict per answer. `again` runs the same stage once more on its finished file, as after an interruption at its end. The
directory is removed at the end unless `--keep` is given.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.connection import Connection

    from srlm.engines.base import Completion, Request

WINDOW = 256  # requests that the engine holds at once; it completes them in another order
PER_PROMPT = 4
JUDGE_TOKENS = 77  # identifies judge requests in the scripted engine
WORDS = [
    "the", "answer", "of", "a", "model", "to", "some", "question", "is", "mostly", "made", "of", "rather",
    "short", "and", "common", "words", "like", "these",
]  # fmt: skip


# --- scripted engine --------------------------------------------------------------------------------------------------


class Tokenizer:
    """Dummy ids."""

    def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
        return {"input_ids": [1, 2]}

    def decode(self, ids: list[int], **_: object) -> str:
        return "    " * len(ids)


class Engine:
    """Generates answers of `tokens` tokens of 4.5 characters, and verdicts of 300 characters with random scores."""

    name = "scripted"
    has_processes = False

    def __init__(self, tokens: int) -> None:
        draw = random.Random(0)
        self.tokenizer: Any = Tokenizer()
        self.sizes: dict[str, list[int]] = {}
        self._tokens = tokens
        self._text = " ".join(draw.choices(WORDS, k=100_000))
        self._ids = draw.choices(range(49_152), k=100_000)

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Completion]:
        """See `srlm.engines.base.Engine.generate`."""
        waiting = iter(requests)
        while group := list(islice(waiting, WINDOW)):
            for request in reversed(group):
                if request is not None:
                    yield self._complete(request)

    def batches(self, requests: list[Request]) -> list[list[Request]]:
        """See `srlm.engines.base.Engine.batches`."""
        return [requests]

    def logprobs(self, token_ids: list[int]) -> list[float]:
        """See `srlm.engines.base.Engine.logprobs`; scripted."""
        return [0.0] * (len(token_ids) - 1)

    def has_failed(self, _key: str) -> bool:
        """See `srlm.engines.base.Engine.has_failed`."""
        return False

    def close(self) -> None:
        """See `srlm.engines.base.Engine.close`."""

    def _complete(self, request: Request) -> Completion:
        from srlm.engines.base import Completion

        at = request.seed % 90_000
        if request.sampling.max_tokens == JUDGE_TOKENS:
            text, ids = f"{self._text[at : at + 290]}\nScore: {request.seed % 6}", self._ids[at : at + 70]
        else:
            text, ids = self._text[at : at + self._tokens * 9 // 2], self._ids[at : at + self._tokens]
        return Completion(request.key, ids, text, -1.5, "stop", [])


# --- stages -----------------------------------------------------------------------------------------------------------


def configured() -> Any:
    from srlm import config

    words = (
        "judge.samples=1",
        f"judge.max_tokens={JUDGE_TOKENS}",
        f"candidates.per_prompt={PER_PROMPT}",
        "iterations=2",
    )
    return config.build({"model": {"name": "scripted"}}, words)


def make_prompts(run: Path, rows: int, _: int) -> None:
    """Write the input of the stages."""
    from srlm.rows.records import Prompt, RowWriter, content_id
    from srlm.run.run_dir import RunDir

    opened, draw = RunDir.open(run, configured()), random.Random(0)
    with RowWriter(opened.file(2, "prompts.jsonl")) as writer:
        for number in range(rows // PER_PROMPT):
            text = f"{number}: {' '.join(draw.choices(WORDS, k=20))}?"
            parents = [content_id(number, place) for place in range(8)]
            writer.write(Prompt(content_id("prompt", text), text, "generated", parents, number))


def generate(run: Path, name: str, tokens: int) -> None:
    """Run a generation stage as a worker does."""
    from srlm.engines.fault_tolerant import FaultTolerantEngine
    from srlm.models import chat
    from srlm.reporter import SilentReporter
    from srlm.run.stage_runner import data_seed
    from srlm.workers.tasks import CandidatesTask, VerdictsTask

    chat.prompt_ids = lambda *_: tuple(range(400))
    prompts, candidates, verdicts = (run / "m2" / f"{some}.jsonl" for some in ("prompts", "candidates", "verdicts"))
    config = configured()
    task = (
        CandidatesTask("m2/candidates", prompts, candidates)
        if name == "candidates"
        else VerdictsTask("m2/verdicts", prompts, candidates, verdicts)
    )
    report = SilentReporter()
    engine = FaultTolerantEngine(Engine(tokens), task.name, task.file, {}, config.engine.length, report)
    print(name, task.run(engine, config, data_seed(config, 2), report), flush=True)


def make_pairs(run: Path, rows: int, _: int) -> None:
    """Build pairs as the driver does, with the earlier stages marked as finished."""
    from srlm.loop import Loop
    from srlm.reporter import SilentReporter
    from srlm.run.run_dir import RunDir
    from srlm.run.stage_runner import StageRunner
    from srlm.workers.launcher import Launcher

    opened = RunDir(run)
    for name in ("candidates", "verdicts"):
        opened.finish(f"m2/{name}", {"cache_key": "key", "input_hashes": {}}, 0.0, {"rows": rows})
    report = SilentReporter()
    launcher = Launcher(opened.log_file, report, configured())  # starts nothing here
    Loop(StageRunner(configured(), opened, launcher, report)).build_pairs(2)
    print("pairs", (opened.entry("m2/pairs") or {})["rows"], flush=True)


def check_run(run: Path, _: int, __: int) -> None:
    """Replay the run."""
    from srlm.replay import problem_lines, replay

    print("replay", problem_lines(replay(run)), flush=True)


def write_page(run: Path, _: int, __: int) -> None:
    """Write the report."""
    from srlm.report.page import write_report

    write_report(run)


STAGES: dict[str, Callable[[Path, int, int], None]] = {
    "prompts": make_prompts,
    "candidates": lambda run, _, tokens: generate(run, "candidates", tokens),
    "candidates again": lambda run, _, tokens: generate(run, "candidates", tokens),
    "verdicts": lambda run, _, tokens: generate(run, "verdicts", tokens),
    "verdicts again": lambda run, _, tokens: generate(run, "verdicts", tokens),
    "pairs": make_pairs,
    "replay": check_run,
    "report": write_page,
}


# --- measurement ------------------------------------------------------------------------------------------------------


def memory(key: str) -> float:
    """Return the memory of this process in MB: VmRSS (current) or VmHWM (peak)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(key)


def run_measured(connection: Connection, stage: str, run: Path, rows: int, tokens: int) -> None:
    """Run a stage in this process and send its time and memory."""
    for name in ("loop", "replay"):  # so that the first sample includes the common imports
        importlib.import_module(f"srlm.{name}")
    samples, ended, began = [memory("VmRSS")], threading.Event(), time.monotonic()

    def sample() -> None:
        while not ended.wait(0.2):
            samples.append(memory("VmRSS"))

    threading.Thread(target=sample, daemon=True).start()
    STAGES[stage](run, rows, tokens)
    seconds = time.monotonic() - began
    ended.set()
    samples.append(memory("VmRSS"))
    connection.send({"seconds": seconds, "peak": memory("VmHWM"), "samples": samples})


def run_in_process(stage: str, run: Path, rows: int, tokens: int) -> dict[str, Any]:
    """Run a stage in its own process."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=run_measured, args=(sending, stage, run, rows, tokens))
    process.start()
    sending.close()
    try:
        return receiving.recv()
    except EOFError:
        raise SystemExit(f"{stage} failed") from None
    finally:
        process.join()


def status_seconds(run: Path) -> float:
    """Return the time of `srlm status` in seconds, the best of three."""
    times = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "srlm.cli", "status", str(run)], check=True, stdout=subprocess.DEVNULL)
        times.append(time.monotonic() - began)
    return min(times)


def status_lines(run: Path, rows: int) -> Iterator[str]:
    """Time the status of a run without candidates and verdicts in its manifest."""
    (run / "manifest.json").unlink()
    gigabytes = sum((run / "m2" / f"{name}.jsonl").stat().st_size for name in ("candidates", "verdicts")) / 1e9
    yield f"| {rows:,} | status, all lines counted ({gigabytes:.2f} GB) | {status_seconds(run):.2f} | | |"
    try:
        from srlm import progress
    except ImportError:
        return
    for name in ("candidates", "verdicts"):
        file = run / "m2" / f"{name}.jsonl"
        progress.write_count(file, file.stat().st_size, rows)
    yield f"| {rows:,} | status, with the counts of running stages | {status_seconds(run):.2f} | | |"


def memory_over_time(samples: list[float]) -> str:
    """Return the memory at the start, after each quarter of the time, and at the end."""
    return " / ".join(f"{samples[round(part * (len(samples) - 1) / 4)]:.0f}" for part in range(5))


def report(options: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| candidates | stage | seconds | peak MB | MB at 0, 25, 50, 75, 100 % of the time |"
    yield "|---:|---|---:|---:|---|"
    for rows in options.rows:
        run = options.folder / str(rows)
        shutil.rmtree(run, ignore_errors=True)
        for stage in STAGES:
            if stage in options.leave_out:
                continue
            found = run_in_process(stage, run, rows, options.tokens)
            over_time = memory_over_time(found["samples"])
            line = f"| {rows:,} | {stage} | {found['seconds']:.1f} | {found['peak']:.0f} | {over_time} |"
            if stage != "prompts":
                yield line
        yield from status_lines(run, rows)
        if not options.keep:
            shutil.rmtree(run)


def main() -> None:
    """Print the table line by line, and write it to `--out`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="10000,100000,1000000", help="numbers of candidates, comma-separated")
    parser.add_argument("--tokens", type=int, default=200, help="tokens per answer")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "srlm-long-run")
    parser.add_argument("--leave-out", default="", help="stages to skip, comma-separated")
    parser.add_argument("--keep", action="store_true", help="keep the files")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    options.rows = [int(text) for text in options.rows.split(",")]
    options.leave_out = options.leave_out.split(",")
    lines = []
    for line in report(options):
        print(line, flush=True)
        lines.append(line)
    if options.out is not None:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
