"""The attention masks of rows that are laid out as a trie, in the form that a model's attention takes.

`sdpa` and `eager` attention take a mask of all pairs of nodes; `block_attention` and `flex_attention` skip what no node
sees. Layers with a sliding window have a mask of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.attention.flex_attention import create_block_mask

from srlm.training import block_attention

if TYPE_CHECKING:
    from collections.abc import Mapping

FULL = "full_attention"
SLIDING = "sliding_attention"


@dataclass(frozen=True, slots=True)
class MaskForm:
    """How a model takes its mask.

    `windows` has the window (tokens; None: all) of each layer type. With several types the model takes a mask for each,
    by name; with one, the mask alone.
    """

    attention: str  # sdpa, eager, flex_attention, or `block_attention.NAME`
    windows: Mapping[str, int | None]
    dtype: torch.dtype = torch.float32  # of the mask that eager attention adds to its scores
    multiple: int = 1  # nodes are filled up to a multiple of this: flex attention compiles anew for each number

    def mask(self, depths: torch.Tensor, ends: torch.Tensor) -> Any:  # noqa: ANN401  a tensor, a BlockMask, or a dict
        """Return the mask of a trie, see `SharedRows`."""
        masks = {name: self._one(depths, ends, window) for name, window in self.windows.items()}
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _one(self, depths: torch.Tensor, ends: torch.Tensor, window: int | None) -> Any:  # noqa: ANN401
        if self.attention == "flex_attention":
            return block_mask(depths, ends, window)
        visible = dense_mask(depths, ends, window)
        if self.attention == "sdpa":
            return visible
        if self.attention == block_attention.NAME:
            return block_attention.with_blocks(visible)
        return torch.zeros_like(visible, dtype=self.dtype).masked_fill_(~visible, torch.finfo(self.dtype).min)


def dense_mask(depths: torch.Tensor, ends: torch.Tensor, window: int | None = None) -> torch.Tensor:
    """Return which nodes each node attends to: [1, 1, M, M] bool, True where the column is visible for the row."""
    index = torch.arange(len(ends), device=ends.device)
    visible = (index[None, :] <= index[:, None]) & (index[:, None] < ends[None, :])  # [M, M]
    if window is not None:
        visible &= depths[:, None] - depths[None, :] < window
    return visible[None, None]


def block_mask(depths: torch.Tensor, ends: torch.Tensor, window: int | None = None) -> Any:  # noqa: ANN401  a BlockMask
    """Return the same mask for `flex_attention`."""

    def is_visible(_batch: torch.Tensor, _head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        inside = (key <= query) & (query < ends[key])
        return inside if window is None else inside & (depths[query] - depths[key] < window)

    return create_block_mask(is_visible, None, None, len(ends), len(ends), device=ends.device)
