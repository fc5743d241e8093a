"""The whole loop with signals other than the judge, on a tiny model with the transformers engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.integration.test_loop import config, rows, srlm

pytestmark = pytest.mark.slow

SOURCE = """
def longest(prompt, answers):
    assert prompt["answer"] is not None
    return [len(answer) for answer in answers]
"""
WORDS = ("tea", "sun", "map", "ice", "owl", "red", "two", "sky", "cat", "dog", "hat", "pea")


def prepare(model: str, folder: Path, signal: dict[str, object], **sections: dict[str, object]) -> str:
    """Write a configuration with prompts from a file, and return its name."""
    file = config(model, folder, "transformers")
    values = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    few_words = {"instruction_id_list": ["length_constraints:number_words"]}
    few_words |= {"kwargs": [{"relation": "less than", "num_words": 3}]}
    given = [{"prompt": f"Say the word {word} once.", "answer": word, **few_words} for word in WORDS]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    (folder / "mine.py").write_text(SOURCE, encoding="utf-8")
    values["prompts"] |= {"source": "files", "files": [str(folder / "prompts.jsonl")], "count": 6}
    values["candidates"]["per_prompt"] = 6
    values |= {"signal": signal, "iterations": 3, **sections}
    Path(file).write_text(yaml.safe_dump(values), encoding="utf-8")
    return file


def test_the_whole_loop(tiny_model: str, tmp_path: Path) -> None:
    """With a function; the configurations of papers (`test_presets.py`) run the loop with other signals."""
    signal = {"kind": "function", "function": f"{tmp_path}/mine.py:longest"}
    file, run = prepare(tiny_model, tmp_path, signal), tmp_path / "run"
    srlm("run", file, "head_to_head.justify=false", "--run-dir", str(run))
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    prompts = [[row["id"] for row in rows(run / f"m{t}" / "prompts.jsonl")] for t in (2, 3)]
    assert [len(some) for some in prompts] == [6, 6]
    assert not set(prompts[0]) & set(prompts[1])
    for t in (2, 3):
        assert manifest[f"m{t}/scores"]["rows"] == 36
        assert manifest[f"m{t}/scores"]["rows"] == len(rows(run / f"m{t}" / "scores.jsonl"))
        found = manifest[f"m{t}/pairs"]["verdicts"]
        assert sum(found.values()) == 36
        assert found["missing"] == 0
        assert len(rows(run / f"m{t}" / "pairs.jsonl")) == manifest[f"m{t}/pairs"]["rows"] > 0
        assert not (run / f"m{t}" / "verdicts.jsonl").exists()
        assert (run / f"m{t}" / "model").is_dir()
    assert "recomputed" not in srlm("run", file, "head_to_head.justify=false", "--run-dir", str(run)).stderr
    assert srlm("status", str(run)).stdout.count("done") == len(manifest)
    replayed = srlm("replay", str(run)).stdout
    assert "scores.jsonl: derived again" in replayed
    assert (run / "report.html").exists()


def test_rules_winners_and_self_written_prompts(tiny_model: str, tmp_path: Path) -> None:
    """Half of the prompts are self-written, get no score by rules, and give no training rows."""
    file, run = prepare(tiny_model, tmp_path, {"kind": "rules"}, train={"kind": "sft"}), tmp_path / "run"
    lines = [
        json.dumps({name: value for name, value in row.items() if name != "answer"}) + "\n"
        for row in rows(tmp_path / "prompts.jsonl")
    ]
    (tmp_path / "prompts.jsonl").write_text("".join(lines), encoding="utf-8")
    words = ("prompts.self_instruct_share=0.5", "iterations=2", "gates.parse_rate=0.2", "candidates.per_prompt=24")
    srlm("run", file, *words, "--run-dir", str(run))
    prompts = {row["id"]: row["source"] for row in rows(run / "m2" / "prompts.jsonl")}
    assert sorted(prompts.values()) == ["file"] * 3 + ["generated"] * 3
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["m2/pairs"]["verdicts"] == {"scored": 72, "missing": 72}
    scores = {row["candidate_id"]: row["score"] for row in rows(run / "m2" / "scores.jsonl")}
    sources = {row["id"]: prompts[row["prompt_id"]] for row in rows(run / "m2" / "candidates.jsonl")}
    assert {(sources[name], score is None) for name, score in scores.items()} == {("file", False), ("generated", True)}
    assert "m2/sft" in manifest
    assert len(rows(run / "m2" / "positives.jsonl")) == manifest["m2/pairs"]["rows"] > 0


def test_a_changed_function_scores_again_and_samples_nothing(tiny_model: str, tmp_path: Path) -> None:
    function = f"{tmp_path}/mine.py:longest"
    file, run = prepare(tiny_model, tmp_path, {"kind": "function", "function": function}), tmp_path / "run"
    srlm("run", file, "iterations=2", "--run-dir", str(run))
    (tmp_path / "mine.py").write_text(SOURCE.replace("len(", "-len("), encoding="utf-8")
    again = srlm("run", file, "iterations=2", "--run-dir", str(run)).stderr
    assert "m2/scores: recomputed because signal.function's source changed" in again
    assert "candidates:" not in again
    failing = SOURCE.replace("is not None", "is None")
    (tmp_path / "mine.py").write_text(failing, encoding="utf-8")
    failed = srlm("run", file, "iterations=2", "--run-dir", str(run), code=2).stderr
    assert "signal.function" in failed
    assert "raised AssertionError" in failed


def test_a_missing_column_is_found_before_the_run(tiny_model: str, tmp_path: Path) -> None:
    file = prepare(tiny_model, tmp_path, {"kind": "rules"})
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Hello there"}\n', encoding="utf-8")
    failed = srlm("run", file, "--run-dir", str(tmp_path / "run"), code=2).stderr
    assert "has neither the column 'instruction_id_list' (with 'kwargs') nor 'answer'" in failed
    assert not (tmp_path / "run").exists()
