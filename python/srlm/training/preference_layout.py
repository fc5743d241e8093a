"""Which rows of a batch's hidden states predict an answer's tokens, pair after pair.

A batch of B pairs is padded on the right to [2B, L], the chosen answers first (TRL's collator). The kernels want the
rows that predict a completion's tokens only, and a pair's rows side by side, so nothing is projected for prompts and
padding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from trl.trainer.dpo_trainer import DataCollatorForPreference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEY = "preference_layout"


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows of a batch; positions count through the flattened [2B x L]."""

    rows: torch.Tensor  # [N] int64, positions of the hidden states
    labels: torch.Tensor  # [N] int64, the tokens that they predict
    cuts: list[int]  # [2B + 1], chosen, rejected, chosen, ...
    shared_rows: torch.Tensor  # [M] int64, of the beginnings that were left out, as the chosen answers have them
    shared_labels: torch.Tensor  # [M] int64
    shared_cuts: list[int]  # [B + 1]
    lengths: torch.Tensor  # [B, 2] int64, tokens of the answers, those left out included
    width: int  # L

    def to(self, device: torch.device, **options: Any) -> Layout:  # noqa: ANN401  as torch.Tensor.to takes them
        """Return it on a device; boundaries stay numbers."""
        names = ("rows", "labels", "shared_rows", "shared_labels", "lengths")
        return replace(self, **{name: getattr(self, name).to(device, **options) for name in names})


@dataclass
class PreferenceCollator(DataCollatorForPreference):
    """TRL's collator, with the `Layout` beside its tensors.

    With `leave_out_shared`, what chosen and rejected begin with, token for token, is left out of both answers' rows and
    listed once: the hidden states are the same (but for dropout), so it cancels in every function of the difference of
    the two log-probabilities, and in its gradient.
    """

    leave_out_shared: bool = False

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Pad a batch, and find its rows."""
        batch = super().torch_call(examples)
        batch[KEY] = lay_out(examples, batch["input_ids"].shape[1], leave_out_shared=self.leave_out_shared)
        return batch


def lay_out(examples: Sequence[Mapping[str, Sequence[int]]], width: int, *, leave_out_shared: bool) -> Layout:
    """Return the rows of pairs (`prompt_ids`, `chosen_ids`, `rejected_ids`) padded on the right to `width`."""
    rows: list[int] = []
    labels: list[int] = []
    cuts, shared_counts = [0], []
    shared_rows: list[int] = []
    shared_labels: list[int] = []
    for pair, example in enumerate(examples):
        skip = 0 if example["prompt_ids"] else 1  # nothing predicts the first token of all
        before = len(example["prompt_ids"]) + skip - 1
        sides = [list(example[name][skip:]) for name in ("chosen_ids", "rejected_ids")]
        # Compared from the answers' first token on: what follows an unlike one has another context.
        shared = common_beginning(example["chosen_ids"], example["rejected_ids"]) - skip if leave_out_shared else 0
        shared = max(shared, 0)
        for side, tokens in enumerate(sides):
            first = (pair + side * len(examples)) * width + before
            rows += range(first + shared, first + len(tokens))
            labels += tokens[shared:]
            cuts.append(len(rows))
        first = pair * width + before
        shared_rows += range(first, first + shared)
        shared_labels += sides[0][:shared]
        shared_counts.append(shared)
    return Layout(
        rows=torch.tensor(rows, dtype=torch.int64),
        labels=torch.tensor(labels, dtype=torch.int64),
        cuts=cuts,
        shared_rows=torch.tensor(shared_rows, dtype=torch.int64),
        shared_labels=torch.tensor(shared_labels, dtype=torch.int64),
        shared_cuts=[0, *accumulate(shared_counts)],
        lengths=torch.tensor([[len(row["chosen_ids"]), len(row["rejected_ids"])] for row in examples]).view(-1, 2),
        width=width,
    )


def common_beginning(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two answers begin with in common."""
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return min(len(one), len(other))
