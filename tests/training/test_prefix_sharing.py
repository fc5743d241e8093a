"""Which models compute rows as a trie, and that the result is that of separate rows, in float64."""

import math

import pytest
import torch
from srlm import losses
from srlm.training import block_attention, prefix_sharing
from srlm.training.block_attention import NAME
from srlm.training.fused_head import add_fused_head
from srlm.training.head_requests import PreferenceRequest, SequenceRequest, TokenLossRequest
from srlm.training.preference_layout import build_layout, pair_rows
from srlm.training.prefix_masks import MaskForm
from srlm.training.prefix_sharing import (
    find_form,
    layer_windows,
    needs_mask,
    with_block_attention,
    with_fast_attention,
)
from srlm.training.row_layouts import SharedRows, pad_rows, share_rows
from srlm.training.token_targets import targets_of
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PretrainedConfig,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)
from transformers.integrations.flex_attention import flex_attention_forward

from tests.training.families import FAMILIES, SMALL, make

CPU = torch.device("cpu")
SCORE, HINT = [7, 9, 11, 400, 3, 8, 17], [7, 9, 11, 400, 5]
# Ragged rows: a common beginning, one that is the beginning of another, equal ones, and one of its own; (row, start of
# the completion). The completion of one row is another row's prompt.
ROWS = [
    ([*SCORE, 20, 21, 22, 23, 2], 8),
    ([*SCORE, 20, 21, 30, 2], 10),
    ([*SCORE, 20, 21, 22, 23, 2], 8),
    ([*SCORE, 20], 7),
    ([*HINT, 6, 6, 6, 6, 6, 6, 2], 5),
    ([*HINT, 6, 6], 6),
    ([100, 101, 102, 103, 2], 1),
]


def masks_of(rows):
    return [torch.arange(len(row)).ge(start).numpy() for row, start in rows]


def token_logps(model, row):
    """log p of every token but the first, from a plain forward pass over the row alone."""
    logits = model(torch.tensor([row])).logits[0, :-1]
    return logits.log_softmax(-1).gather(1, torch.tensor(row[1:])[:, None])[:, 0]


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def check_equal(found, expected, family):
    # The router of experts computes in float32.
    tolerance = 1e-6 if family == "mixtral" else 1e-9
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        size = max(1.0, float(gradient.abs().max()))
        assert torch.allclose(found[name], gradient, atol=tolerance * size, rtol=0), name


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_token_loss_is_that_of_separate_rows(name, blocks, monkeypatch):
    model = make(name)
    form = find_form(model)
    assert isinstance(form, MaskForm), form
    if blocks:
        form = with_fast_attention(model, form, 99)
        assert form.attention == NAME
        monkeypatch.setattr(block_attention, "BLOCK", 4)
    rows = [row for row, _ in ROWS]
    separate = -sum(token_logps(model, row)[start - 1 :].sum() for row, start in ROWS) / 29
    expected = gradients(model, separate)
    add_fused_head(model)
    layout = share_rows(rows, form)
    assert layout.input_ids.numel() < sum(map(len, rows))
    targets = targets_of(layout, rows, masks_of(ROWS), merge=True)
    outputs = model(**layout.model_inputs(CPU), head_request=TokenLossRequest(targets, 1 / 29))
    assert float(outputs["loss"]) == pytest.approx(float(separate), abs=1e-12)
    check_equal(gradients(model, outputs["loss"]), expected, name)
    read = model(**layout.model_inputs(CPU), head_request=SequenceRequest(targets_of(layout, rows, masks_of(ROWS))))
    for logp, (row, start) in zip(read["logps"], ROWS, strict=True):
        assert float(logp) == pytest.approx(float(token_logps(model, row)[start - 1 :].sum()), abs=1e-10)


@pytest.mark.parametrize("name", FAMILIES)
def test_padded_rows_need_no_mask(name):
    """The loss and the gradients are those of separate rows, whatever the padding is."""
    model = make(name)
    assert not needs_mask(model)
    rows = [row for row, _ in ROWS]
    separate = -sum(token_logps(model, row)[start - 1 :].sum() for row, start in ROWS) / 29
    expected = gradients(model, separate)
    add_fused_head(model)
    layout = pad_rows(rows, 7, masked=False)
    assert set(layout.model_inputs(CPU)) == {"input_ids"}
    targets = targets_of(layout, rows, masks_of(ROWS))
    outputs = model(**layout.model_inputs(CPU), head_request=TokenLossRequest(targets, 1 / 29))
    assert float(outputs["loss"]) == pytest.approx(float(separate), abs=1e-12)
    check_equal(gradients(model, outputs["loss"]), expected, name)


def test_a_model_that_sees_the_padding_needs_a_mask(monkeypatch):
    model = make("llama")
    original = model.model.forward

    def forward(input_ids, attention_mask=None, **options):
        output = original(input_ids, **options)
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        output.last_hidden_state += (output.last_hidden_state * real[..., None]).mean(1, keepdim=True)
        return output

    monkeypatch.setattr(model.model, "forward", forward)
    assert needs_mask(model)
    monkeypatch.setattr(model.model, "forward", lambda **_: 1 / 0)
    assert needs_mask(model)


def test_flex_attention_is_not_chosen_with_dropout(monkeypatch):
    """On a GPU, which this test only pretends."""
    model = make("llama", attention_dropout=0.1)
    form = find_form(model)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(prefix_sharing, "flex_attention_works", lambda *_: True)
    assert with_fast_attention(model, form, 99, dropout=0.1) is form
    assert model.config._attn_implementation == "sdpa"
    assert with_fast_attention(model, form, 99).attention == "flex_attention"
    rows = [torch.zeros(1, 2, 4, 8)] * 3
    with pytest.raises(ValueError, match="does not support `dropout`"):  # why
        flex_attention_forward(model, *rows, None, dropout=0.1)


PAIRS = [
    {"prompt_ids": SCORE, "chosen_ids": [20, 21, 22, 2], "rejected_ids": [20, 21, 30, 31, 32, 2]},
    {"prompt_ids": SCORE, "chosen_ids": [20, 21, 22, 2], "rejected_ids": [2]},
    {"prompt_ids": HINT, "chosen_ids": [6, 2], "rejected_ids": [6, 6, 6, 6]},
    {"prompt_ids": HINT, "chosen_ids": [6, 2], "rejected_ids": [6, 6, 6, 6]},
    {"prompt_ids": [], "chosen_ids": [5, 6, 2], "rejected_ids": [5, 9, 9, 2]},
]


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_preference_loss_is_that_of_separate_rows(name, drop):
    model = make(name)
    form = with_fast_attention(model, find_form(model), 99)
    refs = torch.linspace(-9, -1, 2 * len(PAIRS), dtype=torch.float64).view(-1, 2)
    margins = []
    for example, ref in zip(PAIRS, refs, strict=True):
        start = max(len(example["prompt_ids"]), 1)
        sides = [token_logps(model, row)[start - 1 :].sum() for row in pair_rows(example)]
        margins.append(sides[0] - sides[1] - (ref[0] - ref[1]))
    separate = -torch.nn.functional.logsigmoid(0.3 * torch.stack(margins)).mean()
    expected = gradients(model, separate)
    add_fused_head(model)
    layout = share_rows([row for example in PAIRS for row in pair_rows(example)], form)
    request = PreferenceRequest(
        build_layout(layout, PAIRS, drop_shared_prefix=drop),
        losses.combine(["sigmoid"], [1.0], losses.LossSettings(0.3, 0.0, 0.0)),
        refs,
    )
    outputs = model(**layout.model_inputs(CPU), head_request=request)
    assert float(outputs["loss"]) == pytest.approx(float(separate), abs=1e-12)
    check_equal(gradients(model, outputs["loss"]), expected, name)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_attention_implementations(implementation):
    model = make("llama", attn_implementation=implementation)
    form = find_form(model)
    assert form == MaskForm(implementation, {"full_attention": None}, torch.float64)


def test_a_model_that_has_eager_attention_only_keeps_it():
    model = make("llama", attn_implementation="eager")
    form = find_form(model)
    assert with_block_attention(model, form) == form
    assert model.config._attn_implementation == "eager"


def test_block_attention_is_not_taken_if_it_changes_hidden_states(monkeypatch):
    model = make("llama")
    form = find_form(model)
    original = block_attention.blocks_of
    monkeypatch.setattr(block_attention, "blocks_of", lambda visible: original(visible | True))
    assert with_block_attention(model, form) == form
    assert model.config._attn_implementation == "sdpa"


def test_nodes_that_fill_up_change_nothing():
    model, rows = make("llama"), [row for row, _ in ROWS]
    plain, filled = (
        share_rows(rows, MaskForm("sdpa", {"full_attention": None}, multiple=multiple)) for multiple in (1, 16)
    )
    assert filled.input_ids.numel() % 16 == 0 < filled.input_ids.numel() - plain.input_ids.numel()
    found = [model.base_model(**layout.model_inputs(CPU)).last_hidden_state[0] for layout in (plain, filled)]
    assert found[1].isfinite().all()
    assert torch.allclose(found[0], found[1][: len(found[0])], atol=1e-12)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            lambda: BloomForCausalLM(BloomConfig(vocab_size=99, hidden_size=16, n_head=2, n_layer=1)),
            "takes? no|not take",
        ),
        (lambda: MambaForCausalLM(MambaConfig(**SMALL)), "layers other than full and sliding-window attention"),
        (
            lambda: Qwen3NextForCausalLM(Qwen3NextConfig(**SMALL, head_dim=16, num_experts=4)),
            "layers other than full and sliding-window attention",
        ),
        (
            lambda: LlamaForCausalLM(
                LlamaConfig(**SMALL, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4})
            ),
            r"its rotary embedding \(dynamic\) depends on the length",
        ),
    ],
)
def test_models_that_compute_rows_separately(model, reason):
    torch.manual_seed(0)
    found = find_form(model())
    assert isinstance(found, str)
    assert __import__("re").search(reason, found)


class Recounting(LlamaForCausalLM):
    """Counts positions inside the model, whatever it is given."""

    def __init__(self, config):
        super().__init__(config)
        original = self.model.forward

        def forward(*args, position_ids=None, **kwargs):
            return original(*args, **kwargs)

        self.model.forward = forward


class Unmasked(Recounting):
    """Ignores the mask that it is given."""

    def __init__(self, config):
        LlamaForCausalLM.__init__(self, config)
        original = self.model.forward

        def forward(*args, attention_mask=None, **kwargs):
            return original(*args, **kwargs)

        self.model.forward = forward


@pytest.mark.parametrize("kind", [Recounting, Unmasked])
def test_a_model_that_takes_positions_or_masks_otherwise_is_found(kind):
    torch.manual_seed(0)
    found = find_form(kind(LlamaConfig(**SMALL)))
    assert isinstance(found, str)
    assert found.startswith("its hidden states change by")


@pytest.mark.parametrize("wrong", [4, None])
def test_a_wrong_window_is_found(monkeypatch, wrong):
    """The probe's rows are longer than the window that it gives to the model."""
    model = make("mistral")
    original = SharedRows.model_inputs

    def model_inputs(self, device):
        form = MaskForm(self.form.attention, {"full_attention": wrong})
        return original(SharedRows(self.input_ids, self.depths, self.ends, self.nodes, form), device)

    monkeypatch.setattr(SharedRows, "model_inputs", model_inputs)
    assert str(find_form(model)).startswith("its hidden states change by")
    assert model.config.sliding_window == 5  # as it was


def test_windows_of_layers():
    def config(**values):
        return PretrainedConfig(**values)

    assert layer_windows(config()) == {"full_attention": None}
    assert layer_windows(config(sliding_window=8)) == {"full_attention": 8}
    types = ["full_attention", "sliding_attention", "full_attention"]
    assert layer_windows(config(layer_types=types, sliding_window=8)) == {
        "full_attention": None,
        "sliding_attention": 8,
    }
    assert layer_windows(config(layer_types=["full_attention"] * 2, sliding_window=8)) == {"full_attention": None}
    assert layer_windows(config(layer_types=["full_attention", "chunked_attention"])) is None


def test_rows_without_a_completion():
    rows = [([5, 6, 7], 3), ([5, 6], 0)]
    layout = share_rows([row for row, _ in rows], MaskForm("sdpa", {"full_attention": None}))
    targets = targets_of(layout, [row for row, _ in rows], masks_of(rows))
    assert targets.cu_seqlens == [0, 0, 1]  # nothing predicts the first token of a row
    assert (targets.rows.tolist(), targets.labels.tolist()) == ([0], [6])
    assert math.isclose(float(targets.counts.sum()), 1.0)
