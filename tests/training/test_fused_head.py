"""The head that computes a loss in a model's forward pass: unsupported models, and that other calls do not change."""

import copy
import inspect
import math

import pytest
import torch
from srlm.errors import StageError
from srlm.models import registry
from srlm.training.fused_head import add_fused_head, logit_options
from transformers import LlamaForCausalLM, PretrainedConfig


def test_an_unsupported_head(tiny_model):
    """A model with an unknown transform of its logits is an error, not a wrong loss."""

    class Odd(LlamaForCausalLM):
        def forward(self, *args, **kwargs):
            outputs = super().forward(*args, **kwargs)
            outputs.logits = 1.5 * outputs.logits
            return outputs

    with pytest.raises(StageError, match=r"this model \(llama\) computes its logits in an unsupported way"):
        add_fused_head(Odd.from_pretrained(tiny_model))


@pytest.mark.parametrize("masked", [-math.inf, torch.finfo(torch.float32).min])
def test_an_unsupported_head_with_masked_tokens(tiny_model, masked):
    """A huge logit does not widen the tolerance for the others."""

    class Masking(LlamaForCausalLM):
        def forward(self, *args, **kwargs):
            outputs = super().forward(*args, **kwargs)
            outputs.logits = 1.5 * outputs.logits
            outputs.logits[..., 400:] = masked
            return outputs

    with pytest.raises(StageError, match="computes its logits in an unsupported way"):
        add_fused_head(Masking.from_pretrained(tiny_model))


def test_the_model_itself_is_unchanged(tiny_model):
    """Modules keep their mode, the signature that `generate` inspects stays, and a copy uses its own weights."""
    model = registry.load_model(tiny_model, dtype=torch.float32)
    model.train()
    model.model.layers[0].eval()
    before = inspect.signature(model.forward)
    ids = torch.tensor([[5, 6, 7]])
    logits = model(ids).logits
    add_fused_head(model)
    assert inspect.signature(model.forward) == before
    assert model.training
    assert not model.model.layers[0].training
    assert torch.equal(model(ids).logits, logits)
    other = copy.deepcopy(model)
    for weight in other.parameters():
        torch.nn.init.zeros_(weight)
    assert not other(ids).logits.any()
    assert torch.equal(model(ids).logits, logits)


def test_logit_scale_and_softcap_of_configurations():
    def config(**values):
        return PretrainedConfig(**values)

    assert logit_options(config()) == {"softcap": None, "logit_scale": 1.0}
    assert logit_options(config(logits_scaling=8.0)) == {"softcap": None, "logit_scale": 0.125}
    assert logit_options(config(logit_scale=None, output_multiplier=0.5))["logit_scale"] == 0.5
    assert logit_options(config(lm_head_multiplier=0.0))["logit_scale"] == 0.0
    assert logit_options(config(final_logit_softcapping=30.0))["softcap"] == 30.0
    hyperclova = config(logits_scaling=8.0)
    hyperclova.model_type = "hyperclovax"
    assert logit_options(hyperclova)["logit_scale"] == 8.0
