"""Two seeds and their random controls as one command, on a tiny model with the transformers engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.test_loop import rows, srlm
from tests.integration.test_signals import prepare

pytestmark = pytest.mark.slow

INSTRUCTED = {
    "instruction_id_list": ["length_constraints:number_words"],
    "kwargs": [{"relation": "less than", "num_words": 3}],
}


def read_manifest(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    return found


def write_config(model: str, folder: Path) -> str:
    """A function prefers long answers; a set of instructions is measured, and the judge on held-out answers."""
    file = prepare(model, folder, {"kind": "function", "function": f"{folder}/mine.py:longest"})
    asked = [{"key": number, "prompt": f"Say the number {number}.", **INSTRUCTED} for number in range(8)]
    (folder / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked), encoding="utf-8")
    values = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    values["evaluate"] = {"instructions": str(folder / "asked.jsonl"), "instructions_max_tokens": 8}
    values |= {"seeds": 2, "control": "random", "pairs": {"keep_truncated": True, "max_count": 4}}
    Path(file).write_text(yaml.safe_dump(values), encoding="utf-8")
    return file


def test_two_seeds_with_controls(tiny_model: str, tmp_path: Path) -> None:
    file, out = write_config(tiny_model, tmp_path), tmp_path / "run"
    shown = srlm("run", file, "--run-dir", str(out)).stderr
    names = ["seed-0", "seed-0-control", "seed-1", "seed-1-control"]
    manifests = {name: read_manifest(out / name) for name in names}
    for seed in (0, 1):
        run, control = out / f"seed-{seed}", out / f"seed-{seed}-control"
        own, other = manifests[run.name], manifests[control.name]
        assert set(own) == set(other)
        shared = {name for name, entry in other.items() if "shared_from" in entry}
        assert {"seed/ift", "m0/instructions", "m1/sft", "m1/judge_held_out", "m2/candidates"} <= shared
        assert not {name for name in shared if name.startswith(("m2/", "m3/"))} - {
            "m2/file_prompts",
            "m2/prompts",
            "m2/candidates",
        }
        for name in ("m1/model/model.safetensors", "m2/candidates.jsonl", "m2/prompts.jsonl", "m0/instructions.jsonl"):
            assert (run / name).samefile(control / name)
        for name in ("m2/scores.jsonl", "m2/pairs.jsonl", "m2/model/model.safetensors", "m3/candidates.jsonl"):
            assert not (run / name).samefile(control / name)
        for t in (2, 3):
            assert 0 < other[f"m{t}/pairs"]["rows"] <= own[f"m{t}/pairs"]["rows"] <= 4
        assert rows(run / "m3" / "candidates.jsonl") != rows(control / "m3" / "candidates.jsonl")
    assert not (out / "seed-0" / "m1" / "model" / "model.safetensors").samefile(
        out / "seed-1/m1/model/model.safetensors"
    )
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    last = summary["measures"]["instructions_followed"]["m3"]
    assert {"run", "control", "run_minus_control"} == set(last)
    assert list(last["run"]["change"]["spread"]["by_seed"]) == ["0", "1"]
    assert "M3 against M0, over 2 seeds: " in " ".join(shown.split())
    assert " ".join(summary["conclusion"].split()) in " ".join(shown.split())
    replayed = srlm("replay", str(out)).stdout
    assert "seed-1-control/" in replayed
    assert "WRONG" not in replayed
    assert srlm("status", str(out / "seed-0-control")).stdout.count("done") == len(manifests["seed-0-control"])
    assert "seed-1-control" in srlm("status", str(out)).stdout
    assert "several runs; use one of them" in srlm("redo", str(out), "m2/pairs", code=2).stderr
    srlm("report", str(out / "seed-0-control"))
    assert "M3 against M0" in srlm("report", str(out)).stdout

    before = {path: path.stat().st_mtime_ns for path in out.glob("seed-*/**/*.json*")}
    again = srlm("run", file, "--run-dir", str(out)).stderr
    assert [line for line in again.splitlines() if line.endswith(": finished")] == [
        f"{name}: finished" for name in names
    ]
    assert {path: path.stat().st_mtime_ns for path in before} == before

    srlm("redo", str(out / "seed-1"), "m2/pairs")  # what the control shares stays
    resumed = srlm("run", file, "--run-dir", str(out)).stderr
    assert "seed-0-control: finished" in resumed
    assert "seed-1: finished" not in resumed
    assert read_manifest(out / "seed-1-control")["m2/candidates"] == manifests["seed-1-control"]["m2/candidates"]
