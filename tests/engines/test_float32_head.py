"""Logits of a model in bfloat16: with the head in float32, log-probabilities are not rounded to its spacing."""

import pytest
import torch
from srlm.config import EngineSection
from srlm.engines.base import Request, Sampling
from srlm.engines.float32_head import add_float32_head
from srlm.engines.transformers import TransformersEngine
from srlm.models.registry import load_model
from torch.nn import functional

WATCHED = (22, 80, 5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bias", [False, True])
def test_logits_are_those_of_the_hidden_states_in_float32(folder, dtype, bias):
    model = load_model(folder, dtype=dtype).eval()
    head = model.lm_head
    with torch.no_grad():
        head.weight *= 50  # logits whose spacing in bfloat16 is large
    if bias:
        head.bias = torch.nn.Parameter(torch.randn(len(head.weight), dtype=dtype))
    ids = torch.arange(5, 25)[None]
    with torch.inference_mode():
        rounded = model(input_ids=ids).logits
        add_float32_head(model)
        logits = model(input_ids=ids).logits
        hidden = model.model(input_ids=ids).last_hidden_state
    offset = None if head.bias is None else head.bias.float()
    assert rounded.dtype == dtype
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, functional.linear(hidden.float(), head.weight.float(), offset))
    assert (logits - rounded).abs().max() > 100 * torch.finfo(torch.float32).eps * logits.abs().max()


def test_the_engine_reads_expected_scores_from_them(folder, tiny_tokenizer):
    model = load_model(folder, dtype=torch.bfloat16)
    engine = TransformersEngine(model, tiny_tokenizer, EngineSection(max_model_len=512))
    request = Request("r", tuple(range(5, 40)), Sampling(0.0, 1.0, 1, logprob_token_ids=WATCHED), 0)
    (done,) = engine.generate([request])
    with torch.inference_mode():
        hidden = model.model(input_ids=torch.tensor([request.prompt_ids])).last_hidden_state[0, -1]
    logps = (hidden.float() @ model.lm_head.weight.float().T).log_softmax(-1)
    assert done.requested_logprobs[0] == pytest.approx(logps[list(WATCHED)].tolist(), abs=1e-5)


def test_float32_and_other_heads_stay_as_they_are(folder):
    model = load_model(folder, dtype=torch.float32)
    before = model.lm_head.forward
    add_float32_head(model)
    assert model.lm_head.forward == before
    model.lm_head = torch.nn.Sequential(torch.nn.Linear(64, 9, dtype=torch.bfloat16))  # as a quantized layer
    add_float32_head(model)
    assert "forward" not in vars(model.lm_head)
