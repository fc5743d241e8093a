"""The weight check: saved log-probabilities, engines that pass, and stale weights."""

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
    """Models trained by SFT, by DPO from it, and with merged adapters."""
    folder = tmp_path_factory.mktemp("trained")
    sft = Trial(folder / "sft", tiny_model).sft(learning_rate=3e-3, dropout=0.2)
    dpo = Trial(folder / "dpo", str(sft.job.target)).dpo(learning_rate=1e-3, dropout=0.2)
    lora = Trial(folder / "lora", tiny_model).sft(learning_rate=3e-3, lora={"rank": 4}, dropout=0.2)
    return {"sft": sft.job.target, "dpo": dpo.job.target, "lora": lora.job.target}


def load(folder, dtype=torch.float32):
    tokenizer = registry.load_tokenizer(str(folder), ModelSection(name="tiny"))
    return TransformersEngine(registry.load_model(str(folder), dtype=dtype), tokenizer, CONFIG.engine)


@pytest.mark.parametrize("kind", ["sft", "dpo", "lora"])
def test_an_engine_reproduces_the_log_probabilities(trained, kind):
    distance = weight_check.check(load(trained[kind]), str(trained[kind]), "float32")
    assert 0 <= distance < 1e-5


def test_it_reproduces_them_in_bfloat16(trained):
    distance = weight_check.check(load(trained["sft"], torch.bfloat16), str(trained["sft"]), "bfloat16")
    assert 1e-5 < distance < weight_check.TOLERANCE["bfloat16"]


@pytest.mark.parametrize("steps", [1, 12])
def test_a_training_that_bfloat16_rounds_away_passes(tiny_model, tmp_path, steps):
    """Published weights are exact in bfloat16, and a small step rounds back to the old value."""
    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    registry.load_model(tiny_model, dtype=torch.bfloat16).save_pretrained(base)
    first = Trial(tmp_path / "first", str(base)).sft(learning_rate=1e-6, min_learning_rate=1e-6, max_steps=steps)
    second = Trial(tmp_path / "second", str(first.job.target)).dpo(learning_rate=1e-6, max_steps=1)
    for done in (first, second):
        weight_check.check(load(done.job.target, torch.bfloat16), str(done.job.target), "bfloat16")
    said = weight_check.rounding_warning(str(second.job.target), "bfloat16")
    assert said is not None
    assert "rounding to bfloat16 removes most of the change of this training" in said
    assert weight_check.rounding_warning(str(second.job.target), "float32") is None
    assert (
        weight_check.rounding_warning(str(first.job.target), "bfloat16") is None
    )  # the base has no saved log-probabilities


def test_no_warning_if_the_change_survives_rounding(trained):
    assert weight_check.rounding_warning(str(trained["dpo"]), "bfloat16") is None


def test_a_worker_warns_of_rounding(trained, monkeypatch):
    config = configuration.build({"model": {"name": "tiny"}, "engine": {"kind": "transformers", "dtype": "bfloat16"}})
    work, report = Generate(config, str(trained["dpo"]), 0, ()), Recorder()
    monkeypatch.setattr(weight_check, "MIN_SHARE_KEPT", math.inf)
    work.check_weights(load(trained["dpo"], torch.bfloat16), report)
    (note,) = report.notes
    assert note.startswith(f"{trained['dpo']}: rounding to bfloat16 removes most of the change of this training: ")


@pytest.mark.parametrize(("wanted", "held"), [("sft", "base"), ("dpo", "sft"), ("lora", "base"), ("sft", "dpo")])
def test_stale_weights_are_caught(trained, tiny_model, wanted, held):
    """The engine has the weights of the previous model, like one that was not reloaded."""
    stale = tiny_model if held == "base" else trained[held]
    with pytest.raises(StageError, match=r"transformers: it does not hold the trained weights: .* nats per token"):
        weight_check.check(load(stale), str(trained[wanted]), "float32")


def test_a_worker_stops_before_its_first_request(trained, tiny_model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(trained["sft"], folder)
    shutil.copy(Path(tiny_model) / "model.safetensors", folder / "model.safetensors")
    finished = {}
    with pytest.raises(StageError, match="does not hold the trained weights"):
        Generate(CONFIG, str(folder), 0, ()).run(Recorder(), finished.__setitem__)


def test_a_training_whose_weights_were_broken_on_the_disk(trained, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(trained["sft"], folder)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "down_proj" in name)
    weights[name] = torch.zeros_like(weights[name])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(StageError, match="does not hold the trained weights"):
        weight_check.check(load(folder), str(folder), "float32")


def test_an_external_model_is_not_checked(tiny_model):
    work = Generate(CONFIG, tiny_model, 0, ())
    assert work.check_weights(load(tiny_model), Recorder()) is None


def test_nan_fails_the_check(trained, tiny_tokenizer):
    class Broken(ScriptedEngine):
        def logprobs(self, token_ids):
            return [math.nan] * (len(token_ids) - 1)

    with pytest.raises(StageError, match="scripted: it does not hold"):
        weight_check.check(Broken(tiny_tokenizer, str), str(trained["sft"]), "bfloat16")


def test_saved_log_probabilities(trained, tiny_tokenizer):
    kept = json.loads((trained["sft"] / weight_check.FILE).read_text(encoding="utf-8"))
    assert kept["token_ids"] == weight_check.probe_token_ids(tiny_tokenizer, 5000)
    assert len(kept["token_ids"]) == weight_check.MAX_TOKENS
    assert len(kept["float32"]) == len(kept["bfloat16"]) == weight_check.MAX_TOKENS - 1
    assert kept["before"] is None  # the base is an external model
    assert all(value < 0 for value in kept["float32"])
    assert 0 < weight_check.mean_distance(kept["float32"], kept["bfloat16"]) < weight_check.TOLERANCE["bfloat16"]


def test_without_an_engine_that_rounds_there_is_one_reference(tiny_model, tmp_path):
    """An engine in bfloat16, on another machine, is then held against it too, within what rounding explains."""
    first = Trial(tmp_path / "first", tiny_model, probe_dtypes=("float32",)).sft(max_steps=1)
    again = Trial(tmp_path / "again", str(first.job.target)).sft(max_steps=1)
    kept, later = (
        json.loads((trial.job.target / weight_check.FILE).read_text(encoding="utf-8")) for trial in (first, again)
    )
    assert "bfloat16" not in kept
    assert len(kept["token_ids"]) == len(kept["float32"]) + 1 == weight_check.EXACT_TOKENS
    assert later["before"] is None  # it is not known what rounding made of them
    folder = str(first.job.target)
    assert weight_check.check(load(folder, torch.bfloat16), folder, "bfloat16") < weight_check.TOLERANCE["bfloat16"]
    assert weight_check.rounding_warning(folder, "bfloat16") is None


def test_the_previous_log_probabilities_of_dpo_are_those_of_sft(trained):
    sft, dpo = (json.loads((trained[name] / weight_check.FILE).read_text(encoding="utf-8")) for name in ("sft", "dpo"))
    assert dpo["before"] == {name: sft[name] for name in ("float32", "bfloat16")}


def test_it_does_not_change_the_weights_hash(trained, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(trained["sft"], folder)
    before = registry.weights_hash(str(folder))
    (folder / weight_check.FILE).unlink()
    assert registry.weights_hash(str(folder)) == before


def test_weights_that_differ_from_the_trainers_are_not_saved(tiny_model, tmp_path, monkeypatch):
    """Like weights after a broken shard save or adapter merge."""
    done = Trial(tmp_path / "run", tiny_model)
    monkeypatch.setattr(
        saving, "_write_weights", lambda _trainer, folder, **_: shutil.copytree(tiny_model, folder, dirs_exist_ok=True)
    )
    with pytest.raises(StageError, match="the saved weights are not the trained ones"):
        done.sft(learning_rate=3e-3)
    assert not done.job.target.exists()


def test_a_paused_training_has_log_probabilities(tiny_model, tmp_path):
    folder = tmp_path / "paused" / "model"
    Trial(tmp_path / "run", tiny_model, pause_at=1, pause_to=folder).sft(learning_rate=3e-3)
    assert weight_check.check(load(folder), str(folder), "float32") < 1e-5


def test_a_check_may_warn_or_be_off(trained, tiny_model):
    report, stale = Recorder(), load(tiny_model)
    for how in ("warn", "off"):
        config = configuration.build({"model": {"name": "tiny"}, "engine": {"weight_check": how}})
        assert Generate(config, str(trained["sft"]), 0, ()).check_weights(stale, report) is None
    (note,) = report.notes
    assert "does not hold the trained weights" in note


@pytest.mark.parametrize("stale", [False, True])
def test_the_slope_detects_stale_weights_in_bfloat16(trained, tmp_path, stale):
    """A training that changes less than bfloat16 rounding is detected anyway."""
    done = Trial(tmp_path / "little", str(trained["sft"])).dpo(learning_rate=1e-4, epochs=2.0)
    kept = json.loads((done.job.target / weight_check.FILE).read_text(encoding="utf-8"))
    changed = weight_check.mean_distance(kept["before"]["float32"], kept["float32"])
    held = load(trained["sft"] if stale else done.job.target, torch.bfloat16)
    assert changed < weight_check.TOLERANCE["bfloat16"] / 2
    if stale:
        with pytest.raises(StageError, match=r"weights of the previous model instead .* of a fixed text are \d+% "):
            weight_check.check(held, str(done.job.target), "bfloat16")
    else:
        assert weight_check.check(held, str(done.job.target), "bfloat16") > 0


def test_a_slope_and_its_error():
    values = [0.5 * x + noise for x, noise in zip((1.0, -2.0, 3.0, -4.0), (0.1, 0.1, -0.1, -0.1), strict=True)]
    found, error = weight_check.slope(values, (1.0, -2.0, 3.0, -4.0))
    assert found == pytest.approx(0.5, abs=0.02)
    assert error == pytest.approx((0.04 / 3 / 30) ** 0.5, rel=0.05)
    assert weight_check.slope([1.0, 2.0], [0.0, 0.0]) == (0.0, math.inf)


def test_an_engine_with_a_short_context_is_checked_on_fewer_tokens(trained):
    assert weight_check.check(load(trained["sft"]), str(trained["sft"]), "float32", 50) < 1e-5
