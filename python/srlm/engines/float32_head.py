"""Logits in float32 from a model in bfloat16 or float16, in the transformers engine.

Expected scores and log-probabilities are read from logits; between 16 and 32, those in bfloat16 are multiples of 0.125.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def add_float32_head(model: PreTrainedModel) -> None:
    """Make the output layer accumulate and return float32; a quantized or tensor-parallel layer stays as it is."""
    head = model.get_output_embeddings()
    if type(head) is torch.nn.Linear and head.weight.dtype in (torch.bfloat16, torch.float16):
        head.forward = types.MethodType(_project, head)


def _project(self: torch.nn.Linear, hidden: torch.Tensor) -> torch.Tensor:
    """Return the logits [..., V] float32 of hidden states [..., D]."""
    if hidden.is_cuda:  # without a float32 copy of the weight
        rows = hidden.reshape(-1, hidden.shape[-1])
        logits = torch.mm(rows, self.weight.t(), out_dtype=torch.float32).view(*hidden.shape[:-1], -1)
        return logits if self.bias is None else logits + self.bias.float()
    return functional.linear(hidden.float(), self.weight.float(), None if self.bias is None else self.bias.float())
