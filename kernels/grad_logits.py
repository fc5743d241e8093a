"""Gradient with respect to the product x = hidden @ weight.T, written in place over the saved exponentials.

d log p(y) / dx_v = (1[v = y] - p_v) dz_v/dx_v. p_v is the saved exp(z_v - maximum) times exp(maximum - logsumexp), one
factor per row and tile, so no exponential is recomputed. The label's own p comes from its log-probability: with p from
the rounded exponential, 1 - p would lose its significant digits when p is close to one.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from srlm.kernels.online_logsumexp import BLOCK_ELEMENTS, exp_scale
from srlm.kernels.triton_support import check_rows, use_triton

if TYPE_CHECKING:
    import torch
    from srlm.kernels.logit_transform import LogitTransform
    from triton.runtime.jit import JITFunction


def grad_logits(
    exps: torch.Tensor,
    labels: torch.Tensor,
    maximum: torch.Tensor,
    factor: torch.Tensor,
    label_logit: torch.Tensor,
    label_logp: torch.Tensor,
    upstream: torch.Tensor,
    transform: LogitTransform,
) -> None:
    """Overwrite one tile's exponentials with dL / dx: Triton on a GPU, torch elsewhere.

    Args:
        exps: [R, C], the exponentials that `online_logsumexp` saved for this tile.
        labels: [R] int64, the label's column within this tile; outside [0, C) if the label is in another tile.
        maximum: [R] float32 (float64 for a float64 `exps`), each row's maximum over this tile.
        factor: [R], same dtype, exp(maximum) / sum_v exp(z_v), the sum over the whole vocabulary.
        label_logit: [R], same dtype, z at the label.
        label_logp: [R], same dtype, log p(label).
        upstream: [R], same dtype, the upstream gradient dL / d log p(label).
        transform: the transform passed to `online_logsumexp`.

    Raises:
        ValueError: a row is not contiguous.
    """
    check_rows(exps)
    grad = grad_logits_triton if use_triton(exps) else grad_logits_torch
    grad(exps, labels, maximum, factor, label_logit, label_logp, upstream, transform)


def grad_logits_torch(
    exps: torch.Tensor,
    labels: torch.Tensor,
    maximum: torch.Tensor,
    factor: torch.Tensor,
    label_logit: torch.Tensor,
    label_logp: torch.Tensor,
    upstream: torch.Tensor,
    transform: LogitTransform,
) -> None:
    """Torch implementation of `grad_logits_triton`: the same result, on any device."""
    rows, columns = exps.shape
    scale = exp_scale(exps.dtype)
    row_scale = factor * (-upstream / scale)  # [R], so that exps * row_scale = -upstream * p
    if transform.softcap is None:
        row_scale *= transform.slope
    at_label = upstream * (1 - label_logp.exp()) * _slopes_at(label_logit, transform)  # [R]
    step = max(1, BLOCK_ELEMENTS // max(columns, 1))
    for start in range(0, rows, step):
        block = slice(start, start + step)
        tile = exps[block]
        if transform.softcap is None:
            tile.mul_(row_scale[block, None])  # computed in the wider of the two dtypes
            continue
        e = tile.to(row_scale.dtype)
        z = (e / scale).log_().add_(maximum[block, None])
        slopes = transform.derivative_(z.clamp_(-transform.cap, transform.cap))  # clamped: log 0 = -inf where p is 0
        tile.copy_(e * row_scale[block, None] * slopes)
    inside = ((labels >= 0) & (labels < columns)).nonzero()[:, 0]
    exps[inside, labels[inside]] = at_label[inside].to(exps.dtype)


def _slopes_at(z: torch.Tensor, transform: LogitTransform) -> torch.Tensor | float:
    return transform.slope if transform.softcap is None else transform.derivative_(z.clone())


def grad_logits_triton(
    exps: torch.Tensor,
    labels: torch.Tensor,
    maximum: torch.Tensor,
    factor: torch.Tensor,
    label_logit: torch.Tensor,
    label_logp: torch.Tensor,
    upstream: torch.Tensor,
    transform: LogitTransform,
    block: int = 2048,
) -> None:
    """Launch the Triton kernel, one program per row and `block` columns; see `grad_logits`."""
    rows, columns = exps.shape
    if rows == 0:
        return
    kernel()[(rows, -(-columns // block))](
        exps,
        labels,
        maximum,
        factor,
        label_logit,
        label_logp,
        upstream,
        exps.stride(0),
        columns,
        transform.slope,
        transform.cap,
        1 / exp_scale(exps.dtype),
        HAS_CAP=transform.softcap is not None,
        BLOCK=block,
    )


@functools.cache
def kernel() -> JITFunction:
    """Build the jit function. Triton is imported here because it is not available on every platform."""
    import triton
    import triton.language as tl

    @triton.jit
    def _grad_logits(  # type: ignore[no-untyped-def]
        exps,
        labels,
        maximum,
        factor,
        label_logit,
        label_logp,
        upstream,
        exps_stride,
        columns,
        slope,
        cap,
        inverse_scale,
        HAS_CAP: tl.constexpr,
        BLOCK: tl.constexpr,
    ):
        row = tl.program_id(0).to(tl.int64)
        column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        inside = column < columns
        pointer = exps + row * exps_stride + column
        e = tl.load(pointer, mask=inside, other=0.0).to(tl.float32) * inverse_scale  # [BLOCK]
        is_label = column == tl.load(labels + row)
        p = tl.where(is_label, tl.exp(tl.load(label_logp + row)), e * tl.load(factor + row))
        grad = tl.load(upstream + row) * (tl.where(is_label, 1.0, 0.0) - p) * slope
        if HAS_CAP:
            # Where p is 0 the softcap's derivative does not matter, but it must be finite: avoid log 0.
            z = tl.log(tl.maximum(e, 1e-37)) + tl.load(maximum + row)
            z = tl.where(is_label, tl.load(label_logit + row), z)
            tanh = tl.minimum(tl.abs(z) / cap, 1.0)
            grad *= 1 - tanh * tanh
        tl.store(pointer, grad.to(exps.dtype.element_ty), mask=inside)

    return _grad_logits
