"""The rows of a batch's hidden states that predict the tokens of both answers, pair after pair.

The kernels take only these rows, with those of a pair next to each other, so prompts and padding are not projected.

On request, the token prefix that chosen and rejected share is dropped from the rows of both answers and listed once.
Its hidden states are identical (without dropout), so it cancels in every function of the difference of the two
log-probabilities, and in its gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from srlm.training.row_layouts import RowLayout


@dataclass(frozen=True, slots=True)
class PairLayout:
    """The rows of B pairs, as positions in the flattened hidden states."""

    rows: torch.Tensor  # [N] int64, positions of the hidden states
    labels: torch.Tensor  # [N] int64, the tokens that they predict
    cu_seqlens: list[int]  # [2B + 1], of chosen, rejected, chosen, ...
    shared_rows: torch.Tensor  # [M] int64, positions of the dropped shared prefixes, in the chosen answers
    shared_labels: torch.Tensor  # [M] int64
    shared_cu_seqlens: list[int]  # [B + 1]
    lengths: torch.Tensor  # [B, 2] int64, tokens of the answers, including dropped prefixes
    width: int  # L, tokens of a row of the batch

    def to(self, device: torch.device, **options: Any) -> PairLayout:  # noqa: ANN401  as torch.Tensor.to takes them
        """Return the layout on a device; the cu_seqlens stay lists."""
        names = ("rows", "labels", "shared_rows", "shared_labels", "lengths")
        return replace(self, **{name: getattr(self, name).to(device, **options) for name in names})


def build_layout(
    layout: RowLayout, examples: Sequence[Mapping[str, Sequence[int]]], *, drop_shared_prefix: bool
) -> PairLayout:
    """Return the rows of pairs (`prompt_ids`, `chosen_ids`, `rejected_ids`).

    `layout` has the rows of `pair_rows`: each pair's prompt with the chosen answer, then with the rejected one.
    """
    rows: list[NDArray[np.int64]] = []
    labels: list[int] = []
    shared_rows: list[NDArray[np.int64]] = []
    shared_labels: list[int] = []
    lengths, shared_counts = [], []
    for pair, example in enumerate(examples):
        skip = 0 if example["prompt_ids"] else 1  # no row predicts the first token of a sequence
        before = len(example["prompt_ids"]) + skip - 1
        sides = [list(example[name][skip:]) for name in ("chosen_ids", "rejected_ids")]
        # Compared from the answers' first token: tokens after a differing one have another context.
        shared = (
            common_prefix_length(example["chosen_ids"], example["rejected_ids"]) - skip if drop_shared_prefix else 0
        )
        shared = max(shared, 0)
        for side, tokens in enumerate(sides):
            nodes = layout.nodes[2 * pair + side][before : before + len(tokens)]
            rows.append(nodes[shared:])
            labels += tokens[shared:]
            lengths.append(len(tokens) - shared)
        shared_rows.append(layout.nodes[2 * pair][before : before + shared])
        shared_labels += sides[0][:shared]
        shared_counts.append(shared)
    return PairLayout(
        rows=_positions(rows),
        labels=torch.tensor(labels, dtype=torch.int64),
        cu_seqlens=[0, *accumulate(lengths)],
        shared_rows=_positions(shared_rows),
        shared_labels=torch.tensor(shared_labels, dtype=torch.int64),
        shared_cu_seqlens=[0, *accumulate(shared_counts)],
        lengths=torch.tensor([[len(row["chosen_ids"]), len(row["rejected_ids"])] for row in examples]).view(-1, 2),
        width=layout.input_ids.shape[1],
    )


def pair_rows(example: Mapping[str, Sequence[int]]) -> list[list[int]]:
    """Return the two rows of a pair: prompt and chosen answer, prompt and rejected answer."""
    return [[*example["prompt_ids"], *example[name]] for name in ("chosen_ids", "rejected_ids")]


def _positions(parts: list[NDArray[np.int64]]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate(parts) if parts else np.empty(0, np.int64))


def common_prefix_length(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the length of the token prefix that two answers share."""
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return min(len(one), len(other))
