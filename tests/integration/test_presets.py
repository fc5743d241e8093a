"""The configurations of papers run through the whole loop on a tiny model, with the transformers engine."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.test_loop import rows, srlm
from tests.integration.test_signals import prepare

pytestmark = pytest.mark.slow

# What a tiny model needs to answer within seconds; everything else is the preset's.
SMALL: dict[str, dict[str, Any]] = {
    "sft": {"learning_rate": 5e-3, "min_learning_rate": 1e-3, "epochs": 6, "batch_size": 8, "micro_batch_size": 4},
    "prompts": {"count": 6, "max_tokens": 24, "round_size": 8, "max_rouge_l": 1.0, "min_words": 1, "temperature": 2.0},
    "candidates": {"per_prompt": 4, "max_tokens": 12, "temperature": 1.0, "top_p": 1.0},
    "pairs": {"keep_truncated": True},
    "dpo": {"batch_size": 4, "micro_batch_size": 2},
    "head_to_head": {"justify": False, "prompts": 0},
    "judge": {"max_tokens": 24},
}
UNMEASURED = ("evaluate.base=false", "evaluate.implicit_preferences=false", "evaluate.judge_prompts=1")
LETTER = {"answer_pattern": r"(?P<answer>\w)"}  # of a model that answers at random
OWN: dict[str, dict[str, dict[str, Any]]] = {
    "scpo": {"signal": {**LETTER, "min_votes": [0.2, 0.2]}},
    "roirl": {"signal": LETTER},
    "iterative-rpo": {"candidates": {"per_prompt": 24}},
    "sppo": {"eft": {"from": "ranks"}, "seed_data": {"eft_limit": 6}},
    "spin": {"candidates": {"per_prompt": 1}},
    "temporal": {
        "eft": {"from": "ranks"},
        "seed_data": {"eft_limit": 8},
        "judge": {"justify": False, "score": "expected"},
    },
}


def preset(name: str, model: str, folder: Path, **own: dict[str, Any]) -> str:
    """Write the preset with the settings of a tiny model, and return the file's name."""
    given = yaml.safe_load(Path(prepare(model, folder, {"kind": "random"})).read_text(encoding="utf-8"))
    packaged = resources.files("srlm") / "configs" / f"{name}.yaml"
    values = yaml.safe_load(packaged.read_text(encoding="utf-8"))
    values |= {"model": given["model"], "engine": given["engine"], "iterations": 3}
    values["seed_data"] = {**given["seed_data"], **values.get("seed_data", {})}
    for section, small in {**SMALL, **own}.items():
        values[section] = {**values.get(section, {}), **SMALL.get(section, {}), **small}
    if values["prompts"].get("files") not in (None, ["seed"]):
        values["prompts"]["files"] = given["prompts"]["files"]
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return str(file)


def with_reasons(folder: Path) -> dict[str, dict[str, Any]]:
    """Write judge examples with reasons of one word, and return settings with which a tiny model learns the format."""
    words = ("tea", "sun", "map", "ice", "owl", "red", "two", "sky")
    reasons = ("no", "off", "so", "okay", "good", "best")
    ranked = [
        {
            "prompt": f"Name {word}.",
            "answers": [
                {"text": f"{word} {score}", "score": score, "justification": f"{reasons[score]} {reasons[5 - score]}"}
                for score in (number % 6, (number + 3) % 6, (number + 4) % 6)
            ],
        }
        for number, word in enumerate(words)
    ]
    (folder / "ranked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ranked), encoding="utf-8")
    return {
        "seed_data": {"eft": [str(folder / "ranked.jsonl")]},
        "eft": {"from": "ranks", "max_share": 1.0},
        "sft": {"epochs": 16},
        "judge": {
            "prompt_file": str(folder / "judge.txt"),
            "samples": 4,
            "max_tokens": 24,
            "temperature": 1.0,
            "top_p": 1.0,
        },
    }


def test_meta_rewarding(tiny_model: str, tmp_path: Path) -> None:
    """M1 compares its own judgements, and M2 learns from pairs of them; M3 does not (`judge_data.until`)."""
    own = {**with_reasons(tmp_path), "judge_data": {"justify": False}}
    file, run = preset("meta-rewarding", tiny_model, tmp_path, **own), tmp_path / "run"
    words = ("gates.parse_rate=0.1", "judge_data.until=2", "judge_data.max_share=1.0", *UNMEASURED)
    srlm("run", file, *words, "--run-dir", str(run))
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["m2/judgement_comparisons"]["rows"] == len(rows(run / "m2" / "judgement_comparisons.jsonl")) > 0
    judged, answers = rows(run / "m2" / "judgement_pairs.jsonl"), rows(run / "m2" / "pairs.jsonl")
    assert len(judged) == manifest["m2/judgement_pairs"]["rows"] > 0
    assert manifest["m2/dpo"]["rows"] + manifest["m2/dpo"]["dropped_too_long"] == len(judged) + len(answers)
    assert not [name for name in manifest if name.startswith("m3/judgement")]
    assert manifest["m3/dpo"]["rows"] == manifest["m3/pairs"]["rows"]
    replayed = srlm("replay", str(run)).stdout
    assert "problem" not in replayed
    assert "m2/judgement_pairs.jsonl: derived again" in replayed
    assert srlm("status", str(run), *words).stdout.count("done") == len(manifest)
    again = srlm("run", file, *words, "judge_data.max_judgement_length=20", "--run-dir", str(run)).stderr
    assert "m2/judgement_pairs: recomputed because judge_data.max_judgement_length changed" in again
    assert "judgement comparisons" not in again


def test_self_taught(tiny_model: str, tmp_path: Path) -> None:
    """M1 and M2 modify prompts, answer them and judge both answers; M2 and M3 learn from pairs of judgements."""
    own = {**with_reasons(tmp_path), "judge_data": {"samples": 6, "max_share": 1.0}}
    file, run = preset("self-taught", tiny_model, tmp_path, **own), tmp_path / "run"
    words = ("gates.parse_rate=0.1", "judge.samples=1", *UNMEASURED)
    srlm("run", file, *words, "--run-dir", str(run))
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    for t in (2, 3):
        for name in ("modified_prompts", "modified_answers", "modified_verdicts"):
            assert manifest[f"m{t}/{name}"]["rows"] == len(rows(run / f"m{t}" / f"{name}.jsonl")) > 0
        judged, answers = rows(run / f"m{t}" / "judgement_pairs.jsonl"), rows(run / f"m{t}" / "pairs.jsonl")
        assert len(judged) == manifest[f"m{t}/judgement_pairs"]["rows"]
        assert manifest[f"m{t}/dpo"]["rows"] + manifest[f"m{t}/dpo"]["dropped_too_long"] == len(judged) + len(answers)
    assert manifest["m2/judgement_pairs"]["rows"] > 0
    assert "problem" not in srlm("replay", str(run)).stdout
    assert srlm("status", str(run)).stdout.count("done") == len(manifest)


STAGES = {
    "iterative-rpo": "scores",
    "scpo": "scores",
    "roirl": "scores",
    "cream": "logprobs",
    "sppo": "comparisons",
    "dice": "logprobs",
    "spin": "scores",
    "temporal": "verdicts",
}


@pytest.mark.parametrize("name", STAGES)
def test_preset(tiny_model: str, tmp_path: Path, name: str) -> None:
    own = OWN.get(name, {})
    if name == "iterative-rpo":  # a word that a random model says now and then: one letter
        own = {**own, "signal": LETTER}
    file, run = preset(name, tiny_model, tmp_path, **own), tmp_path / "run"
    if name == "iterative-rpo":
        lines = [json.dumps({**row, "answer": "a"}) + "\n" for row in rows(tmp_path / "prompts.jsonl")]
        lines = [json.dumps({key: row[key] for key in ("prompt", "answer")}) + "\n" for row in map(json.loads, lines)]
        (tmp_path / "prompts.jsonl").write_text("".join(lines), encoding="utf-8")
    srlm("run", file, "gates.parse_rate=0.1", *UNMEASURED, "--run-dir", str(run))
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    for t in (2, 3):
        trained_on = "positives.jsonl" if name == "roirl" else "pairs.jsonl"
        assert len(rows(run / f"m{t}" / trained_on)) == manifest[f"m{t}/pairs"]["rows"] > 0
        assert (run / f"m{t}" / "model").is_dir()
    check_signal(run, STAGES[name], manifest)


def check_signal(run: Path, stage: str, manifest: dict[str, Any]) -> None:
    """Check that the run has the scores of its signal, and that replay and status know them."""
    for t in (2, 3):
        assert manifest[f"m{t}/{stage}"]["rows"] == len(rows(run / f"m{t}" / f"{stage}.jsonl")) > 0
        assert (run / f"m{t}" / "verdicts.jsonl").exists() == (stage == "verdicts")
        assert sum(manifest[f"m{t}/pairs"]["verdicts"].values()) > 0
    replayed = srlm("replay", str(run)).stdout
    assert "problem" not in replayed
    assert f"m2/{stage}.jsonl" in replayed
    assert srlm("status", str(run)).stdout.count("done") == len(manifest)
