"""Log-probabilities of given tokens from given logits, in one read of the logits.

log p(y) = z_y - log sum_v exp(z_v), the sum taken online (running maximum and rescaled sum; Milakov and Gimelshein
2018, arXiv 1805.02867), so a row of the vocabulary is read once and nothing of its size is written. `log_softmax`
followed by `gather` reads the row three times and writes it once. `token_logps` serves sampling and has no backward
pass; `logits_logps` has.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from srlm.kernels.logit_transform import LogitTransform
from srlm.kernels.triton_support import check_rows, use_triton

if TYPE_CHECKING:
    from triton.runtime.jit import JITFunction

IDENTITY = LogitTransform()


def token_logps(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return log p(token) under each row's softmax.

    Args:
        logits: [N, V], float32, float16 or bfloat16, the last dimension contiguous.
        tokens: [N], int64, each in [0, V); on a GPU another one gives NaN.

    Returns:
        [N] float32, nats. Triton on a GPU, torch elsewhere.

    Raises:
        ValueError: the shapes do not match.
    """
    return token_statistics(logits, tokens, IDENTITY)[0]


def token_statistics(
    logits: torch.Tensor, tokens: torch.Tensor, transform: LogitTransform
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return log p(token), max_v z_v and log sum_v exp(z_v - maximum), [N] each; see `token_logps`.

    z are the transformed logits. The two parts of the log-sum-exp stay apart: a large maximum would swallow the other.
    """
    if logits.ndim != 2 or tokens.shape != logits.shape[:1]:
        raise ValueError(f"expected logits [N, V] and tokens [N], found {tuple(logits.shape)}, {tuple(tokens.shape)}")
    run = token_logps_triton if use_triton(logits) else token_logps_torch
    return run(logits, tokens.contiguous(), transform)


def token_logps_torch(
    logits: torch.Tensor, tokens: torch.Tensor, transform: LogitTransform = IDENTITY
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The torch twin of `token_logps_triton`: the same result, on any device."""
    wide = logits if logits.dtype == torch.float64 else logits.float()  # [N, V]
    wide = wide if transform.is_identity else transform.apply_(wide.clone())
    maximum = wide.amax(-1)
    shift = maximum.masked_fill(maximum == -torch.inf, 0.0)  # a row of -inf only would give exp(-inf + inf)
    log_total = (wide - shift[:, None]).exp_().sum(-1).log_()
    return wide.gather(1, tokens[:, None])[:, 0] - shift - log_total, maximum, log_total


def token_logps_triton(
    logits: torch.Tensor, tokens: torch.Tensor, transform: LogitTransform = IDENTITY, block: int = 4096
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Launch the Triton kernel, one program a row; see `token_statistics`."""
    check_rows(logits)
    rows, vocabulary = logits.shape
    logps, maximum, log_total = torch.empty(3, rows, dtype=torch.float32, device=logits.device).unbind()
    if rows:
        kernel()[(rows,)](
            logits,
            tokens,
            logps,
            maximum,
            log_total,
            logits.stride(0),
            vocabulary,
            transform.slope,
            transform.cap,
            HAS_CAP=transform.softcap is not None,
            BLOCK=block,
        )
    return logps, maximum, log_total


@functools.cache
def kernel() -> JITFunction:
    """Build the jit function; Triton, absent on some platforms, is imported here and not with this module."""
    import triton
    import triton.language as tl

    @triton.jit
    def _token_logps(  # type: ignore[no-untyped-def]
        logits,
        tokens,
        logps,
        maxima,
        log_totals,
        row_stride,
        vocabulary,
        slope,
        cap,
        HAS_CAP: tl.constexpr,
        BLOCK: tl.constexpr,
    ):
        row = tl.program_id(0)
        base = logits + row.to(tl.int64) * row_stride
        maximum = float("-inf")
        total = 0.0
        for start in range(0, vocabulary, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            inside = columns < vocabulary
            z = tl.load(base + columns, mask=inside, other=0.0).to(tl.float32) * slope  # [BLOCK]
            if HAS_CAP:
                z = cap * (2 * tl.sigmoid(2 * z / cap) - 1)  # tanh
            z = tl.where(inside, z, float("-inf"))
            block_maximum = tl.maximum(maximum, tl.max(z, 0))
            # A block of -inf only (masked tokens) would give exp(-inf + inf): its contribution is zero.
            shift = tl.where(block_maximum == float("-inf"), 0.0, block_maximum)
            total = total * tl.exp(maximum - shift) + tl.sum(tl.exp(z - shift), 0)
            maximum = block_maximum
        token = tl.load(tokens + row)
        # A token that no word is shows as NaN, and not as a number out of another row.
        known = (token >= 0) & (token < vocabulary)
        own = tl.load(base + token, mask=known, other=float("nan")).to(tl.float32) * slope
        if HAS_CAP:
            own = cap * (2 * tl.sigmoid(2 * own / cap) - 1)
        tl.store(logps + row, own - maximum - tl.log(total))
        tl.store(maxima + row, maximum)
        tl.store(log_totals + row, tl.log(total))

    return _token_logps
