"""From a tile of products to exponentials and the statistics of its rows, in one read.

A tile is some columns of `hidden @ weight.T`, straight from the product's float32 accumulator. Its maximum and the sum
of exp(z - maximum) are taken in float32 before anything is rounded; what is kept for the backward pass is the
exponential itself, exp(z - maximum) in [0, 1], whose relative error in bfloat16 is 2^-9 whatever the size of the logit
(a logit of 20 rounded to bfloat16 would be off by 0.06, its exponential by 6 %). Tiles' statistics combine by rescaling
(the online softmax of Milakov and Gimelshein 2018, arXiv 1805.02867).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from srlm.kernels.triton_support import check_rows, use_triton

if TYPE_CHECKING:
    from srlm.kernels.logit_transform import LogitTransform
    from triton.runtime.jit import JITFunction

# float16 has no exponent to spare: exponentials are kept times this, so that they reach down to 2e-12.
FLOAT16_SCALE = 2.0**15
# The torch twin goes through a tile in blocks of rows that stay in the processor's cache.
BLOCK_ELEMENTS = 1 << 20


def kept_scale(dtype: torch.dtype) -> float:
    """Return what exponentials are multiplied by where they are kept in `dtype`."""
    return FLOAT16_SCALE if dtype == torch.float16 else 1.0


def fold_logits(
    product: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    kept: torch.Tensor,
    maximum: torch.Tensor,
    total: torch.Tensor,
    label_logit: torch.Tensor,
    transform: LogitTransform,
) -> None:
    """Fold one tile: Triton on a GPU, torch elsewhere.

    Args:
        product: [R, C] float32 (or float64), rows of `hidden @ weight[tile].T`; overwritten by the torch twin.
        bias: [C] or None, any floating type.
        labels: [R] int64, the label's column within this tile; outside [0, C) where it lies in another tile.
        kept: [R, C], any floating type, receives exp(z - maximum) times `kept_scale`; may be `product` itself.
        maximum: [R] in the product's type, receives max_c z.
        total: [R] in the product's type, receives sum_c exp(z - maximum).
        label_logit: [R] in the product's type, receives z at the label in those rows whose label is in this tile.
        transform: from product plus bias to z.

    Raises:
        ValueError: a row is not contiguous.
    """
    check_rows(product, kept)
    fold = fold_logits_triton if use_triton(product) else fold_logits_torch
    fold(product, bias, labels, kept, maximum, total, label_logit, transform)


def fold_logits_torch(
    product: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    kept: torch.Tensor,
    maximum: torch.Tensor,
    total: torch.Tensor,
    label_logit: torch.Tensor,
    transform: LogitTransform,
) -> None:
    """The torch twin of `fold_logits_triton`: the same result, on any device."""
    rows, columns = product.shape
    scale = kept_scale(kept.dtype)
    inside = (labels >= 0) & (labels < columns)
    places = labels.clamp(0, max(columns - 1, 0))[:, None]
    step = max(1, BLOCK_ELEMENTS // max(columns, 1))
    for start in range(0, rows, step):
        some = slice(start, start + step)
        z = product[some]  # [step, C], a view
        if bias is not None:
            z.add_(bias)
        transform.apply_(z)
        torch.where(inside[some], z.gather(1, places[some])[:, 0], label_logit[some], out=label_logit[some])
        torch.amax(z, 1, out=maximum[some])
        # A tile of -inf only would give exp(-inf + inf): its exponentials are zero.
        shift = maximum[some].masked_fill(maximum[some] == -torch.inf, 0.0)
        z.sub_(shift[:, None]).exp_()
        torch.sum(z, 1, out=total[some])
        if scale != 1.0:
            z.mul_(scale)
        if kept.data_ptr() != product.data_ptr():
            kept[some].copy_(z)


def fold_logits_triton(
    product: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    kept: torch.Tensor,
    maximum: torch.Tensor,
    total: torch.Tensor,
    label_logit: torch.Tensor,
    transform: LogitTransform,
) -> None:
    """Launch the Triton kernel, one program a row; see `fold_logits`. The statistics are float32, each contiguous."""
    rows, columns = product.shape
    if rows == 0:
        return
    block = block_of(columns)
    kernel()[(rows,)](
        product,
        product if bias is None else bias,
        labels,
        kept,
        maximum,
        total,
        label_logit,
        product.stride(0),
        kept.stride(0),
        columns,
        transform.slope,
        transform.cap,
        kept_scale(kept.dtype),
        HAS_BIAS=bias is not None,
        HAS_CAP=transform.softcap is not None,
        BLOCK=block,
        num_warps=warps_of(block),
    )


def block_of(columns: int) -> int:
    """Return the width of a program's block, which holds the whole row of a tile."""
    return 1 << max(columns - 1, 0).bit_length()


def warps_of(block: int) -> int:
    """Return a program's warps: 32 values a thread, which fit its registers."""
    return max(1, min(16, block // 1024))


@functools.cache
def kernel() -> JITFunction:
    """Build the jit function; Triton, absent on some platforms, is imported here and not with this module."""
    import triton
    import triton.language as tl

    @triton.jit
    def _fold_logits(  # type: ignore[no-untyped-def]
        product,
        bias,
        labels,
        kept,
        maximum,
        total,
        label_logit,
        product_stride,
        kept_stride,
        columns,
        slope,
        cap,
        kept_scale,
        HAS_BIAS: tl.constexpr,
        HAS_CAP: tl.constexpr,
        BLOCK: tl.constexpr,
    ):
        row = tl.program_id(0).to(tl.int64)
        column = tl.arange(0, BLOCK)
        inside = column < columns
        z = tl.load(product + row * product_stride + column, mask=inside, other=0.0)  # [BLOCK] float32
        if HAS_BIAS:
            z += tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
        z *= slope
        if HAS_CAP:
            z = cap * (2 * tl.sigmoid(2 * z / cap) - 1)  # tanh
        label = tl.load(labels + row)
        tl.store(label_logit + row, tl.sum(tl.where(column == label, z, 0.0), 0), mask=(label >= 0) & (label < columns))
        z = tl.where(inside, z, float("-inf"))
        most = tl.max(z, 0)
        # A tile of -inf only would give exp(-inf + inf): its exponentials are zero.
        e = tl.exp(z - tl.where(most == float("-inf"), 0.0, most))
        tl.store(maximum + row, most)
        tl.store(total + row, tl.sum(e, 0))
        tl.store(kept + row * kept_stride + column, (e * kept_scale).to(kept.dtype.element_ty), mask=inside)

    return _fold_logits
