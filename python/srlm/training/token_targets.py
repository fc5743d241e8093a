"""The rows of a batch's hidden states that predict completion tokens, and the tokens that they predict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from srlm.training.row_layouts import RowLayout


@dataclass(frozen=True, slots=True)
class Targets:
    """Predicted tokens, with the positions in the flattened [B * L] of the hidden states that predict them."""

    rows: torch.Tensor  # [N] int64
    labels: torch.Tensor  # [N] int64
    counts: torch.Tensor  # [N] float64, how many rows of data this is the same token of
    cu_seqlens: list[int]  # [S + 1], the targets of each row of data; merged targets are one sequence
    width: int  # L

    def to(self, device: torch.device, **options: Any) -> Targets:  # noqa: ANN401  as torch.Tensor.to takes them
        """Return the targets on a device; the cu_seqlens stay a list."""
        names = ("rows", "labels", "counts")
        return replace(self, **{name: getattr(self, name).to(device, **options) for name in names})


def targets_of(
    layout: RowLayout, rows: Sequence[Sequence[int]], masks: Sequence[NDArray[np.bool_]], *, merge: bool = False
) -> Targets:
    """Return the targets of rows: the tokens where `masks` is true.

    Args:
        layout: the layout of the rows.
        rows: N rows of token ids.
        masks: for each row [T] bool. No position predicts the first token of a row, so it is no target.
        merge: list a token that several rows of a trie have in common once, with their number as its count.
    """
    found = [
        _row_targets(nodes, row, mask) for nodes, row, mask in zip(layout.nodes[: len(rows)], rows, masks, strict=True)
    ]
    nothing = np.empty(0, np.int64)
    before, labels, own = (np.concatenate([nothing, *(each[part] for each in found)]) for part in range(3))
    counts = np.ones(len(own), np.int64)
    cu_seqlens = [0, *accumulate(len(each[0]) for each in found)]
    if merge:
        _, first, counts = np.unique(own, return_index=True, return_counts=True)
        before, labels, cu_seqlens = before[first], labels[first], [0, len(first)]
    return Targets(
        torch.from_numpy(before),
        torch.from_numpy(labels),
        torch.from_numpy(counts.astype(np.float64)),
        cu_seqlens,
        layout.input_ids.shape[1],
    )


def _row_targets(
    nodes: NDArray[np.int64], row: Sequence[int], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return for the targets of one row: the nodes before them, the tokens, and their own nodes."""
    at = np.flatnonzero(mask)
    at = at[at > 0]
    return nodes[at - 1], np.asarray(row, np.int64)[at], nodes[at]
