"""Kill runs of a tiny model at random moments, go on, and compare what they end with: `make torture`.

One run is left alone. Others are killed by SIGKILL again and again (the driver, its worker, or every process at once)
and each time gone on with by the same command, until as many kills as were asked for have hit. Every one that finishes
must then have the rows, the pairs and the weights of the one that was left alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

SRLM = (sys.executable, "-m", "srlm.cli")
WORDS = ("tea", "sun", "map", "ice", "owl", "red", "two", "sky")
TARGETS = ("driver", "worker", "all")
# Rows that name their content by an id, in whatever order they were finished.
UNORDERED = ("candidates.jsonl", "verdicts.jsonl", "answers.jsonl", "judge_held_out.jsonl", "vs_m1.jsonl")
LONGEST = 600  # seconds that a run may take to its end
AHEAD = 6  # stages, at most, until the next kill
WITHIN = (0.1, 2)  # after so many times the mean time of a stage, at most


@dataclass
class Found:
    """What happened: kills by what was killed and by the last stage done, runs finished, rows compared."""

    kills: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    rows: int = 0


def write_config(model: str, folder: Path) -> Path:
    """Write the configuration of a short run that generates, judges, trains, compares and keeps checkpoints."""
    ift = [{"prompt": f"Say the word {word}.", "response": word} for word in WORDS]
    (folder / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ift), encoding="utf-8")
    (folder / "judge.txt").write_text("Question: {prompt}\nAnswer: {response}\nScore from 0 to 5.", encoding="utf-8")
    training = {"micro_batch_size": 2, "dropout": 0.1, "save_steps": 4}
    values = {
        "name": "torture",
        "iterations": 3,
        "model": {"name": model},
        "seed_data": {"ift": [str(folder / "words.jsonl")], "eft_limit": 24, "valid_fraction": 0.25},
        "eft": {"from": "ranks"},
        "sft": {"learning_rate": 5e-3, "min_learning_rate": 1e-3, "epochs": 6, "batch_size": 8, **training},
        "dpo": {"learning_rate": 1e-4, "min_learning_rate": 1e-5, "batch_size": 2, **training, "save_steps": 1},
        "engine": {"kind": "transformers", "max_model_len": 2048, "batch_size": 4},
        "prompts": {
            "count": 8, "max_tokens": 24, "round_size": 4, "max_rouge_l": 1.0, "min_words": 1, "temperature": 2.0,
        },
        "candidates": {"per_prompt": 4, "max_tokens": 16, "temperature": 1.0},
        "judge": {"justify": False, "score": "expected", "prompt_file": str(folder / "judge.txt")},
        "pairs": {"keep_truncated": True},
        "head_to_head": {"prompts": 3, "by": "scores"},
    }  # fmt: skip
    file = folder / "torture.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return file


def torture(model: str, folder: Path, kills: int, seed: int) -> Found:
    """Kill runs `kills` times in all, and compare each that finishes with one that was left alone.

    Raises:
        AssertionError: a run did not go on, or ended with something else.
    """
    file, calm, found, choose = write_config(model, folder), folder / "calm", Found(), random.Random(seed)
    began = time.monotonic()
    _finish(start(file, calm), calm)
    stages = len(done_stages(calm))
    a_stage = (time.monotonic() - began) / stages
    while found.kills.total() < kills:
        run = folder / f"run{found.runs}"
        process = start(file, run)
        while found.kills.total() < kills and len(done_stages(run)) < stages:
            # Some stages on, or in the one at work; and then at any moment of a short stage, or of a long one.
            if not wait_for(process, run, len(done_stages(run)) + choose.randint(0, AHEAD)):
                break
            time.sleep(choose.uniform(0, choose.choice(WITHIN) * a_stage))
            if process.poll() is not None:
                break
            found.stages[at_work(run)] += 1
            found.kills[kill(process, choose.choice(TARGETS))] += 1
            if process.poll() is not None:
                process = start(file, run)
        process.wait(LONGEST)
        _finish(start(file, run), run)
        found.runs += 1
        found.rows += compare(calm, run)
        print(f"{found.kills.total()} kills, {found.runs} runs finished, {found.rows} rows equal", flush=True)
    return found


def wait_for(process: subprocess.Popen[bytes], run: Path, stages: int) -> bool:
    """Wait until so many stages are done; False if the command ends before."""
    deadline = time.monotonic() + LONGEST
    while len(done_stages(run)) < stages:
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline, f"no stage was done in {run} for {LONGEST} s"
        time.sleep(0.02)
    return process.poll() is None


def start(file: Path, run: Path) -> subprocess.Popen[bytes]:
    """Start the run, or go on with it, in a group of processes of its own."""
    with (run.parent / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [*SRLM, "run", str(file), "--run-dir", str(run)],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def kill(process: subprocess.Popen[bytes], target: str) -> str:
    """Kill the driver, its worker, or both and all that they started; where there is no worker, all.

    A driver whose worker was killed goes on with another one, or ends; that is its own to decide.
    """
    below = list(children(process.pid))
    if target == "worker" and below:
        _kill(below[-1])  # the last to be started is the deepest
        return target
    if target != "driver":
        target = "all"
        for pid in below:
            _kill(pid)
    process.kill()
    process.wait(60)
    return target


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def children(pid: int) -> Iterator[int]:
    """Yield the processes below this one, each after the one that started it."""
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return
    for child in map(int, below):
        yield child
        yield from children(child)


def done_stages(run: Path) -> list[str]:
    """Return the names of the stages that are done; the manifest is only ever there whole."""
    manifest = run / "manifest.json"
    return list(json.loads(manifest.read_text(encoding="utf-8"))) if manifest.is_file() else []


def at_work(run: Path) -> str:
    """Return after which stage a run was."""
    return ([*done_stages(run)] or ["nothing"])[-1]


def compare(calm: Path, run: Path) -> int:
    """Compare two finished runs file by file; returns how many rows were."""
    names = sorted(file.relative_to(calm) for file in calm.rglob("*.jsonl") if file.name not in ("log.jsonl",))
    assert names == sorted(file.relative_to(run) for file in run.rglob("*.jsonl") if file.name not in ("log.jsonl",))
    compared = 0
    for name in names:
        one, other = (_rows(folder / name) for folder in (calm, run))
        assert one == other, f"{run / name} differs from {calm / name}"
        compared += len(one)
    for weights in calm.rglob("*.safetensors"):
        name = weights.relative_to(calm)
        assert (run / name).read_bytes() == weights.read_bytes(), f"{run / name} differs"
    assert not list(run.rglob("*.partial")), "a file was left half written"
    assert not list(run.rglob("checkpoint-*")), "a checkpoint was left"
    replayed = subprocess.run([*SRLM, "replay", str(run)], capture_output=True, text=True, check=False)
    assert replayed.returncode == 0, replayed.stderr
    return compared


def _rows(file: Path) -> list[Any]:
    lines = file.read_text(encoding="utf-8").split("\n")
    assert lines[-1] == "", f"{file} ends in a torn line"
    if file.name == "metrics.jsonl":  # the last row has the times of the training
        return [_without_times(json.loads(line)) for line in lines[:-1]]
    return sorted(lines[:-1]) if file.name in UNORDERED else lines[:-1]


def _without_times(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.endswith(("runtime", "per_second"))}


def _finish(process: subprocess.Popen[bytes], run: Path) -> None:
    """Wait for a run's end: the one that was left alone, or a finished one, of which nothing is done again."""
    said = run.with_name("output.txt")
    assert process.wait(LONGEST) == 0, f"a run did not go on to its end: {said.read_text(encoding='utf-8')[-2000:]}"


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from tests.tiny import save_tiny_model

    with tempfile.TemporaryDirectory(prefix="srlm-torture-") as place:
        folder = Path(place)
        found = torture(save_tiny_model(folder / "model"), folder, options.kills, options.seed)
    print(f"{found.kills.total()} kills ({dict(found.kills)}), {found.runs} runs finished, {found.rows} rows equal")
    print("the last stage that was done when killed:", dict(found.stages.most_common()))


if __name__ == "__main__":
    main()
