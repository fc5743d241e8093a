"""The fused DPO trainer against TRL's: losses, gradients, logged metrics, and the fallback to TRL."""

import json
import math

import pytest
import torch
from datasets import Dataset
from srlm import losses
from srlm.config import FUSED_LOSSES
from srlm.errors import StageError
from srlm.kernels.output_head import OutputHead
from srlm.models import registry
from srlm.training import reference_logps
from srlm.training.dpo_trainer import PreferenceTrainer
from srlm.training.preference_layout import build_layout
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from tests.training.dpo_trainers import TrlTrainer, arguments, curve, make_rows, train, worst

pytestmark = pytest.mark.usefixtures("one_thread")


# --- 20 steps as with TRL ---------------------------------------------------------------------------------------------

SAME_LOSSES = {
    "sigmoid": {},
    "hinge": {"loss_type": ["hinge"]},
    "robust": {"loss_type": ["robust"], "label_smoothing": 0.1},
    "ipo": {"loss_type": ["ipo"]},
    "sigmoid_norm": {"loss_type": ["sigmoid_norm"], "beta": 2.0},
    "with a likelihood term": {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.3]},
    "three losses": {"loss_type": ["ipo", "hinge", "sigmoid"], "loss_weights": [0.1, 0.5, 1.5]},
    "gradient checkpointing": {"gradient_checkpointing": True},
    "one pair a batch": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 3},
    "autocast": {"bf16": True},
}


@pytest.mark.parametrize("name", SAME_LOSSES)
def test_20_steps_as_with_trl(make_trainer, name):
    ours, theirs = (make_trainer(kind, **SAME_LOSSES[name]) for kind in (PreferenceTrainer, TrlTrainer))
    assert ours.is_fused
    one, other = train(ours), train(theirs)
    assert len(one) == len(other) == 20
    # bfloat16: TRL computes logsumexp from rounded logits, so its own first loss differs from ln 2.
    tolerance = 1e-5 if name != "autocast" else 0.05
    # IPO's losses are about 25, where float32 has an error of 2e-6.
    assert worst(curve(one), curve(other)) < tolerance * max(1.0, max(curve(one)))
    assert max(curve(one)) - min(curve(one)) > 0.05  # something was learnt
    for metric in ("rewards/chosen", "rewards/margins", "logps/chosen", "logps/rejected"):
        assert worst(curve(one, metric), curve(other, metric)) < (1e-3 if name != "autocast" else 1.0)
    if name != "autocast":
        for metric in ("mean_token_accuracy", "num_tokens"):
            assert curve(one, metric) == pytest.approx(curve(other, metric), abs=1e-6)
        # At the first step every margin is zero up to rounding, so accuracies are arbitrary.
        accuracies = [curve(steps[1:], "rewards/accuracies") for steps in (one, other)]
        assert accuracies[0] == pytest.approx(accuracies[1], abs=1e-6)  # TRL's mean is float32
        for left, right in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
            assert torch.allclose(left, right, atol=2e-3)


def test_lora_as_with_trl(make_trainer):
    from peft import LoraConfig

    options = {"peft_config": LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")}
    curves = [
        curve(train(make_trainer(kind, options=dict(options), gradient_checkpointing=checkpointing)))
        for kind in (PreferenceTrainer, TrlTrainer)
        for checkpointing in (False, True)
    ]
    assert max(worst(curves[0], other) for other in curves[1:]) < 1e-5
    assert abs(curves[0][0] - curves[0][-1]) > 0.01


def test_a_frozen_head_has_no_gradient(make_trainer, monkeypatch):
    monkeypatch.delattr(OutputHead, "_add_grad_weight")
    trainer = make_trainer(PreferenceTrainer, max_steps=1)
    trainer.model.get_output_embeddings().weight.requires_grad_(False)
    before = trainer.model.get_output_embeddings().weight.clone()
    train(trainer)
    assert torch.equal(trainer.model.get_output_embeddings().weight, before)


FAMILIES = {
    "cohere": (CohereForCausalLM, CohereConfig, {"logit_scale": 0.25}),
    "gemma2": (Gemma2ForCausalLM, Gemma2Config, {"final_logit_softcapping": 3.0, "head_dim": 32}),
    "granite": (GraniteForCausalLM, GraniteConfig, {"logits_scaling": 4.0}),
    "llama, untied": (LlamaForCausalLM, LlamaConfig, {"tie_word_embeddings": False}),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_other_families(make_trainer, name):
    kind, config, own = FAMILIES[name]
    torch.manual_seed(1)
    model = kind(
        config(
            vocab_size=512,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            pad_token_id=0,
            **own,
        )
    )
    torch.nn.init.normal_(model.get_output_embeddings().weight, std=0.3)  # so that scale and cap matter
    curves = [
        curve(train(make_trainer(trainer, model=model, max_steps=6))) for trainer in (PreferenceTrainer, TrlTrainer)
    ]
    assert worst(*curves) < 1e-5
    assert abs(curves[0][0] - curves[0][-1]) > 1e-3


def test_a_reference_is_checked_as_well(make_trainer, tiny_model):
    class Odd(LlamaForCausalLM):
        def forward(self, *args, **kwargs):
            outputs = super().forward(*args, **kwargs)
            outputs.logits = 1.5 * outputs.logits
            return outputs

    with pytest.raises(StageError, match="computes its logits in an unsupported way"):
        make_trainer(PreferenceTrainer, options={"ref_model": Odd.from_pretrained(tiny_model)})


# --- fallback to TRL --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero",
                                  "apo_down", "discopop"])  # fmt: skip
def test_losses_of_trls_own(make_trainer, name):
    changes = {"loss_type": [name, "sigmoid"], "label_smoothing": 0.01, "max_steps": 2}
    ours, theirs = (make_trainer(kind, **changes) for kind in (PreferenceTrainer, TrlTrainer))
    assert not ours.is_fused
    assert curve(train(ours)) == pytest.approx(curve(train(theirs)), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("changes", [{"ld_alpha": 0.5}, {"use_weighting": True}, {"f_divergence_type": "forward_kl"}])
def test_variants_of_trls_own(make_trainer, changes):
    ours, theirs = (make_trainer(kind, max_steps=2, **changes) for kind in (PreferenceTrainer, TrlTrainer))
    assert not ours.is_fused
    assert curve(train(ours)) == pytest.approx(curve(train(theirs)), abs=1e-6)


def test_experts_with_a_balancing_loss(make_trainer):
    torch.manual_seed(2)
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_local_experts": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 512, "pad_token_id": 0}
    for coefficient, fused in ((0.02, False), (0.0, True)):
        model = MixtralForCausalLM(MixtralConfig(**small, **heads, router_aux_loss_coef=coefficient))
        # The balancing loss is a function of micro-batches.
        steps = {"max_steps": 2, "gradient_accumulation_steps": 1}
        ours, theirs = (make_trainer(kind, model=model, **steps) for kind in (PreferenceTrainer, TrlTrainer))
        assert ours.is_fused == fused
        assert worst(curve(train(ours)), curve(train(theirs))) < 1e-5


def test_simpo_where_trl_is_needed(make_trainer):
    model = MixtralForCausalLM(
        MixtralConfig(
            hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_local_experts=2, num_attention_heads=2,
            num_key_value_heads=1, vocab_size=512, router_aux_loss_coef=0.02,
        )
    )  # fmt: skip
    with pytest.raises(StageError, match="TRL trains this mixture of experts and does not support the loss simpo"):
        make_trainer(PreferenceTrainer, model=model, loss_type=["simpo"])


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"max_length": 512}, {}, "args.max_length must be None"),
        ({"precompute_ref_log_probs": False}, {}, "args.precompute_ref_log_probs must be true"),
        ({}, {"data_collator": print}, "data_collator"),
    ],
)
def test_unsupported_arguments(make_trainer, changes, options, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(PreferenceTrainer, options=options, **changes)


def test_prompt_tuning_as_with_trl(make_trainer):
    """Virtual tokens precede the rows."""
    from peft import PromptTuningConfig

    options = {"peft_config": PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")}
    curves = [
        curve(train(make_trainer(kind, options=dict(options), max_steps=4))) for kind in (PreferenceTrainer, TrlTrainer)
    ]
    assert worst(*curves) < 1e-5


def test_an_existing_adapter(make_trainer, tiny_model):
    from peft import LoraConfig, get_peft_model

    curves = []
    for kind in (PreferenceTrainer, TrlTrainer):
        torch.manual_seed(6)
        lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
        model = get_peft_model(registry.load_model(tiny_model, dtype=torch.float32), lora)
        curves.append(curve(train(make_trainer(kind, model=model, max_steps=4))))
    assert worst(*curves) < 1e-5


def test_the_names_of_fused_losses_agree():
    assert losses.FUSED.keys() == FUSED_LOSSES
    assert losses.MARGIN_ONLY < FUSED_LOSSES


# --- the shared prefix ------------------------------------------------------------------------------------------------


def head_rows(trainer):
    """Number of rows that a batch of all pairs projects with gradient, and without."""
    (one,) = [trainer.planner.one(list(trainer.train_dataset))]
    layout = build_layout(one.layout, one.examples, drop_shared_prefix=trainer._drop_shared)
    return len(layout.rows), len(layout.shared_rows)


def test_dropping_a_shared_prefix_changes_nothing(make_trainer):
    rows = [*make_rows(6, shared=5), *make_rows(4, seed=1)]
    rows.append({"prompt_ids": [5, 6], "chosen_ids": [7, 8, 9], "rejected_ids": [7, 8]})  # prefix of the other
    ours, theirs = (make_trainer(kind, rows) for kind in (PreferenceTrainer, TrlTrainer))
    everything = sum(len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in rows)
    assert head_rows(ours) == (everything - 2 * (6 * 5 + 2), 6 * 5 + 2)
    one, other = train(ours), train(theirs)
    assert worst(curve(one), curve(other)) < 1e-5
    for metric in ("rewards/chosen", "logps/chosen", "logps/rejected", "mean_token_accuracy"):
        assert worst(curve(one, metric), curve(other, metric)) < 1e-3


@pytest.mark.parametrize("kept", [{"loss_type": ["ipo"]}, {"loss_type": ["sigmoid", "sft"]},
                                  {"loss_type": ["sigmoid_norm"]}, {"loss_type": ["simpo"]}])  # fmt: skip
def test_a_shared_prefix_is_kept_if_it_does_not_cancel(make_trainer, kept):
    assert head_rows(make_trainer(PreferenceTrainer, make_rows(6, shared=5), **kept))[1] == 0


def test_a_shared_prefix_is_kept_if_passes_differ(make_trainer, tiny_model):
    """Two forward passes with dropout or noise differ, so the prefix does not cancel exactly."""
    from peft import LoraConfig

    model = registry.load_model(tiny_model, dtype=torch.float32, dropout=0.1)
    rows = make_rows(6, shared=5)
    lora = {"peft_config": LoraConfig(r=2, lora_dropout=0.1, task_type="CAUSAL_LM")}
    assert head_rows(make_trainer(PreferenceTrainer, rows, model=model, disable_dropout=False))[1] == 0
    assert head_rows(make_trainer(PreferenceTrainer, rows, model=model))[1] == 0  # attention dropout is not a module
    assert head_rows(make_trainer(PreferenceTrainer, rows, neftune_noise_alpha=5.0))[1] == 0
    assert head_rows(make_trainer(PreferenceTrainer, rows, options=lora))[1] == 0
    assert head_rows(make_trainer(PreferenceTrainer, rows, disable_dropout=False))[1] == 30


# --- the reference ----------------------------------------------------------------------------------------------------


class Counting(PreferenceTrainer):
    """Counts the pairs that the reference was computed for."""

    computed = 0

    def _compute_reference(self, dataset, *rest):
        type(self).computed += len(dataset)
        return super()._compute_reference(dataset, *rest)


def test_the_reference_is_computed_once(make_trainer, tmp_path, tiny_model):
    file = tmp_path / "m2" / "reference.safetensors"
    rows = make_rows()

    def build(key):
        Counting.computed = 0
        trainer = make_trainer(Counting, rows, options={"reference_file": file, "reference_key": lambda: key})
        return Counting.computed, trainer.train_dataset

    key = reference_logps.key_of(tiny_model, rows)
    count, first = build(key)
    assert count == 12
    count, again = build(key)
    assert count == 0
    assert first["ref_chosen_logps"][:] == again["ref_chosen_logps"][:]
    assert first["ref_rejected_logps"][:] == again["ref_rejected_logps"][:]
    assert build("another")[0] == 12
    file.write_bytes(b"torn")
    assert build("another")[0] == 12


def test_the_file_is_for_the_training_rows_only(make_trainer, tmp_path):
    """Another dataset, whatever its name and length, has its own reference."""
    options = {
        "reference_file": tmp_path / "reference.safetensors",
        "reference_key": lambda: "the same",
        "eval_dataset": {"train": Dataset.from_list(make_rows(seed=9))},
    }
    for _ in range(2):
        trainer = make_trainer(PreferenceTrainer, make_rows(), options=dict(options), max_steps=1)
        assert trainer.evaluate()["eval_train_loss"] == pytest.approx(math.log(2), abs=1e-5)


def test_fused_and_unfused_references_are_kept_apart(make_trainer, tmp_path):
    """TRL's implementation gives other numbers in low precision."""
    options = {"reference_file": tmp_path / "reference.safetensors", "reference_key": lambda: "the same"}
    Counting.computed = 0
    make_trainer(Counting, options=dict(options))
    make_trainer(Counting, options=dict(options), loss_type=["apo_zero"])
    assert Counting.computed == 24


def test_first_loss_is_exact(make_trainer):
    """Policy and reference use the same kernels, so every margin of the first step is zero up to rounding."""
    for changes in ({}, {"bf16": True}, {"per_device_train_batch_size": 1}):
        first = train(make_trainer(PreferenceTrainer, max_steps=1, **changes))[0]
        assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)


def test_simpo(make_trainer, tiny_model):
    """Against a plain forward pass; TRL's DPO has no such loss."""
    rows = make_rows(2)
    options = {"simpo_gamma": 0.7}
    trainer = make_trainer(
        PreferenceTrainer, rows, options=options, loss_type=["simpo"], beta=2.0, max_steps=1,
        gradient_accumulation_steps=1,
    )  # fmt: skip
    first = train(trainer)[0]
    model = registry.load_model(tiny_model, dtype=torch.float32).eval()
    expected = []
    for row in rows:
        means = []
        for side in ("chosen_ids", "rejected_ids"):
            ids = torch.tensor([row["prompt_ids"] + row[side]])
            with torch.no_grad():
                logps = model(ids).logits[0, len(row["prompt_ids"]) - 1 : -1].double().log_softmax(-1)
            means.append(logps.gather(1, torch.tensor(row[side])[:, None]).mean())
        expected.append(-torch.nn.functional.logsigmoid(2.0 * (means[0] - means[1]) - 0.7))
    assert first["loss"] == pytest.approx(torch.stack(expected).mean().item(), abs=1e-5)


def test_evaluation_in_between(make_trainer, tiny_tokenizer, tiny_model, tmp_path):
    """`evaluate` uses the fused loss too, and logs under eval names."""
    trainer = PreferenceTrainer(
        model=registry.load_model(tiny_model, dtype=torch.float32),
        args=arguments(tmp_path / "eval", max_steps=2),
        train_dataset=Dataset.from_list(make_rows()),
        eval_dataset=Dataset.from_list(make_rows(4, seed=9)),
        processing_class=tiny_tokenizer,
    )
    before = trainer.evaluate()
    assert before["eval_loss"] == pytest.approx(math.log(2), abs=1e-5)
    trainer.train()
    assert trainer.evaluate()["eval_loss"] != pytest.approx(math.log(2), abs=1e-5)
    assert {"eval_rewards/margins", "eval_logps/chosen"} <= {
        name for entry in trainer.state.log_history for name in entry
    }
    assert json.dumps(trainer.state.log_history)
