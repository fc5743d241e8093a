"""Log-probabilities of sequences from logits that exist anyway: one read forward, the gradient in their place backward.

For models whose output is more than a matrix product, or a loss that needs the logits for something else first. Where
only hidden states exist, `sequence_logps` and `preference_loss` never build the logits.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from srlm.kernels.fold_logits import BLOCK_ELEMENTS
from srlm.kernels.logit_transform import LogitTransform
from srlm.kernels.segments import IGNORED, boundaries, check_labels, spread, sum_rows
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
        labels: [N] int64, the token of each row; a row labelled -100 counts as nothing.
        cu_seqlens: [S + 1], where sequences begin and end among the rows (0 first, N last; equal ones: empty).
        softcap: cap * tanh(logit / cap), as in Gemma 2 (arXiv 2408.00118), or None.
        logit_scale: factor of the logits, before the cap.
        temperature: divisor of the logits, after the cap.
        in_place: the backward pass writes the gradient over the logits, which are then no logits any more; False
            spends memory of their size instead.

    Returns:
        [S] float32 (float64 for float64 logits), nats. An empty sequence has 0.

    Raises:
        ValueError: shapes, types, labels (checked on the CPU only; on a GPU a wrong one gives NaN) or boundaries that
            do not fit.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"expected logits [N, V] and labels [N], found {tuple(logits.shape)}, {tuple(labels.shape)}")
    check_labels(labels, logits.shape[1])
    cuts = boundaries(cu_seqlens, logits.shape[0])
    transform = LogitTransform(softcap, logit_scale, temperature)
    return _LogitsLogps.apply(logits, labels.contiguous(), cuts, transform, in_place)


class _LogitsLogps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        logits: torch.Tensor,
        labels: torch.Tensor,
        cuts: list[int],
        transform: LogitTransform,
        in_place: bool,
    ) -> torch.Tensor:
        logps, maximum, log_total = token_statistics(logits, labels.masked_fill(labels == IGNORED, 0), transform)
        ctx.save_for_backward(logits, labels, maximum, log_total)
        ctx.cuts, ctx.transform, ctx.in_place, ctx.spent = cuts, transform, in_place, False
        return sum_rows(logps.masked_fill(labels == IGNORED, 0.0), cuts, logps.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if ctx.spent and ctx.in_place:
            raise RuntimeError(
                "logits_logps: the gradient has taken the logits' place; a second one needs in_place=False"
            )
        ctx.spent = True
        logits, labels, maximum, log_total = ctx.saved_tensors
        of_rows = spread(upstream, ctx.cuts).masked_fill(labels == IGNORED, 0.0)
        grad = logits.detach() if ctx.in_place else logits.detach().clone()
        logits_grad(grad, labels, maximum, log_total, of_rows, ctx.transform)
        if ctx.in_place:  # so that autograd notices where another function had kept the logits
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
        log_total: [N], of the same type, log sum_v exp(z_v - maximum).
        upstream: [N], of the same type, dL / d log p(label).
        transform: from logits to z.

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
    """The torch twin of `logits_grad_triton`: the same result, on any device."""
    rows, vocabulary = logits.shape
    step = max(1, BLOCK_ELEMENTS // max(vocabulary, 1))
    for start in range(0, rows, step):
        some = slice(start, start + step)
        z = transform.apply_(logits[some].to(maximum.dtype, copy=True))  # [step, V]
        grad = (z - maximum[some, None]).sub_(log_total[some, None]).exp_().neg_()
        grad[torch.arange(len(grad), device=grad.device), labels[some].clamp(min=0)] += 1
        grad *= upstream[some, None]
        grad *= transform.slope if transform.softcap is None else transform.derivative_(z)
        logits[some] = grad.to(logits.dtype)


def logits_grad_triton(
    logits: torch.Tensor,
    labels: torch.Tensor,
    maximum: torch.Tensor,
    log_total: torch.Tensor,
    upstream: torch.Tensor,
    transform: LogitTransform,
    block: int = 2048,
) -> None:
    """Launch the Triton kernel, one program a row and `block` columns; see `logits_grad`."""
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
    """Build the jit function; Triton, absent on some platforms, is imported here and not with this module."""
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
        place = logits + row * row_stride + column
        z = tl.load(place, mask=inside, other=0.0).to(tl.float32) * slope  # [BLOCK]
        bend = 1.0
        if HAS_CAP:
            tanh = 2 * tl.sigmoid(2 * z / cap) - 1
            z = cap * tanh
            bend = 1 - tanh * tanh
        p = tl.exp(z - tl.load(maximum + row) - tl.load(log_total + row))
        own = tl.where(column == tl.load(labels + row), 1.0, 0.0)
        grad = tl.load(upstream + row) * (own - p) * slope * bend
        tl.store(place, grad.to(logits.dtype.element_ty), mask=inside)

    return _logits_grad
