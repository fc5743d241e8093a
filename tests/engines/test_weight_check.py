"""Whether an engine holds the weights that were trained: what is kept, what passes, and stale weights."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from srlm import config as configuration
from srlm.config import ModelSection
from srlm.engines import weight_check
from srlm.engines.transformers import TransformersEngine
from srlm.errors import StageError
from srlm.models import registry
from srlm.training import saving
from srlm.workers.jobs import Generate

from tests.scripted import Recorder, ScriptedEngine
from tests.training.trials import Trial

CONFIG = configuration.build({"model": {"name": "tiny"}, "engine": {"kind": "transformers"}})


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    """A model that was trained by SFT, and one trained on from it by DPO, both with adapters merged or without."""
    folder = tmp_path_factory.mktemp("trained")
    sft = Trial(folder / "sft", tiny_model).sft(learning_rate=3e-3, dropout=0.2)
    dpo = Trial(folder / "dpo", str(sft.job.target)).dpo(learning_rate=1e-3, dropout=0.2)
    lora = Trial(folder / "lora", tiny_model).sft(learning_rate=3e-3, lora={"rank": 4}, dropout=0.2)
    return {"sft": sft.job.target, "dpo": dpo.job.target, "lora": lora.job.target}


def load(folder, dtype=torch.float32):
    tokenizer = registry.load_tokenizer(str(folder), ModelSection(name="tiny"))
    return TransformersEngine(registry.load_model(str(folder), dtype=dtype), tokenizer, CONFIG.engine)


@pytest.mark.parametrize("kind", ["sft", "dpo", "lora"])
def test_an_engine_reads_as_the_trainer_did(trained, kind):
    distance = weight_check.check(load(trained[kind]), str(trained[kind]), "float32")
    assert 0 <= distance < 1e-5


def test_it_also_does_in_bfloat16(trained):
    distance = weight_check.check(load(trained["sft"], torch.bfloat16), str(trained["sft"]), "bfloat16")
    assert 1e-5 < distance < weight_check.TOLERANCE["bfloat16"]


@pytest.mark.parametrize("steps", [1, 12])
def test_a_training_that_bfloat16_rounds_away_is_no_stale_one(tiny_model, tmp_path, steps):
    """Published weights lie on bfloat16's grid, and a small step ends nearer to the old point than to the next."""
    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    registry.load_model(tiny_model, dtype=torch.bfloat16).save_pretrained(base)
    first = Trial(tmp_path / "first", str(base)).sft(learning_rate=1e-6, min_learning_rate=1e-6, max_steps=steps)
    second = Trial(tmp_path / "second", str(first.job.target)).dpo(learning_rate=1e-6, max_steps=1)
    for done in (first, second):
        weight_check.check(load(done.job.target, torch.bfloat16), str(done.job.target), "bfloat16")
    said = weight_check.lost_by_rounding(str(second.job.target), "bfloat16")
    assert said is not None
    assert "rounding to bfloat16 takes most of what this training changed" in said
    assert weight_check.lost_by_rounding(str(second.job.target), "float32") is None
    assert weight_check.lost_by_rounding(str(first.job.target), "bfloat16") is None  # the base has no reading


def test_a_training_that_is_left_by_rounding_is_not_said_to_be_lost(trained):
    assert weight_check.lost_by_rounding(str(trained["dpo"]), "bfloat16") is None


def test_a_worker_says_what_rounding_takes(trained, monkeypatch):
    config = configuration.build({"model": {"name": "tiny"}, "engine": {"kind": "transformers", "dtype": "bfloat16"}})
    work, report = Generate(config, str(trained["dpo"]), 0, ()), Recorder()
    monkeypatch.setattr(weight_check, "LEAST_LEFT", math.inf)
    work.check_policy(load(trained["dpo"], torch.bfloat16), report)
    (note,) = report.notes
    assert note.startswith(f"{trained['dpo']}: rounding to bfloat16 takes most of what this training changed: ")


@pytest.mark.parametrize(("wanted", "held"), [("sft", "base"), ("dpo", "sft"), ("lora", "base"), ("sft", "dpo")])
def test_stale_weights_are_caught(trained, tiny_model, wanted, held):
    """The engine has the weights of the model before, as one that was not loaded anew would."""
    stale = tiny_model if held == "base" else trained[held]
    with pytest.raises(
        StageError, match=r"transformers: it does not hold the weights that were trained: .* nats a token"
    ):
        weight_check.check(load(stale), str(trained[wanted]), "float32")


def test_a_worker_stops_before_its_first_request(trained, tiny_model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(trained["sft"], folder)
    shutil.copy(Path(tiny_model) / "model.safetensors", folder / "model.safetensors")
    finished = {}
    with pytest.raises(StageError, match="does not hold the weights"):
        Generate(CONFIG, str(folder), 0, ()).run(Recorder(), finished.__setitem__)


def test_a_training_whose_weights_were_broken_on_the_disk(trained, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(trained["sft"], folder)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "down_proj" in name)
    weights[name] = torch.zeros_like(weights[name])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(StageError, match="does not hold the weights"):
        weight_check.check(load(folder), str(folder), "float32")


def test_a_model_from_elsewhere_has_nothing_to_be_held_against(tiny_model):
    work = Generate(CONFIG, tiny_model, 0, ())
    assert work.check_policy(load(tiny_model), Recorder()) is None


def test_what_is_no_number_is_no_agreement(trained, tiny_tokenizer):
    class Broken(ScriptedEngine):
        def logprobs(self, token_ids):
            return [math.nan] * (len(token_ids) - 1)

    with pytest.raises(StageError, match="scripted: it does not hold"):
        weight_check.check(Broken(tiny_tokenizer, str), str(trained["sft"]), "bfloat16")


def test_what_is_kept(trained, tiny_tokenizer):
    kept = json.loads((trained["sft"] / weight_check.FILE).read_text(encoding="utf-8"))
    assert kept["token_ids"] == weight_check.token_ids(tiny_tokenizer, 5000)
    assert len(kept["token_ids"]) == weight_check.MOST_TOKENS
    assert len(kept["float32"]) == len(kept["bfloat16"]) == weight_check.MOST_TOKENS - 1
    assert kept["before"] is None  # the base is from elsewhere
    assert all(value < 0 for value in kept["float32"])
    assert 0 < weight_check.mean_distance(kept["float32"], kept["bfloat16"]) < weight_check.TOLERANCE["bfloat16"]


def test_what_was_before_a_dpo_is_what_the_sft_left(trained):
    sft, dpo = (json.loads((trained[name] / weight_check.FILE).read_text(encoding="utf-8")) for name in ("sft", "dpo"))
    assert dpo["before"] == {name: sft[name] for name in ("float32", "bfloat16")}


def test_it_is_no_part_of_a_models_identity(trained, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(trained["sft"], folder)
    before = registry.weights_hash(str(folder))
    (folder / weight_check.FILE).unlink()
    assert registry.weights_hash(str(folder)) == before


def test_weights_that_are_not_those_of_the_trainer_are_not_saved(tiny_model, tmp_path, monkeypatch):
    """As a save of shards, or a merge, that went wrong would leave them."""
    done = Trial(tmp_path / "run", tiny_model)
    monkeypatch.setattr(
        saving, "_write_weights", lambda _trainer, folder, **_: shutil.copytree(tiny_model, folder, dirs_exist_ok=True)
    )
    with pytest.raises(StageError, match="the weights that were saved are not those that were trained"):
        done.sft(learning_rate=3e-3)
    assert not done.job.target.exists()


def test_a_pause_has_a_reading_too(tiny_model, tmp_path):
    folder = tmp_path / "paused" / "model"
    Trial(tmp_path / "run", tiny_model, pause_at=1, pause_to=folder).sft(learning_rate=3e-3)
    assert weight_check.check(load(folder), str(folder), "float32") < 1e-5


def test_a_check_may_warn_or_be_left_out(trained, tiny_model):
    report, stale = Recorder(), load(tiny_model)
    for how in ("warn", "off"):
        config = configuration.build({"model": {"name": "tiny"}, "engine": {"policy_check": how}})
        assert Generate(config, str(trained["sft"]), 0, ()).check_policy(stale, report) is None
    (note,) = report.notes
    assert "does not hold the weights" in note


@pytest.mark.parametrize("stale", [False, True])
def test_in_a_coarse_type_the_direction_tells(trained, tmp_path, stale):
    """A training that changed less than bfloat16 rounds, seen all the same."""
    done = Trial(tmp_path / "little", str(trained["sft"])).dpo(learning_rate=1e-4, epochs=2.0)
    kept = json.loads((done.job.target / weight_check.FILE).read_text(encoding="utf-8"))
    changed = weight_check.mean_distance(kept["before"]["float32"], kept["float32"])
    held = load(trained["sft"] if stale else done.job.target, torch.bfloat16)
    assert changed < weight_check.TOLERANCE["bfloat16"] / 2
    if stale:
        with pytest.raises(StageError, match=r"those of the model before: what it reads in a fixed text goes \d+% "):
            weight_check.check(held, str(done.job.target), "bfloat16")
    else:
        assert weight_check.check(held, str(done.job.target), "bfloat16") > 0


def test_a_slope_and_its_error():
    values = [0.5 * x + noise for x, noise in zip((1.0, -2.0, 3.0, -4.0), (0.1, 0.1, -0.1, -0.1), strict=True)]
    found, error = weight_check.slope(values, (1.0, -2.0, 3.0, -4.0))
    assert found == pytest.approx(0.5, abs=0.02)
    assert error == pytest.approx((0.04 / 3 / 30) ** 0.5, rel=0.05)
    assert weight_check.slope([1.0, 2.0], [0.0, 0.0]) == (0.0, math.inf)


def test_an_engine_that_takes_fewer_tokens_reads_as_many_as_it_takes(trained):
    assert weight_check.check(load(trained["sft"]), str(trained["sft"]), "float32", 50) < 1e-5
