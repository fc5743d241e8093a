"""How the rows of a forward pass are laid out: as a trie in a single row, or below one another with padding.

A causal model computes the same hidden state for a token whatever follows it. Rows that begin alike (judge examples
with one rubric, both answers to a prompt) are therefore computed as a trie: every distinct beginning once, at the
position of its depth, and no padding. The mask lets a token attend to its own beginning only, so hidden states, losses
and gradients are those of separate rows, up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from srlm.native import prefix_trie

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from srlm.training.prefix_masks import MaskForm


class RowLayout(Protocol):
    """Rows of token ids in one forward pass."""

    @property
    def input_ids(self) -> torch.Tensor:
        """The computed tokens: [B, L] int64."""

    @property
    def nodes(self) -> list[NDArray[np.int64]]:
        """For each row [T]: where the hidden states of its tokens are, as positions in the flattened [B * L]."""

    def model_inputs(self, device: torch.device) -> dict[str, Any]:
        """Return the keyword arguments of the model's forward pass."""


@dataclass(frozen=True, slots=True)
class PaddedRows:
    """Rows below one another, padded on the right."""

    input_ids: torch.Tensor  # [B, L] int64
    attention_mask: torch.Tensor | None  # [B, L] int64; None: no token sees the padding behind it anyway
    nodes: list[NDArray[np.int64]]

    def model_inputs(self, device: torch.device) -> dict[str, Any]:
        """See `RowLayout`."""
        mask = {} if self.attention_mask is None else {"attention_mask": self.attention_mask.to(device)}
        return {"input_ids": self.input_ids.to(device), **mask}


@dataclass(frozen=True, slots=True)
class SharedRows:
    """Rows as a trie of M nodes in depth-first order: node j is i or before it in a row if `j <= i < ends[j]`."""

    input_ids: torch.Tensor  # [1, M] int64
    depths: torch.Tensor  # [M] int64, the position of each node in its rows
    ends: torch.Tensor  # [M] int64
    nodes: list[NDArray[np.int64]]
    form: MaskForm

    def model_inputs(self, device: torch.device) -> dict[str, Any]:
        """See `RowLayout`."""
        depths, ends = self.depths.to(device), self.ends.to(device)
        return {
            "input_ids": self.input_ids.to(device),
            "position_ids": depths[None],
            "attention_mask": self.form.mask(depths, ends),
        }


def pad_rows(rows: Sequence[Sequence[int]], pad_token_id: int, *, masked: bool = True) -> PaddedRows:
    """Lay out rows with padding, which is `masked` for models that need it (`prefix_sharing.needs_mask`)."""
    lengths = [len(row) for row in rows]
    width = max(lengths, default=0)
    input_ids = torch.full((len(rows), width), pad_token_id)  # [B, L]
    mask = torch.zeros_like(input_ids)
    for index, row in enumerate(rows):
        input_ids[index, : len(row)] = torch.tensor(row)
        mask[index, : len(row)] = 1
    return PaddedRows(
        input_ids,
        mask if masked else None,
        [index * width + np.arange(length) for index, length in enumerate(lengths)],
    )


def share_rows(rows: Sequence[Sequence[int]], form: MaskForm) -> SharedRows:
    """Lay out rows as a trie; equal rows have the same nodes. Nodes that fill it up attend to themselves only."""
    tokens, depths, ends, nodes = row_trie(rows)
    filler = np.arange(len(tokens), -(-len(tokens) // form.multiple) * form.multiple)
    columns = [(tokens, np.zeros_like(filler)), (depths, np.zeros_like(filler)), (ends, filler + 1)]
    tokens, depths, ends = (np.concatenate(parts) for parts in columns)
    return SharedRows(torch.from_numpy(tokens)[None], torch.from_numpy(depths), torch.from_numpy(ends), nodes, form)


def row_trie(
    rows: Sequence[Sequence[int]],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], list[NDArray[np.int64]]]:
    """Return tokens, depths and ends of the nodes [M], and the nodes of each row, see `native.prefix_trie`."""
    ids, offsets = pack(rows)
    tokens, depths, ends, nodes = prefix_trie(ids, offsets)
    return tokens, depths, ends, np.split(nodes, offsets[1:-1]) if rows else []


def pack(rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the tokens of all rows [T], and their cumulative lengths [N + 1]."""
    offsets = np.fromiter(accumulate(map(len, rows), initial=0), np.int64, len(rows) + 1)
    tokens = [np.asarray(row, np.int64) for row in rows]
    return np.concatenate(tokens) if rows else np.empty(0, np.int64), offsets
