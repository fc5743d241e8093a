"""SFT and DPO on one and two processes take the same steps, whatever the micro-batch size is.

Seven rows of very different lengths in steps of four: accelerate fills up the last step of each epoch with rows from
its beginning, which must not count.
"""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from srlm.rows.records import write_rows

from tests.training.test_step_totals import EXAMPLES, PAIRS

pytestmark = pytest.mark.slow

SETTINGS = {"batch_size": 4, "dropout": 0, "learning_rate": 1e-3, "epochs": 2, "max_grad_norm": 1e9}


def train(kind, model, folder, micro, processes):
    """Train with the command line, and return the weights and the loss of each step."""
    rows, option = (EXAMPLES, "--data") if kind == "sft" else (PAIRS, "--pairs")
    write_rows(folder / "rows.jsonl", rows)
    out = folder / f"{kind}-{micro}-{processes}"
    words = [f"{kind}.{name}={value}" for name, value in {**SETTINGS, "micro_batch_size": micro}.items()]
    command = [kind, "--model", model, option, str(folder / "rows.jsonl"), "--out", str(out), *words]
    subprocess.run([sys.executable, "-m", "srlm.cli", *command, f"launch.processes={processes}"], check=True)
    lines = out.with_name(f"{out.name}.metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return load_file(out / "model.safetensors"), [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_the_same_steps(tiny_model, tmp_path, kind):
    weights, losses = train(kind, tiny_model, tmp_path, 1, 1)
    before = load_file(f"{tiny_model}/model.safetensors")
    change = max(float((weights[name] - before[name]).abs().max()) for name in weights)
    for micro in (1, 2):
        found, steps = train(kind, tiny_model, tmp_path, micro, 2)
        assert steps == pytest.approx(losses, abs=1e-4)
        for name, expected in weights.items():
            assert torch.allclose(found[name], expected, atol=0.01 * change, rtol=0), name
