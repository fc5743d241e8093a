"""Log-probabilities of sequences from materialized logits: one pass forward, the gradient in place backward.

For models whose output is more than a matrix product, or a loss that needs the logits for something else first. From
hidden states, `sequence_logps` and `preference_loss` never materialize the logits.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from srlm.kernels.logit_transform import LogitTransform
from srlm.kernels.online_logsumexp import BLOCK_ELEMENTS
from srlm.kernels.segments import IGNORED, check_labels, expand_to_rows, sum_rows, validate_cu_seqlens
from srlm.kernels.token_logps import token_statistics
from srlm.kernels.triton_support import check_rows, use_triton
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.autograd.function import FunctionCtx
    from triton.runtime.jit import JITFunction


def logits_logps(
    logits: torch.Tensor,
    labels: torch.Tensor,
    cu_seqlens: torch.Tensor | Sequence[int],
    *,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
    in_place: bool = True,
) -> torch.Tensor:
    """Return the log-probability of each sequence; differentiable once in the logits.

    Args:
        logits: [N, V], float32, bfloat16, float16 or float64, the last dimension contiguous.
        labels: [N] int64, the token of each row; a row labelled -100 is masked.
        cu_seqlens: [S + 1], cumulative sequence lengths over the rows, from 0 to N; equal neighbours are an empty
            sequence.
        softcap: cap * tanh(logit / cap), as in Gemma 2 (arXiv 2408.00118), or None.
        logit_scale: factor of the logits, before the softcap.
        temperature: divisor of the logits, after the softcap.
        in_place: backward overwrites the logits with their gradient; False allocates a tensor of their size instead.

    Returns:
        [S] float32 (float64 for float64 logits), nats. An empty sequence gives 0.

    Raises:
        ValueError: shapes, dtypes, labels (checked on the CPU only; on a GPU an out-of-range label gives NaN) or
            cu_seqlens are inconsistent.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"expected logits [N, V] and labels [N], found {tuple(logits.shape)}, {tuple(labels.shape)}")
    check_labels(labels, logits.shape[1])
    offsets = validate_cu_seqlens(cu_seqlens, logits.shape[0])
    transform = LogitTransform(softcap, logit_scale, temperature)
    return _LogitsLogps.apply(logits, labels.contiguous(), offsets, transform, in_place)


class _LogitsLogps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        logits: torch.Tensor,
        labels: torch.Tensor,
        offsets: list[int],
        transform: LogitTransform,
        in_place: bool,
    ) -> torch.Tensor:
        logps, maximum, log_total = token_statistics(logits, labels.masked_fill(labels == IGNORED, 0), transform)
        ctx.save_for_backward(logits, labels, maximum, log_total)
        ctx.offsets, ctx.transform, ctx.in_place, ctx.backward_done = offsets, transform, in_place, False
        return sum_rows(logps.masked_fill(labels == IGNORED, 0.0), offsets, logps.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if ctx.backward_done and ctx.in_place:
            raise RuntimeError(
                "logits_logps: backward overwrote the logits with their gradient; a second one needs in_place=False"
            )
        ctx.backward_done = True
        logits, labels, maximum, log_total = ctx.saved_tensors
        upstream_rows = expand_to_rows(upstream, ctx.offsets).masked_fill(labels == IGNORED, 0.0)
        grad = logits.detach() if ctx.in_place else logits.detach().clone()
        logits_grad(grad, labels, maximum, log_total, upstream_rows, ctx.transform)
        if ctx.in_place:  # so that autograd raises if another function saved the logits for backward
            torch.autograd.graph.increment_version(logits)
        return grad, None, None, None, None


def logits_grad(
    logits: torch.Tensor,
    labels: torch.Tensor,
    maximum: torch.Tensor,
    log_total: torch.Tensor,
    upstream: torch.Tensor,
    transform: LogitTransform,
) -> None:
    """Overwrite logits with dL / d logits: Triton on a GPU, torch elsewhere.

    Args:
        logits: [N, V], the last dimension contiguous.
        labels: [N] int64.
        maximum: [N] float32 (float64 for float64 logits), max_v z_v of each row.
        log_total: [N], same dtype, log sum_v exp(z_v - maximum).
        upstream: [N], same dtype, the upstream gradient dL / d log p(label).
        transform: maps logits to z.

    Raises:
        ValueError: a row is not contiguous.
    """
    check_rows(logits)
    run = logits_grad_triton if use_triton(logits) else logits_grad_torch
    run(logits, labels, maximum, log_total, upstream, transform)


def logits_grad_torch(
    logits: torch.Tensor,
    labels: torch.Tensor,
    maximum: torch.Tensor,
    log_total: torch.Tensor,
    upstream: torch.Tensor,
    transform: LogitTransform,
) -> None:
    """Torch implementation of `logits_grad_triton`: the same result, on any device."""
    rows, vocabulary = logits.shape
    step = max(1, BLOCK_ELEMENTS // max(vocabulary, 1))
    for start in range(0, rows, step):
        block = slice(start, start + step)
        z = transform.apply_(logits[block].to(maximum.dtype, copy=True))  # [step, V]
        grad = (z - maximum[block, None]).sub_(log_total[block, None]).exp_().neg_()
        grad[torch.arange(len(grad), device=grad.device), labels[block].clamp(min=0)] += 1
        grad *= upstream[block, None]
        grad *= transform.slope if transform.softcap is None else transform.derivative_(z)
        logits[block] = grad.to(logits.dtype)


def logits_grad_triton(
    logits: torch.Tensor,
    labels: torch.Tensor,
    maximum: torch.Tensor,
    log_total: torch.Tensor,
    upstream: torch.Tensor,
    transform: LogitTransform,
    block: int = 2048,
) -> None:
    """Launch the Triton kernel, one program per row and `block` columns; see `logits_grad`."""
    rows, vocabulary = logits.shape
    if rows:
        kernel()[(rows, -(-vocabulary // block))](
            logits,
            labels,
            maximum,
            log_total,
            upstream,
            logits.stride(0),
            vocabulary,
            transform.slope,
            transform.cap,
            HAS_CAP=transform.softcap is not None,
            BLOCK=block,
        )


@functools.cache
def kernel() -> JITFunction:
    """Build the jit function. Triton is imported here because it is not available on every platform."""
    import triton
    import triton.language as tl

    @triton.jit
    def _logits_grad(  # type: ignore[no-untyped-def]
        logits,
        labels,
        maximum,
        log_total,
        upstream,
        row_stride,
        vocabulary,
        slope,
        cap,
        HAS_CAP: tl.constexpr,
        BLOCK: tl.constexpr,
    ):
        row = tl.program_id(0).to(tl.int64)
        column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        inside = column < vocabulary
        pointer = logits + row * row_stride + column
        z = tl.load(pointer, mask=inside, other=0.0).to(tl.float32) * slope  # [BLOCK]
        softcap_grad = 1.0
        if HAS_CAP:
            tanh = 2 * tl.sigmoid(2 * z / cap) - 1
            z = cap * tanh
            softcap_grad = 1 - tanh * tanh
        p = tl.exp(z - tl.load(maximum + row) - tl.load(log_total + row))
        one_hot = tl.where(column == tl.load(labels + row), 1.0, 0.0)
        grad = tl.load(upstream + row) * (one_hot - p) * slope * softcap_grad
        tl.store(pointer, grad.to(logits.dtype.element_ty), mask=inside)

    return _logits_grad
