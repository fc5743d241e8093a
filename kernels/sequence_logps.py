"""Log-probabilities of sequences from hidden states, without materializing the logits of all rows.

log p(y | x) = sum_i log softmax(W h_i)[y_i] over the rows of a sequence. Logits exist for one chunk of rows at a time;
the backward pass recomputes them (8NDV operations in total, 2NDV without gradient). Any upstream gradient is supported.
For a loss over preference pairs with known reference log-probabilities, `preference_loss` needs 6NDV.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from srlm.kernels.logit_transform import LogitTransform
from srlm.kernels.output_head import OutputHead, check_inputs, compute_dtype, new_gradients
from srlm.kernels.segments import expand_to_rows, sum_rows, validate_cu_seqlens
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.autograd.function import FunctionCtx


def sequence_logps(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    cu_seqlens: torch.Tensor | Sequence[int],
    *,
    bias: torch.Tensor | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
    budget: int | None = None,
) -> torch.Tensor:
    """Return the log-probability of each sequence; differentiable in hidden, weight and bias.

    Args:
        hidden: [N, D], float32, bfloat16, float16 or float64: only the rows that predict completion tokens.
        weight: [V, D], the output projection. Under autocast, the matmuls use autocast's dtype.
        labels: [N] int64, the token that each row predicts; a row labelled -100 is masked.
        cu_seqlens: [S + 1], cumulative sequence lengths over the rows, from 0 to N; equal neighbours are an empty
            sequence. With `range(N + 1)` every row is a sequence, and the log-probabilities are per token.
        bias: [V] of the projection, or None.
        softcap: cap * tanh(logit / cap), as in Gemma 2 (arXiv 2408.00118), or None.
        logit_scale: factor of the logits, before the softcap.
        temperature: divisor of the logits, after the softcap.
        budget: bytes of workspace; by default 1.25 GiB on a GPU and 256 MiB elsewhere.

    Returns:
        [S] float32 (float64 for float64 hidden states), nats. An empty sequence gives 0.

    Raises:
        ValueError: shapes, dtypes, labels (checked on the CPU only; on a GPU an out-of-range label gives NaN) or
            cu_seqlens are inconsistent.
    """
    check_inputs(hidden, weight, labels, bias)
    offsets = validate_cu_seqlens(cu_seqlens, hidden.shape[0])
    transform = LogitTransform(softcap, logit_scale, temperature)
    return _SequenceLogps.apply(hidden, weight, bias, labels, offsets, transform, budget)


def sequence_statistics(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    cu_seqlens: torch.Tensor | Sequence[int],
    *,
    bias: torch.Tensor | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
    budget: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `sequence_logps` [S] without gradient, and the count of rows per sequence whose label is the top-1 [S]."""
    check_inputs(hidden, weight, labels, bias)
    offsets = validate_cu_seqlens(cu_seqlens, hidden.shape[0])
    transform = LogitTransform(softcap, logit_scale, temperature)
    rows = hidden.shape[0]
    head = OutputHead(weight, bias, transform, dtype=compute_dtype(hidden), rows=rows, budget=budget)
    with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
        logps, top1 = head.forward_rows(hidden, labels, 0, rows)
        return sum_rows(logps, offsets, head.acc_dtype), sum_rows(top1, offsets, head.acc_dtype)


class _SequenceLogps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        offsets: list[int],
        transform: LogitTransform,
        budget: int | None,
    ) -> torch.Tensor:
        ctx.dtype, ctx.offsets, ctx.transform, ctx.budget = compute_dtype(hidden), offsets, transform, budget
        head = OutputHead(weight, bias, transform, dtype=ctx.dtype, rows=hidden.shape[0], budget=budget)
        with torch.autocast(hidden.device.type, enabled=False):
            logps, _ = head.forward_rows(hidden, labels, 0, hidden.shape[0])
        ctx.save_for_backward(hidden, weight, bias, labels)
        return sum_rows(logps, offsets, head.acc_dtype)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: FunctionCtx,
        upstream: torch.Tensor,
    ) -> tuple[torch.Tensor | None, ...]:
        hidden, weight, bias, labels = ctx.saved_tensors
        head = OutputHead(weight, bias, ctx.transform, dtype=ctx.dtype, rows=hidden.shape[0], budget=ctx.budget)
        gradients = new_gradients(hidden, weight, bias, ctx.needs_input_grad, head.acc_dtype)
        upstream_rows = expand_to_rows(upstream, ctx.offsets)
        with torch.autocast(hidden.device.type, enabled=False):
            head.backward_rows(hidden, labels, 0, hidden.shape[0], upstream_rows, gradients)
        grads = [
            None if grad is None else grad.to(like.dtype)
            for grad, like in zip(
                (gradients.hidden, gradients.weight, gradients.bias), (hidden, weight, bias), strict=True
            )
        ]
        return *grads, None, None, None, None
