"""From kept exponentials to the gradient of the products, in place.

d log p(y) / dx_v = (1[v = y] - p_v) dz_v/dx_v. p_v is the kept exp(z_v - maximum) times exp(maximum - log-sum-exp), one
factor a row and tile, so no exponential is taken again. The label's own p comes from its log-probability: 1 - p would
otherwise lose what matters when p is near one.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from srlm.kernels.fold_logits import BLOCK_ELEMENTS, kept_scale
from srlm.kernels.triton_support import check_rows, use_triton

if TYPE_CHECKING:
    import torch
    from srlm.kernels.logit_transform import LogitTransform
    from triton.runtime.jit import JITFunction


def grad_logits(
    kept: torch.Tensor,
    labels: torch.Tensor,
    maximum: torch.Tensor,
    factor: torch.Tensor,
    label_logit: torch.Tensor,
    label_logp: torch.Tensor,
    upstream: torch.Tensor,
    transform: LogitTransform,
) -> None:
    """Overwrite one tile's exponentials with the gradient of the products: Triton on a GPU, torch elsewhere.

    Args:
        kept: [R, C], what `fold_logits` kept of the tile.
        labels: [R] int64, the label's column within this tile; outside [0, C) where it lies in another tile.
        maximum: [R] float32 (float64 for a float64 `kept`), the tile's own maximum of each row.
        factor: [R], of the same type, exp(that maximum) / sum_v exp(z_v) over the whole vocabulary.
        label_logit: [R], of the same type, z at the label.
        label_logp: [R], of the same type, the label's log-probability.
        upstream: [R], of the same type, dL / d log p(label).
        transform: what `fold_logits` was given.

    Raises:
        ValueError: a row is not contiguous.
    """
    check_rows(kept)
    grad = grad_logits_triton if use_triton(kept) else grad_logits_torch
    grad(kept, labels, maximum, factor, label_logit, label_logp, upstream, transform)


def grad_logits_torch(
    kept: torch.Tensor,
    labels: torch.Tensor,
    maximum: torch.Tensor,
    factor: torch.Tensor,
    label_logit: torch.Tensor,
    label_logp: torch.Tensor,
    upstream: torch.Tensor,
    transform: LogitTransform,
) -> None:
    """The torch twin of `grad_logits_triton`: the same result, on any device."""
    rows, columns = kept.shape
    scale = kept_scale(kept.dtype)
    times = factor * (-upstream / scale)  # [R], so that kept * times = -upstream * p
    if transform.softcap is None:
        times *= transform.slope
    at_label = upstream * (1 - label_logp.exp()) * _slopes_at(label_logit, transform)  # [R]
    step = max(1, BLOCK_ELEMENTS // max(columns, 1))
    for start in range(0, rows, step):
        some = slice(start, start + step)
        tile = kept[some]
        if transform.softcap is None:
            tile.mul_(times[some, None])  # computed in the wider of the two types
            continue
        wide = tile.to(times.dtype)
        z = (wide / scale).log_().add_(maximum[some, None])
        slopes = transform.derivative_(z.clamp_(-transform.cap, transform.cap))  # log 0 is met where p is 0
        tile.copy_(wide * times[some, None] * slopes)
    inside = ((labels >= 0) & (labels < columns)).nonzero()[:, 0]
    kept[inside, labels[inside]] = at_label[inside].to(kept.dtype)


def _slopes_at(z: torch.Tensor, transform: LogitTransform) -> torch.Tensor | float:
    return transform.slope if transform.softcap is None else transform.derivative_(z.clone())


def grad_logits_triton(
    kept: torch.Tensor,
    labels: torch.Tensor,
    maximum: torch.Tensor,
    factor: torch.Tensor,
    label_logit: torch.Tensor,
    label_logp: torch.Tensor,
    upstream: torch.Tensor,
    transform: LogitTransform,
    block: int = 2048,
) -> None:
    """Launch the Triton kernel, one program a row and `block` columns; see `grad_logits`."""
    rows, columns = kept.shape
    if rows == 0:
        return
    kernel()[(rows, -(-columns // block))](
        kept,
        labels,
        maximum,
        factor,
        label_logit,
        label_logp,
        upstream,
        kept.stride(0),
        columns,
        transform.slope,
        transform.cap,
        1 / kept_scale(kept.dtype),
        HAS_CAP=transform.softcap is not None,
        BLOCK=block,
    )


@functools.cache
def kernel() -> JITFunction:
    """Build the jit function; Triton, absent on some platforms, is imported here and not with this module."""
    import triton
    import triton.language as tl

    @triton.jit
    def _grad_logits(  # type: ignore[no-untyped-def]
        kept,
        labels,
        maximum,
        factor,
        label_logit,
        label_logp,
        upstream,
        kept_stride,
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
        place = kept + row * kept_stride + column
        e = tl.load(place, mask=inside, other=0.0).to(tl.float32) * inverse_scale  # [BLOCK]
        is_label = column == tl.load(labels + row)
        p = tl.where(is_label, tl.exp(tl.load(label_logp + row)), e * tl.load(factor + row))
        grad = tl.load(upstream + row) * (tl.where(is_label, 1.0, 0.0) - p) * slope
        if HAS_CAP:
            # log 0 is met where p is 0: there the slope does not matter, but must be a number.
            z = tl.log(tl.maximum(e, 1e-37)) + tl.load(maximum + row)
            z = tl.where(is_label, tl.load(label_logit + row), z)
            bend = tl.minimum(tl.abs(z) / cap, 1.0)
            grad *= 1 - bend * bend
        tl.store(place, grad.to(kept.dtype.element_ty), mask=inside)

    return _grad_logits
