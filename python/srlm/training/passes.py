"""The forward passes of an optimizer step: which rows are computed together.

Rows that share a beginning are computed in the same pass where they fit: the rows of the step are sorted as in their
trie, and each pass takes as many as fit a budget of nodes (computed tokens), which bounds the memory. Without sharing,
rows of similar length are padded to the longest.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from srlm.training.row_layouts import RowLayout, pad_rows, row_trie, share_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from srlm.training.prefix_masks import MaskForm

    Example = Mapping[str, Any]


@dataclass(slots=True)
class Pass:
    """A forward pass: examples (rows of data), and the layout of their rows of tokens."""

    examples: list[Example]
    layout: RowLayout
    broken: list[Example] = field(default_factory=list)  # those whose loss alone is not finite, if that was checked


@dataclass(frozen=True, slots=True)
class PassPlanner:
    """Divides examples into passes.

    `rows_of` returns the rows of tokens of an example, which are computed in the same pass: one, or two for a pair.
    """

    rows_of: Callable[[Example], list[list[int]]]
    max_examples: int  # of a padded pass
    pad_token_id: int
    form: MaskForm | None  # how the model takes the mask of a trie; None: rows are padded, not shared
    max_nodes: int  # computed tokens of a pass of shared rows; an example with more has a pass of its own

    def passes(self, examples: Sequence[Example]) -> list[Pass]:
        """Return the passes; each example is in one of them."""
        rows = [self.rows_of(example) for example in examples]
        if self.form is not None:
            groups = shared_groups(rows, self.max_nodes)
        else:
            longest = [max(map(len, each)) for each in rows]
            order = sorted(range(len(rows)), key=lambda index: -longest[index])
            groups = [order[start : start + self.max_examples] for start in range(0, len(order), self.max_examples)]
        return [self.one([examples[index] for index in group]) for group in groups]

    def for_sequences(self, form: MaskForm | None) -> PassPlanner:
        """Return the planner for single rows of tokens in place of these examples."""
        return replace(self, rows_of=lambda example: [example["input_ids"]], form=form)

    def one(self, examples: list[Example]) -> Pass:
        """Return the pass of examples. Without any it computes a token that nothing uses, for other processes' sake."""
        rows = [row for example in examples for row in self.rows_of(example)] or [[self.pad_token_id]]
        layout = pad_rows(rows, self.pad_token_id) if self.form is None else share_rows(rows, self.form)
        return Pass(examples, layout)


def shared_groups(rows: Sequence[Sequence[Sequence[int]]], max_nodes: int) -> list[list[int]]:
    """Divide examples, each with its rows of tokens, into groups of at most `max_nodes` nodes; return their indices."""
    _, _, ends, nodes = row_trie([row for each in rows for row in each])
    sizes = [len(each) for each in rows]
    starts = np.cumsum([0, *sizes])
    own = [
        np.unique(np.concatenate([np.empty(0, np.int64), *nodes[start : start + size]]))
        for start, size in zip(starts[:-1], sizes, strict=True)
    ]
    # Depth-first order of their last nodes: neighbours share the longest beginnings.
    order = sorted(range(len(rows)), key=lambda index: (int(own[index][-1]) if len(own[index]) else -1, index))
    groups: list[list[int]] = []
    group_of, count = np.full(len(ends), -1), max_nodes + 1  # [M], the last group that computes each node
    for index in order:
        new = int(np.count_nonzero(group_of[own[index]] != len(groups) - 1))
        if count + new > max_nodes or not groups:
            groups.append([])
            count, new = 0, len(own[index])
        groups[-1].append(index)
        group_of[own[index]] = len(groups) - 1
        count += new
    return groups
