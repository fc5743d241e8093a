"""The cache of the reference log-probabilities: its key, and files that are not used."""

import torch
from srlm.models import registry
from srlm.training import reference_logps
from srlm.training.reference_logps import ReferenceLogps

ROWS = [
    {"prompt_ids": [5, 6, 7], "chosen_ids": [8, 2], "rejected_ids": [9, 10, 2]},
    {"prompt_ids": [5], "chosen_ids": [8, 8, 2], "rejected_ids": [2]},
    {"prompt_ids": [7, 7], "chosen_ids": [11], "rejected_ids": [12, 2]},
]


def test_a_file_is_read_for_its_key_only(tmp_path):
    file = tmp_path / "m2" / "reference.safetensors"
    assert reference_logps.read(file, "key", 2) is None
    reference_logps.write(file, "key", ReferenceLogps([-1.5, -2.25], [-3.0, -0.125]))
    assert reference_logps.read(file, "key", 2) == ReferenceLogps([-1.5, -2.25], [-3.0, -0.125])
    assert reference_logps.read(file, "another", 2) is None
    assert reference_logps.read(file, "key", 3) is None
    file.write_bytes(file.read_bytes()[:-3])
    assert reference_logps.read(file, "key", 2) is None
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_key(tmp_path, tiny_model):
    rows = ROWS
    keys = {reference_logps.key_of(tiny_model, rows), reference_logps.key_of(tiny_model, rows[::-1])}
    keys |= {reference_logps.key_of(tiny_model, rows[:2]), reference_logps.key_of(tiny_model, rows, "bf16")}
    moved = [{**rows[0], "prompt_ids": rows[0]["prompt_ids"][:-1],
              "chosen_ids": [rows[0]["prompt_ids"][-1], *rows[0]["chosen_ids"]]}, *rows[1:]]  # fmt: skip
    keys.add(reference_logps.key_of(tiny_model, moved))
    model = registry.load_model(tiny_model, dtype=torch.float32)
    with torch.no_grad():
        model.model.norm.weight[0] += 1e-6
    model.save_pretrained(tmp_path / "other")
    keys.add(reference_logps.key_of(str(tmp_path / "other"), rows))
    assert len(keys) == 6
    assert reference_logps.key_of(tiny_model, rows) in keys
