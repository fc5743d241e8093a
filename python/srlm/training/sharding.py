"""Settings of a sharded training (FSDP, ZeRO) that accelerate's defaults leave wrong, and one that is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from srlm.config import OTHER_DROPOUT
from srlm.errors import InputError

if TYPE_CHECKING:
    from transformers import Trainer


def prepare(trainer: Trainer, kind: str, dropout: float) -> None:
    """Correct the settings of a sharded training before the trainer wraps its model; `kind` is sft or dpo.

    Raises:
        InputError: accelerate's activation checkpointing is on, and there is dropout.
    """
    _request_full_state_dict(trainer)
    if not trainer.is_fsdp_enabled:
        return
    plugin = trainer.accelerator.state.fsdp_plugin
    if plugin.activation_checkpointing and dropout > 0:
        raise InputError(OTHER_DROPOUT.format(kind))
    if plugin.mixed_precision_policy is not None:
        # Gradients are summed over processes in float32.
        policy = replace(plugin.mixed_precision_policy, reduce_dtype=torch.float32)
        if plugin.fsdp_version == 1:
            policy = replace(policy, buffer_dtype=torch.float32)  # rotary embeddings compute angles from a buffer
        else:
            # accelerate asks for outputs in the compute dtype, and the loss's log-probabilities are outputs: bfloat16
            # would round -300 to a multiple of 2. Layers need no cast either.
            policy = replace(policy, output_dtype=None)
        plugin.mixed_precision_policy = policy


def _request_full_state_dict(trainer: Trainer) -> None:
    """Make the trainer save full weights, even if accelerate's configuration asks for sharded ones."""
    state = trainer.accelerator.state
    if trainer.is_fsdp_enabled:
        plugin = state.fsdp_plugin
        plugin.state_dict_config = plugin.optim_state_dict_config = None  # otherwise the sharded configs remain
        plugin.set_state_dict_type("FULL_STATE_DICT")
    if trainer.is_deepspeed_enabled:
        zero = state.deepspeed_plugin.deepspeed_config.get("zero_optimization", {})
        zero["stage3_gather_16bit_weights_on_model_save"] = True
