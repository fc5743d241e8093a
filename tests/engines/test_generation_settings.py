"""The transformers engine samples from the configured sampling alone, whatever a model is shipped with."""

import json

import pytest
import torch
from srlm.config import EngineSection, ModelSection
from srlm.engines import factory
from srlm.engines.base import Request, Sampling
from srlm.models import generation, registry
from transformers import AutoConfig, LlamaForCausalLM

from tests.engines.drawing import by_key, requests
from tests.engines.generation_settings import REFUSED, SETTINGS, with_settings

SAMPLINGS = {
    "greedy": Sampling(0.0, 1.0, 16, logprob_token_ids=(22, 280, 5)),
    "sampled": Sampling(0.8, 0.9, 16, logprob_token_ids=(22, 280, 5)),
}
ENGINE = EngineSection(kind="transformers", dtype="float32", max_model_len=512, batch_size=4)


def completions(folder):
    engine = factory.load(folder, ModelSection(name=folder), ENGINE)
    found = {}
    for name, sampling in SAMPLINGS.items():
        for shared in (0, 40):
            found |= {
                (name, shared, key): done for key, done in by_key(engine, requests(sampling, shared=shared)).items()
            }
    engine.close()
    return found


@pytest.fixture(scope="module")
def plain(folder):
    return completions(folder)


@pytest.mark.parametrize("name", [*SETTINGS, *REFUSED])
def test_shipped_settings_change_nothing(folder, plain, tmp_path, name):
    settings = {**SETTINGS, **REFUSED}[name]
    found = completions(with_settings(folder, tmp_path, **settings))
    for key, expected in plain.items():
        done = found[key]
        assert (done.token_ids, done.finish_reason) == (expected.token_ids, expected.finish_reason)
        assert done.logprob == pytest.approx(expected.logprob, abs=1e-3)
        assert torch.tensor(done.requested_logprobs) == pytest.approx(
            torch.tensor(expected.requested_logprobs), abs=1e-3
        )


@pytest.mark.parametrize("settings", [{"repetition_penalty": 1.8}, {"num_beams": 3, "min_length": 40}])
def test_settings_in_the_models_configuration_change_nothing(folder, plain, tmp_path, settings):
    """Where older versions of transformers stored them."""
    copy = with_settings(folder, tmp_path)
    file = tmp_path / "model with settings" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **settings}), encoding="utf-8")
    (tmp_path / "model with settings" / "generation_config.json").unlink()
    found = completions(copy)
    assert {key: done.token_ids for key, done in found.items()} == {key: d.token_ids for key, d in plain.items()}


def test_the_settings_do_change_a_plain_generation(folder, tmp_path):
    """The test above can fail: transformers itself would use them."""
    ids = torch.tensor([requests(SAMPLINGS["greedy"], (20,))[0].prompt_ids])
    found = {}
    for name in (
        "plain",
        "repetition_penalty",
        "no_repeat_ngram_size",
        "suppress_tokens",
        "min_new_tokens",
        "stop_strings",
    ):
        place = folder if name == "plain" else with_settings(folder, tmp_path / name, **SETTINGS[name])
        model = LlamaForCausalLM.from_pretrained(place, dtype=torch.float32)
        tokenizer = registry.load_tokenizer(folder)
        found[name] = model.generate(ids, max_new_tokens=30, tokenizer=tokenizer)[0, 20:].tolist()
    assert all(tokens != found["plain"] for name, tokens in found.items() if name not in ("plain", "min_new_tokens"))


END_TOKENS = [
    ({"eos_token_id": [2, 77]}, [2, 77]),
    ({"eos_token_id": 77}, [2, 77]),
    ({"eos_token_id": None}, [2]),
    ({"eos_token_id": [77, 78], **REFUSED["greedy with a temperature"]}, [2, 77, 78]),
    ({"eos_token_id": [77, "x", None, -1, True], **REFUSED["no new tokens"]}, [2, 77]),
    ({"eos_token_id": "x", **REFUSED["no new tokens"]}, [2]),
]


@pytest.mark.parametrize(("settings", "expected"), END_TOKENS)
def test_end_tokens_are_kept(folder, tiny_tokenizer, tmp_path, settings, expected):
    copy = with_settings(folder, tmp_path, **settings)
    found, _ = generation.load(copy, AutoConfig.from_pretrained(copy))
    assert generation.end_ids(found, tiny_tokenizer) == expected
    engine = factory.load(copy, ModelSection(name=copy), ENGINE)
    assert engine._end_ids == expected
    with torch.no_grad():
        engine._model.lm_head.bias = torch.nn.Parameter(
            50.0 * torch.nn.functional.one_hot(torch.tensor(expected[-1]), len(tiny_tokenizer)).float()
        )
    (done,) = engine.generate([Request("r", (5, 6, 7), Sampling(0.0, 1.0, 9), 1)])
    assert (done.token_ids, done.finish_reason) == ([expected[-1]], "stop")


@pytest.mark.parametrize("content", ["{", "[]", "", '"text"', "\xff"])
def test_a_file_that_is_no_configuration(folder, plain, tmp_path, content):
    copy = with_settings(folder, tmp_path)
    (tmp_path / "model with settings" / "generation_config.json").write_bytes(content.encode("latin-1"))
    found = completions(copy)
    assert {key: done.token_ids for key, done in found.items()} == {key: d.token_ids for key, d in plain.items()}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_settings_do_not_stop_saving(folder, tmp_path, name):
    copy = with_settings(folder, tmp_path, eos_token_id=[2, 77], bos_token_id=0, **REFUSED[name])
    assert generation.refusal(copy, trust=False)
    model = registry.load_model(copy, dtype=torch.float32)
    model.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "generation_config.json").read_text(encoding="utf-8"))
    assert saved["eos_token_id"] == [2, 77]
    assert saved["bos_token_id"] == 0
    assert not saved.keys() & {"temperature", "top_p", "top_k", "length_penalty", "max_new_tokens"}
    assert generation.refusal(str(tmp_path / "saved"), trust=False) is None


def test_accepted_settings_are_saved(folder, tmp_path):
    """A user of the trained model gets what the base model was shipped with."""
    copy = with_settings(folder, tmp_path, repetition_penalty=1.8)
    assert generation.refusal(copy, trust=False) is None
    registry.load_model(copy, dtype=torch.float32).save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "generation_config.json").read_text(encoding="utf-8"))
    assert saved["repetition_penalty"] == 1.8
