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
    from collections.abc import Callable, Hashable, Mapping, Sequence

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
    # Examples of one group (None: of none) are computed in the same pass, where they fit into one.
    group_of: Callable[[Example], Hashable | None] | None = None
    masked: bool = True  # whether padding is masked (`prefix_sharing.needs_mask`)

    def passes(self, examples: Sequence[Example]) -> list[Pass]:
        """Return the passes; each example is in one of them."""
        rows = [self.rows_of(example) for example in examples]
        units = self._units(examples, rows)
        of_units = [[row for index in unit for row in rows[index]] for unit in units]
        if self.form is not None:
            groups = shared_groups(of_units, self.max_nodes)
        else:
            groups = padded_groups([max(map(len, each)) for each in of_units], list(map(len, units)), self.max_examples)
        return [self.one([examples[index] for unit in group for index in units[unit]]) for group in groups]

    def _units(self, examples: Sequence[Example], rows: Sequence[Sequence[Sequence[int]]]) -> list[list[int]]:
        """Return the indices of the examples that are computed together; a group that is too large is divided."""
        if self.group_of is None:
            return [[index] for index in range(len(examples))]
        units: dict[Hashable, list[int]] = {}
        for index, example in enumerate(examples):
            group = self.group_of(example)
            units.setdefault((False, index) if group is None else (True, group), []).append(index)
        if self.form is None:
            return list(units.values())
        parts = [(unit, shared_groups([rows[index] for index in unit], self.max_nodes)) for unit in units.values()]
        return [[unit[place] for place in part] for unit, divided in parts for part in divided]

    def for_sequences(self, form: MaskForm | None) -> PassPlanner:
        """Return the planner for single rows of tokens in place of these examples."""
        return replace(self, rows_of=lambda example: [example["input_ids"]], form=form, group_of=None)

    def one(self, examples: list[Example]) -> Pass:
        """Return the pass of examples. Without any it computes a token that nothing uses, for other processes' sake."""
        rows = [row for example in examples for row in self.rows_of(example)] or [[self.pad_token_id]]
        if self.form is None:
            return Pass(examples, pad_rows(rows, self.pad_token_id, masked=self.masked))
        layout = share_rows(rows, self.form)
        return Pass(examples, layout)


def padded_groups(longest: Sequence[int], sizes: Sequence[int], max_examples: int) -> list[list[int]]:
    """Divide units of examples into groups of at most `max_examples`, unless one alone has more; return their indices.

    Units of similar length meet: `longest` are the lengths of their longest rows, `sizes` their numbers of examples.
    """
    groups: list[list[int]] = []
    count = max_examples
    for index in sorted(range(len(longest)), key=lambda index: -longest[index]):
        if not groups or count + sizes[index] > max_examples:
            groups.append([])
            count = 0
        groups[-1].append(index)
        count += sizes[index]
    return groups


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
