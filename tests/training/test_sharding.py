"""Settings of sharded trainings, with accelerate's own plugins (`integration/test_distributed.py` trains with both)."""

from types import SimpleNamespace

import pytest
import torch
from accelerate import FullyShardedDataParallelPlugin
from srlm.errors import InputError
from srlm.training.sharding import prepare


def trainer(version, precision=None, **settings):
    plugin = FullyShardedDataParallelPlugin(fsdp_version=version, **settings)
    if precision is not None:
        plugin.set_mixed_precision(precision)  # as accelerate does
    accelerator = SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin))
    return SimpleNamespace(accelerator=accelerator, is_fsdp_enabled=True, is_deepspeed_enabled=False), plugin


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_what_is_computed_in_float32(precision):
    low = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    sharded, plugin = trainer(2, precision)
    assert plugin.mixed_precision_policy.output_dtype == low  # accelerate's default rounds the log-probabilities
    prepare(sharded, "dpo", 0.1)
    found = plugin.mixed_precision_policy
    assert (found.param_dtype, found.reduce_dtype, found.output_dtype) == (low, torch.float32, None)
    sharded, plugin = trainer(1, precision)
    prepare(sharded, "dpo", 0.1)
    found = plugin.mixed_precision_policy
    assert (found.param_dtype, found.reduce_dtype, found.buffer_dtype) == (low, torch.float32, torch.float32)


@pytest.mark.parametrize("version", [1, 2])
def test_without_mixed_precision_nothing_is_cast(version):
    sharded, plugin = trainer(version)
    prepare(sharded, "sft", 0.0)
    assert plugin.mixed_precision_policy is None


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_recomputed_activations_have_other_dropout(kind):
    sharded, _ = trainer(2, activation_checkpointing=True)
    prepare(sharded, kind, 0.0)
    with pytest.raises(InputError, match=rf"set {kind}\.gradient_checkpointing=true, or set {kind}\.dropout=0"):
        prepare(sharded, kind, 0.1)


def test_full_weights_are_saved():
    sharded, plugin = trainer(2, state_dict_type="SHARDED_STATE_DICT")
    prepare(sharded, "sft", 0.1)
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
