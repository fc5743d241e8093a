"""Online logsumexp: the exponentials and row statistics of one tile of logits, in one pass over the tile.

A tile is a range of columns of `hidden @ weight.T`, straight from the matmul's float32 accumulator. Its maximum and the
sum of exp(z - maximum) are computed in float32 before anything is rounded. What is saved for backward is the
exponential itself, exp(z - maximum) in [0, 1]: its relative error in bfloat16 is 2^-9 whatever the size of the logit (a
logit of 20 rounded to bfloat16 would be off by 0.06, its exponential by 6 %). The statistics of tiles are combined by
rescaling (the online softmax of Milakov and Gimelshein 2018, arXiv 1805.02867).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from srlm.kernels.triton_support import check_rows, use_triton

if TYPE_CHECKING:
    from srlm.kernels.logit_transform import LogitTransform
    from triton.runtime.jit import JITFunction

# Multiplies exponentials that are saved in float16, whose exponent range is small: they then reach down to 2e-12.
FLOAT16_SCALE = 2.0**15
# The torch implementation processes a tile in blocks of rows of this many elements, which stay in the CPU's cache.
BLOCK_ELEMENTS = 1 << 20
MIN_SHIFTED = -1e4  # the exponential of less is zero, in float64 too


def exp_scale(dtype: torch.dtype) -> float:
    """Return the factor that exponentials saved in `dtype` are multiplied by."""
    return FLOAT16_SCALE if dtype == torch.float16 else 1.0


def online_logsumexp(
    product: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    exps: torch.Tensor,
    maximum: torch.Tensor,
    total: torch.Tensor,
    label_logit: torch.Tensor,
    transform: LogitTransform,
    weighted: torch.Tensor | None = None,
) -> None:
    """Write one tile's exponentials and row statistics: Triton on a GPU, torch elsewhere.

    Args:
        product: [R, C] float32 (or float64), rows of `hidden @ weight[tile].T`; the torch implementation overwrites it.
        bias: [C] or None, any floating dtype.
        labels: [R] int64, the label's column within this tile; outside [0, C) if the label is in another tile.
        exps: [R, C], any floating dtype, receives exp(z - maximum) times `exp_scale`; may be `product` itself.
        maximum: [R] in the product's dtype, receives max_c z.
        total: [R] in the product's dtype, receives sum_c exp(z - maximum).
        label_logit: [R] in the product's dtype, receives z at the label, only in rows whose label is in this tile.
        transform: maps product plus bias to z.
        weighted: [R] in the product's dtype, receives sum_c (z - maximum) exp(z - maximum), from which the entropy of
            the softmax follows; None: not computed.

    Raises:
        ValueError: a row is not contiguous.
    """
    check_rows(product, exps)
    run = online_logsumexp_triton if use_triton(product) else online_logsumexp_torch
    run(product, bias, labels, exps, maximum, total, label_logit, transform, weighted)


def online_logsumexp_torch(
    product: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    exps: torch.Tensor,
    maximum: torch.Tensor,
    total: torch.Tensor,
    label_logit: torch.Tensor,
    transform: LogitTransform,
    weighted: torch.Tensor | None = None,
) -> None:
    """Torch implementation of `online_logsumexp_triton`: the same result, on any device."""
    rows, columns = product.shape
    scale = exp_scale(exps.dtype)
    inside = (labels >= 0) & (labels < columns)
    label_columns = labels.clamp(0, max(columns - 1, 0))[:, None]
    step = max(1, BLOCK_ELEMENTS // max(columns, 1))
    for start in range(0, rows, step):
        block = slice(start, start + step)
        z = product[block]  # [step, C], a view
        if bias is not None:
            z.add_(bias)
        transform.apply_(z)
        torch.where(inside[block], z.gather(1, label_columns[block])[:, 0], label_logit[block], out=label_logit[block])
        torch.amax(z, 1, out=maximum[block])
        # In a tile of only -inf, exp(-inf + inf) would be NaN: its exponentials are zero.
        shift = maximum[block].masked_fill(maximum[block] == -torch.inf, 0.0)
        z.sub_(shift[:, None])
        # Clamped where the exponential is zero anyway: 0 * -inf would be NaN.
        shifted = None if weighted is None else z.clamp(min=MIN_SHIFTED)
        z.exp_()
        torch.sum(z, 1, out=total[block])
        if shifted is not None and weighted is not None:
            torch.sum(shifted.mul_(z), 1, out=weighted[block])
        if scale != 1.0:
            z.mul_(scale)
        if exps.data_ptr() != product.data_ptr():
            exps[block].copy_(z)


def online_logsumexp_triton(
    product: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    exps: torch.Tensor,
    maximum: torch.Tensor,
    total: torch.Tensor,
    label_logit: torch.Tensor,
    transform: LogitTransform,
    weighted: torch.Tensor | None = None,
) -> None:
    """Launch the Triton kernel, one program per row; see `online_logsumexp`. Statistics are float32, contiguous."""
    rows, columns = product.shape
    if rows == 0:
        return
    block = block_size(columns)
    kernel()[(rows,)](
        product,
        product if bias is None else bias,
        labels,
        exps,
        maximum,
        total,
        label_logit,
        total if weighted is None else weighted,
        product.stride(0),
        exps.stride(0),
        columns,
        transform.slope,
        transform.cap,
        exp_scale(exps.dtype),
        HAS_BIAS=bias is not None,
        HAS_CAP=transform.softcap is not None,
        HAS_WEIGHTED=weighted is not None,
        BLOCK=block,
        num_warps=num_warps_for(block),
    )


def block_size(columns: int) -> int:
    """Return the block size of a program, which holds a whole row of the tile."""
    return 1 << max(columns - 1, 0).bit_length()


def num_warps_for(block: int) -> int:
    """Return the number of warps of a program: 32 values per thread, which fit its registers."""
    return max(1, min(16, block // 1024))


@functools.cache
def kernel() -> JITFunction:
    """Build the jit function. Triton is imported here because it is not available on every platform."""
    import triton
    import triton.language as tl

    @triton.jit
    def _online_logsumexp(  # type: ignore[no-untyped-def]
        product,
        bias,
        labels,
        exps,
        maximum,
        total,
        label_logit,
        weighted,
        product_stride,
        exps_stride,
        columns,
        slope,
        cap,
        exp_scale,
        HAS_BIAS: tl.constexpr,
        HAS_CAP: tl.constexpr,
        HAS_WEIGHTED: tl.constexpr,
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
        row_max = tl.max(z, 0)
        # In a tile of only -inf, exp(-inf + inf) would be NaN: its exponentials are zero.
        z -= tl.where(row_max == float("-inf"), 0.0, row_max)
        e = tl.exp(z)
        tl.store(maximum + row, row_max)
        tl.store(total + row, tl.sum(e, 0))
        if HAS_WEIGHTED:
            tl.store(weighted + row, tl.sum(tl.where(e > 0.0, z * e, 0.0), 0))  # 0 * -inf would be NaN
        tl.store(exps + row * exps_stride + column, (e * exp_scale).to(exps.dtype.element_ty), mask=inside)

    return _online_logsumexp
