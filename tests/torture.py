"""Kill runs of a tiny model at random moments, resume them, and compare the results: `make torture`.

A reference run is not interrupted. Other runs are repeatedly killed with SIGKILL (the driver, its worker, or all
processes at once) and resumed by the same command, until the requested number of kills is reached. Every finished run
must have the rows, pairs and weights of the reference run.
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

from tests.conftest import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

SRLM = (sys.executable, "-m", "srlm.cli")
WORDS = ("tea", "sun", "map", "ice", "owl", "red", "two", "sky")
TARGETS = ("driver", "worker", "all")
# Files whose rows have ids and are in the order in which they were finished.
UNORDERED = (
    "candidates.jsonl",
    "verdicts.jsonl",
    "answers.jsonl",
    "judge_held_out.jsonl",
    "vs_m1.jsonl",
    "vs_m0.jsonl",
)
MAX_STAGES_TO_KILL = 6  # maximum number of stages until the next kill
MAX_DELAYS = (0.1, 2)  # maximum delay of a kill after that, in mean stage durations


@dataclass
class Found:
    """Kills by target and by the last finished stage, the number of finished runs, and of compared rows."""

    kills: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    rows: int = 0


def write_config(model: str, folder: Path) -> Path:
    """Write the configuration of a short run that generates, judges, trains, compares and saves checkpoints."""
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
        "sft": {
            "learning_rate": 5e-3,
            "min_learning_rate": 1e-3,
            "epochs": 6,
            "batch_size": 8,
            "ranking_weight": 0.0,  # six epochs of a random model suffice for formats, not for ranks beside them
            **training,
        },
        "dpo": {"learning_rate": 1e-4, "min_learning_rate": 1e-5, "batch_size": 2, **training, "save_steps": 1},
        "engine": {"kind": "transformers", "max_model_len": 2048, "batch_size": 4},
        "prompts": {
            "count": 8, "max_tokens": 24, "round_size": 4, "max_rouge_l": 1.0, "min_words": 1, "temperature": 2.0,
        },
        "candidates": {"per_prompt": 4, "max_tokens": 16, "temperature": 1.0},
        "judge": {"justify": False, "score": "expected", "prompt_file": str(folder / "judge.txt")},
        "pairs": {"keep_truncated": True},
        "head_to_head": {"prompts": 3, "by": "pointwise"},
    }  # fmt: skip
    file = folder / "torture.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return file


def torture(model: str, folder: Path, kills: int, seed: int) -> Found:
    """Kill runs `kills` times in total, and compare each finished run with the reference run.

    Raises:
        AssertionError: a run could not be resumed, or has other results.
    """
    file, reference, found, rng = write_config(model, folder), folder / "reference", Found(), random.Random(seed)
    began = time.monotonic()
    _finish(start(file, reference), reference)
    stages = len(done_stages(reference))
    mean_seconds = (time.monotonic() - began) / stages
    while found.kills.total() < kills:
        run = folder / f"run{found.runs}"
        process = start(file, run)
        while found.kills.total() < kills and len(done_stages(run)) < stages:
            # After some more stages or in the current one; then at any moment of a short stage, or of a long one.
            if not wait_for(process, run, len(done_stages(run)) + rng.randint(0, MAX_STAGES_TO_KILL)):
                break
            time.sleep(rng.uniform(0, rng.choice(MAX_DELAYS) * mean_seconds))
            if process.poll() is not None:
                break
            found.stages[last_done_stage(run)] += 1
            found.kills[kill(process, rng.choice(TARGETS))] += 1
            if process.poll() is not None:
                process = start(file, run)
        process.wait(HANG_SECONDS)
        _finish(start(file, run), run)
        found.runs += 1
        found.rows += compare(reference, run)
        print(f"{found.kills.total()} kills, {found.runs} runs finished, {found.rows} rows equal", flush=True)
    return found


def wait_for(process: subprocess.Popen[bytes], run: Path, stages: int) -> bool:
    """Wait until `stages` stages are done; False if the command ends before."""
    deadline = time.monotonic() + HANG_SECONDS
    while len(done_stages(run)) < stages:
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline, f"no stage was done in {run} for {HANG_SECONDS} s"
        time.sleep(0.02)
    return process.poll() is None


def start(file: Path, run: Path) -> subprocess.Popen[bytes]:
    """Start or resume the run, in its own process group."""
    with (run.parent / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [*SRLM, "run", str(file), "--run-dir", str(run)],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def kill(process: subprocess.Popen[bytes], target: str) -> str:
    """Kill the driver, its worker, or the driver and all its descendants (also if there is no worker).

    A driver whose worker was killed decides itself whether to start another one or to end.
    """
    below = list(children(process.pid))
    if target == "worker" and below:
        _kill(below[-1])  # the last one is the deepest
        return target
    if target != "driver":
        target = "all"
        for pid in below:
            _kill(pid)
    process.kill()
    process.wait(HANG_SECONDS)
    return target


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def children(pid: int) -> Iterator[int]:
    """Yield the descendants of a process, each after its parent."""
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return
    for child in map(int, below):
        yield child
        yield from children(child)


def done_stages(run: Path) -> list[str]:
    """Return the names of the finished stages; the manifest is written atomically."""
    manifest = run / "manifest.json"
    return list(json.loads(manifest.read_text(encoding="utf-8"))) if manifest.is_file() else []


def last_done_stage(run: Path) -> str:
    """Return the name of the stage that finished last, or "nothing"."""
    return ([*done_stages(run)] or ["nothing"])[-1]


def compare(reference: Path, run: Path) -> int:
    """Compare two finished runs file by file, and return the number of compared rows."""
    names = sorted(
        file.relative_to(reference) for file in reference.rglob("*.jsonl") if file.name not in ("log.jsonl",)
    )
    assert names == sorted(file.relative_to(run) for file in run.rglob("*.jsonl") if file.name not in ("log.jsonl",))
    compared = 0
    for name in names:
        one, other = (_rows(folder / name) for folder in (reference, run))
        assert one == other, f"{run / name} differs from {reference / name}"
        compared += len(one)
    for weights in reference.rglob("*.safetensors"):
        name = weights.relative_to(reference)
        assert (run / name).read_bytes() == weights.read_bytes(), f"{run / name} differs"
    assert not list(run.rglob("*.partial")), "a partly written file was left"
    assert not list(run.rglob("checkpoint-*")), "a checkpoint was left"
    replayed = subprocess.run([*SRLM, "replay", str(run)], capture_output=True, text=True, check=False)
    assert replayed.returncode == 0, replayed.stderr
    return compared


def _rows(file: Path) -> list[Any]:
    lines = file.read_text(encoding="utf-8").split("\n")
    assert lines[-1] == "", f"{file} ends in a torn line"
    if file.name == "metrics.jsonl":  # the last row has the durations of the training
        return [_without_times(json.loads(line)) for line in lines[:-1]]
    return sorted(lines[:-1]) if file.name in UNORDERED else lines[:-1]


def _without_times(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.endswith(("runtime", "per_second"))}


def _finish(process: subprocess.Popen[bytes], run: Path) -> None:
    """Wait until a run has finished without an error."""
    output = run.with_name("output.txt")
    assert process.wait(HANG_SECONDS) == 0, f"a run did not finish: {output.read_text(encoding='utf-8')[-2000:]}"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from tests.tiny import save_tiny_model

    with tempfile.TemporaryDirectory(prefix="srlm-torture-") as name:
        folder = Path(name)
        found = torture(save_tiny_model(folder / "model"), folder, options.kills, options.seed)
    print(f"{found.kills.total()} kills ({dict(found.kills)}), {found.runs} runs finished, {found.rows} rows equal")
    print("last finished stage at each kill:", dict(found.stages.most_common()))


if __name__ == "__main__":
    main()
