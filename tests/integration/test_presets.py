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
}
LETTER = {"answer_pattern": r"(?P<answer>\w)"}  # of a model that answers at random
OWN: dict[str, dict[str, dict[str, Any]]] = {
    "scpo": {"signal": {**LETTER, "min_votes": [0.2, 0.2]}},
    "roirl": {"signal": LETTER},
    "iterative-rpo": {"candidates": {"per_prompt": 24}},
    "sppo": {"eft": {"from": "ranks"}},
    "spin": {"candidates": {"per_prompt": 1}},
    "temporal": {"eft": {"from": "ranks"}, "judge": {"justify": False, "score": "expected"}},
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


@pytest.mark.parametrize("name", ["iterative-rpo", "scpo", "roirl", "cream", "sppo", "dice", "spin", "temporal"])
def test_preset(tiny_model: str, tmp_path: Path, name: str) -> None:
    own = OWN.get(name, {})
    if name == "iterative-rpo":  # a word that a random model says now and then: one letter
        own = {**own, "signal": LETTER}
    file, run = preset(name, tiny_model, tmp_path, **own), tmp_path / "run"
    if name == "iterative-rpo":
        lines = [json.dumps({**row, "answer": "a"}) + "\n" for row in rows(tmp_path / "prompts.jsonl")]
        lines = [json.dumps({key: row[key] for key in ("prompt", "answer")}) + "\n" for row in map(json.loads, lines)]
        (tmp_path / "prompts.jsonl").write_text("".join(lines), encoding="utf-8")
    srlm("run", file, "gates.parse_rate=0.1", "--run-dir", str(run))
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    for t in (2, 3):
        assert manifest[f"m{t}/pairs"]["rows"] > 0
        assert (run / f"m{t}" / "model").is_dir()
    assert "problem" not in srlm("replay", str(run)).stdout
