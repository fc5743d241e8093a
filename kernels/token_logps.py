"""Log-probabilities of given tokens from given logits, in one read of the logits.

log p(y) = x_y - log sum_v exp(x_v), the sum taken online (running maximum and rescaled sum; Milakov and Gimelshein
2018, arXiv 1805.02867), so a row of the vocabulary is read once and nothing of its size is written. `log_softmax`
followed by `gather` reads the row three times and writes it once. There is no backward pass here: it serves sampling.
"""

from __future__ import annotations

import functools
from typing import Any

import torch


def token_logps(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return log p(token) under each row's softmax.

    Args:
        logits: [N, V], float32, float16 or bfloat16, the last dimension contiguous.
        tokens: [N], int64, each in [0, V).

    Returns:
        [N] float32, nats. Triton on a GPU, torch elsewhere.

    Raises:
        ValueError: the shapes do not match.
    """
    if logits.ndim != 2 or tokens.shape != logits.shape[:1]:
        raise ValueError(f"expected logits [N, V] and tokens [N], found {tuple(logits.shape)}, {tuple(tokens.shape)}")
    return token_logps_triton(logits, tokens) if logits.is_cuda else token_logps_torch(logits, tokens)


def token_logps_torch(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The torch twin of `token_logps_triton`: the same result, on any device."""
    wide = logits.float()  # [N, V]
    return wide.gather(1, tokens[:, None])[:, 0] - wide.logsumexp(-1)


def token_logps_triton(logits: torch.Tensor, tokens: torch.Tensor, block: int = 4096) -> torch.Tensor:
    """Launch the Triton kernel, one program a row; see `token_logps`."""
    rows, vocabulary = logits.shape
    if logits.stride(1) != 1:
        raise ValueError("the last dimension of logits must be contiguous")
    out = torch.empty(rows, dtype=torch.float32, device=logits.device)
    if rows:
        kernel()[(rows,)](logits, tokens, out, logits.stride(0), vocabulary, BLOCK=block)
    return out


@functools.cache
def kernel() -> Any:  # noqa: ANN401  a triton JITFunction, whose package is absent on some platforms
    """Build the jit function; Triton is imported here, so that this module imports without it."""
    import triton
    import triton.language as tl

    @triton.jit
    def _token_logps(logits, tokens, out, row_stride, vocabulary, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, N803
        row = tl.program_id(0)
        base = logits + row.to(tl.int64) * row_stride
        maximum = float("-inf")
        total = 0.0
        for start in range(0, vocabulary, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            x = tl.load(base + columns, mask=columns < vocabulary, other=float("-inf")).to(tl.float32)  # [BLOCK]
            block_maximum = tl.maximum(maximum, tl.max(x, 0))
            # A block of -inf only (masked tokens) would give exp(-inf + inf): its contribution is zero.
            shift = tl.where(block_maximum == float("-inf"), 0.0, block_maximum)
            total = total * tl.exp(maximum - shift) + tl.sum(tl.exp(x - shift), 0)
            maximum = block_maximum
        token = tl.load(tokens + row)
        chosen = tl.load(base + token).to(tl.float32)
        tl.store(out + row, chosen - maximum - tl.log(total))

    return _token_logps
