"""The rows of a batch's hidden states that predict completion tokens, pair after pair.

TRL's collator pads a batch of B pairs on the right to [2B, L], the chosen answers first. The kernels take only the rows
that predict completion tokens, with the rows of a pair next to each other, so prompts and padding are not projected.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from trl.trainer.dpo_trainer import DataCollatorForPreference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LAYOUT_KEY = "preference_layout"


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows of a batch, as positions in the flattened [2B x L]."""

    rows: torch.Tensor  # [N] int64, positions of the hidden states
    labels: torch.Tensor  # [N] int64, the tokens that they predict
    cu_seqlens: list[int]  # [2B + 1], of chosen, rejected, chosen, ...
    shared_rows: torch.Tensor  # [M] int64, positions of the dropped shared prefixes, in the chosen answers
    shared_labels: torch.Tensor  # [M] int64
    shared_cu_seqlens: list[int]  # [B + 1]
    lengths: torch.Tensor  # [B, 2] int64, tokens of the answers, including dropped prefixes
    width: int  # L

    def to(self, device: torch.device, **options: Any) -> Layout:  # noqa: ANN401  as torch.Tensor.to takes them
        """Return the layout on a device; the cu_seqlens stay lists."""
        names = ("rows", "labels", "shared_rows", "shared_labels", "lengths")
        return replace(self, **{name: getattr(self, name).to(device, **options) for name in names})


@dataclass
class PreferenceCollator(DataCollatorForPreference):
    """TRL's collator, which adds the `Layout` to the batch.

    With `drop_shared_prefix`, the token prefix that chosen and rejected share is dropped from the rows of both answers
    and listed once: its hidden states are identical (without dropout), so it cancels in every function of the
    difference of the two log-probabilities, and in its gradient.
    """

    drop_shared_prefix: bool = False

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Pad a batch, and add its layout."""
        batch = super().torch_call(examples)
        batch[LAYOUT_KEY] = build_layout(
            examples, batch["input_ids"].shape[1], drop_shared_prefix=self.drop_shared_prefix
        )
        return batch


def build_layout(examples: Sequence[Mapping[str, Sequence[int]]], width: int, *, drop_shared_prefix: bool) -> Layout:
    """Return the layout of pairs (`prompt_ids`, `chosen_ids`, `rejected_ids`) padded on the right to `width`."""
    rows: list[int] = []
    labels: list[int] = []
    cu_seqlens, shared_counts = [0], []
    shared_rows: list[int] = []
    shared_labels: list[int] = []
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
            first = (pair + side * len(examples)) * width + before
            rows += range(first + shared, first + len(tokens))
            labels += tokens[shared:]
            cu_seqlens.append(len(rows))
        first = pair * width + before
        shared_rows += range(first, first + shared)
        shared_labels += sides[0][:shared]
        shared_counts.append(shared)
    return Layout(
        rows=torch.tensor(rows, dtype=torch.int64),
        labels=torch.tensor(labels, dtype=torch.int64),
        cu_seqlens=cu_seqlens,
        shared_rows=torch.tensor(shared_rows, dtype=torch.int64),
        shared_labels=torch.tensor(shared_labels, dtype=torch.int64),
        shared_cu_seqlens=[0, *accumulate(shared_counts)],
        lengths=torch.tensor([[len(row["chosen_ids"]), len(row["rejected_ids"])] for row in examples]).view(-1, 2),
        width=width,
    )


def common_prefix_length(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the length of the token prefix that two answers share."""
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return min(len(one), len(other))
