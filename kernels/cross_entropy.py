"""Weighted cross-entropy from hidden states, with the gradients computed in the forward pass.

The upstream gradient of a row's log-probability is its weight with the opposite sign, known before anything is
computed. So each chunk of rows goes from logits to the gradients of hidden states and weight at once: 6NDV operations,
where a function that recomputes the logits in its backward pass costs 8NDV. The backward pass here only multiplies by
the upstream gradient.

The entropy of each row's softmax follows from sums that `online_logsumexp` takes on its way to the exponentials.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from srlm.kernels.finished_gradients import save_gradients, scale_gradients, wanted_gradients
from srlm.kernels.logit_transform import LogitTransform
from srlm.kernels.output_head import Gradients, OutputHead, check_inputs, compute_dtype, new_gradients
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from torch.autograd.function import FunctionCtx


@dataclass(frozen=True, slots=True)
class TokenMetrics:
    """Metrics per row [N], without gradient; 0 (False) where the row is masked."""

    logps: torch.Tensor  # log p(label), nats
    entropy: torch.Tensor  # of the softmax, after scale, softcap and temperature, nats
    top1: torch.Tensor  # bool, whether no token has a higher logit than the label


@dataclass(frozen=True, slots=True)
class _Call:
    """The arguments of one call that get no gradient."""

    labels: torch.Tensor
    upstream: torch.Tensor  # [N], d loss / d log p(label): the negative weights
    transform: LogitTransform
    budget: int | None
    needs_grad: tuple[bool, ...]  # hidden, weight, bias


def cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
    budget: int | None = None,
) -> tuple[torch.Tensor, TokenMetrics]:
    """Return the sum of weights[i] * -log p(labels[i]); differentiable once in hidden, weight and bias.

    Without gradients (`torch.no_grad`, or no input that requires one) only the logits are computed.

    Args:
        hidden: [N, D], float32, bfloat16, float16 or float64: only the rows that predict completion tokens.
        weight: [V, D], the output projection. Under autocast, the matmuls use autocast's dtype. Its gradient is
            accumulated in float32.
        labels: [N] int64, the token that each row predicts; a row labelled -100 is masked.
        weights: [N] factors of the rows' negative log-likelihoods, without gradient: 1 / N for the mean.
        bias: [V] of the projection, or None.
        softcap: cap * tanh(logit / cap), as in Gemma 2 (arXiv 2408.00118), or None.
        logit_scale: factor of the logits, before the softcap.
        temperature: divisor of the logits, after the softcap.
        budget: bytes of workspace; by default 1.25 GiB on a GPU and 256 MiB elsewhere.

    Returns:
        The loss, a float32 scalar (float64 for float64 hidden states), 0 for no rows; and the metrics.

    Raises:
        ValueError: shapes, dtypes or labels (checked on the CPU only; on a GPU an out-of-range label gives NaN) are
            inconsistent.
    """
    check_inputs(hidden, weight, labels, bias)
    if weights.shape != labels.shape:
        raise ValueError(f"expected weights {list(labels.shape)}, found {list(weights.shape)}")
    acc_dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    call = _Call(
        labels=labels,
        upstream=-weights.detach().to(hidden.device, acc_dtype),
        transform=LogitTransform(softcap, logit_scale, temperature),
        budget=budget,
        needs_grad=wanted_gradients(hidden, weight, bias),
    )
    loss, *metrics = _CrossEntropy.apply(hidden, weight, bias, call)
    return loss, TokenMetrics(*metrics)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        call: _Call,
    ) -> tuple[torch.Tensor, ...]:
        rows = hidden.shape[0]
        head = OutputHead(weight, bias, call.transform, dtype=compute_dtype(hidden), rows=rows, budget=call.budget)
        gradients = new_gradients(hidden, weight, bias, call.needs_grad, head.acc_dtype)
        logps = torch.empty(rows, dtype=torch.float64, device=hidden.device)
        metrics = TokenMetrics(
            logps, logps.new_empty(rows, dtype=head.acc_dtype), torch.empty_like(call.labels, dtype=torch.bool)
        )
        with torch.autocast(hidden.device.type, enabled=False):
            for chunk in head.chunks(0, rows):
                _process_chunk(head, hidden, call, chunk, gradients, metrics)
        loss = (logps * call.upstream.double()).sum().to(head.acc_dtype)
        save_gradients(ctx, gradients, hidden, weight, bias)
        outputs = logps.to(head.acc_dtype), metrics.entropy, metrics.top1
        ctx.mark_non_differentiable(*outputs)
        return loss, *outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, upstream: torch.Tensor, *_: object) -> tuple[torch.Tensor | None, ...]:
        return *scale_gradients(ctx, upstream, "cross_entropy"), None


def _process_chunk(
    head: OutputHead, hidden: torch.Tensor, call: _Call, chunk: slice, gradients: Gradients, metrics: TokenMetrics
) -> None:
    """Write the metrics of a chunk of rows, and accumulate their gradients."""
    rows, labels = hidden[chunk], call.labels[chunk]
    statistics = head.forward(rows, labels, entropy=True)
    metrics.logps[chunk], metrics.top1[chunk] = statistics.logps, statistics.top1
    metrics.entropy[chunk] = statistics.entropy
    if any(call.needs_grad):
        head.backward(rows, labels, statistics, call.upstream[chunk], gradients, chunk)
