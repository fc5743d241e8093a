"""Log-probabilities of given tokens from given logits, in one pass over the logits.

log p(y) = z_y - log sum_v exp(z_v), the sum computed online (running maximum and rescaled sum; Milakov and Gimelshein
2018, arXiv 1805.02867), so each row of logits is read once and nothing of its size is written. `log_softmax` followed
by `gather` reads the row three times and writes it once. `token_logps` is for sampling and has no backward pass;
`logits_logps` has one.
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
        tokens: [N], int64, each in [0, V); on a GPU an out-of-range token gives NaN.

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

    z are the transformed logits. The logsumexp is returned as its two parts: added to a large maximum, the logarithm
    of the sum would be rounded away.
    """
    if logits.ndim != 2 or tokens.shape != logits.shape[:1]:
        raise ValueError(f"expected logits [N, V] and tokens [N], found {tuple(logits.shape)}, {tuple(tokens.shape)}")
    run = token_logps_triton if use_triton(logits) else token_logps_torch
    return run(logits, tokens.contiguous(), transform)


def token_logps_torch(
    logits: torch.Tensor, tokens: torch.Tensor, transform: LogitTransform = IDENTITY
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Torch implementation of `token_logps_triton`: the same result, on any device."""
    z = logits if logits.dtype == torch.float64 else logits.float()  # [N, V]
    z = z if transform.is_identity else transform.apply_(z.clone())
    maximum = z.amax(-1)
    shift = maximum.masked_fill(maximum == -torch.inf, 0.0)  # exp(-inf + inf) would be NaN in a row of only -inf
    log_total = (z - shift[:, None]).exp_().sum(-1).log_()
    return z.gather(1, tokens[:, None])[:, 0] - shift - log_total, maximum, log_total


def token_logps_triton(
    logits: torch.Tensor, tokens: torch.Tensor, transform: LogitTransform = IDENTITY, block: int = 4096
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Launch the Triton kernel, one program per row; see `token_statistics`."""
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
    """Build the jit function. Triton is imported here because it is not available on every platform."""
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
            # In a block of only -inf (masked tokens), exp(-inf + inf) would be NaN: it contributes zero.
            shift = tl.where(block_maximum == float("-inf"), 0.0, block_maximum)
            total = total * tl.exp(maximum - shift) + tl.sum(tl.exp(z - shift), 0)
            maximum = block_maximum
        token = tl.load(tokens + row)
        # An out-of-range token gives NaN instead of a logit of another row.
        in_range = (token >= 0) & (token < vocabulary)
        token_logit = tl.load(base + token, mask=in_range, other=float("nan")).to(tl.float32) * slope
        if HAS_CAP:
            token_logit = cap * (2 * tl.sigmoid(2 * token_logit / cap) - 1)
        tl.store(logps + row, token_logit - maximum - tl.log(total))
        tl.store(maxima + row, maximum)
        tl.store(log_totals + row, tl.log(total))

    return _token_logps
