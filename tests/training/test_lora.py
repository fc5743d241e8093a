"""LoRA on a tiny model: which weights are trained, and that the adapter is saved merged."""

import pytest
import torch
from srlm.config import LoraSection
from srlm.models import chat

from tests.training.trials import EXAMPLES, PAIRS, token_logps


@pytest.mark.parametrize("kind", ["sft", "dpo"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_lora_is_saved_merged(trial, base, tiny_tokenizer, kind, dropout):
    lora = LoraSection(rank=4, alpha=8)
    settings = {"lora": lora, "learning_rate": 5e-3, "epochs": 4.0, "dropout": dropout}
    done = getattr(trial(), kind)(**settings)
    names = {path.name for path in done.job.target.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert not {name for name in names if "adapter" in name or name.endswith(".bin")}
    merged = done.model
    assert merged.state_dict().keys() == base.state_dict().keys()
    ids = torch.tensor([chat.prompt_ids(tiny_tokenizer, PAIRS[0].prompt)])
    with torch.inference_mode():
        assert (merged(ids).logits - base(ids).logits).abs().max() > 1e-3
    changed = {name for name, w in merged.state_dict().items() if not torch.equal(w, base.state_dict()[name])}
    assert changed == {name for name in base.state_dict() if "_proj" in name}


def test_merged_lora_is_the_model_that_was_trained(trial, tiny_tokenizer):
    """The loss of the saved weights, by hand, is close to the last logged one, which is one small step before."""
    done = trial().sft(EXAMPLES[:4], lora=LoraSection(rank=4, alpha=8), learning_rate=5e-3, epochs=30.0)
    logps = []
    for row in EXAMPLES[:4]:
        prompt = chat.prompt_ids(tiny_tokenizer, row.prompt)
        logps.append(token_logps(done.model, prompt, chat.completion_ids(tiny_tokenizer, row.prompt, row.completion)))
    losses = [entry["loss"] for entry in done.logged]
    assert losses[0] - losses[-1] > 0.5
    assert -torch.cat(logps).mean().item() == pytest.approx(losses[-1], abs=0.05)


def test_lora_on_some_modules(trial, base):
    lora = LoraSection(rank=2, alpha=4, target_modules=["q_proj", "v_proj"])
    merged = trial().sft(lora=lora, learning_rate=5e-3).model.state_dict()
    changed = {name for name, w in base.state_dict().items() if not torch.equal(w, merged[name])}
    assert {name.split(".")[-2] for name in changed} == {"q_proj", "v_proj"}
