"""Attention of rows that are laid out as a trie, in blocks: each block of nodes reads the nodes that it can see.

A mask of all pairs of nodes costs M x M operations, most of them masked: a node sees its own row's beginning only. In
depth-first order, a block of neighbours sees the nodes before it on the path to its first node, and those of the block.
So each block is a small `sdpa` call on gathered keys and values, with the same result. Used on CPUs; on GPUs
`flex_attention` skips masked blocks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "srlm_blocks"
BLOCK = 128  # nodes
BLOCKS_ATTRIBUTE = "_srlm_blocks"  # of a mask


def blocks_of(visible: torch.Tensor) -> list[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Return the blocks of a mask [M, M] of nodes in depth-first order.

    Each is: the nodes of the block; the nodes that one of them sees, [K]; and the mask of both, [1, 1, block, K] bool.
    """
    found = []
    for start in range(0, len(visible), BLOCK):
        rows = slice(start, min(start + BLOCK, len(visible)))
        seen = visible[rows].any(0).nonzero()[:, 0]
        found.append((rows, seen, visible[rows][:, seen][None, None]))
    return found


def with_blocks(mask: torch.Tensor) -> torch.Tensor:
    """Attach its blocks to a mask [1, 1, M, M], for `block_attention`."""
    setattr(mask, BLOCKS_ATTRIBUTE, blocks_of(mask[0, 0]))
    return mask


def block_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,  # noqa: ANN401
) -> tuple[torch.Tensor, None]:
    """See `transformers.AttentionInterface`: query [B, H, L, D], key and value [B, G, L, D]; returns [B, L, H, D].

    A mask without blocks is one of separate rows, which is computed as by `sdpa`.
    """
    blocks = getattr(attention_mask, BLOCKS_ATTRIBUTE, None)
    if blocks is None:
        result: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
        return result
    groups = getattr(module, "num_key_value_groups", 1)
    parts = []
    for rows, seen, mask in blocks:
        keys, values = (repeat_kv(each[:, :, seen], groups) for each in (key, value))
        parts.append(
            scaled_dot_product_attention(
                query[:, :, rows], keys, values, attn_mask=mask, dropout_p=dropout, scale=scaling
            )
        )
    return torch.cat(parts, 2).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, block_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
