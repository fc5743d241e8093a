"""Pairs whose two answers are the same: they prefer nothing, so training and evaluation drop and count them.

Answers are the same if their texts are equal without surrounding white space, as in the pairs stage.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from srlm.rows.records import Pair, RankedAnswers


def is_same_text(text: str, other: str) -> bool:
    """Tell whether two answers are the same."""
    return text.strip() == other.strip()


def has_equal_sides(pair: Pair) -> bool:
    """Tell whether the chosen and the rejected answer are the same, message by message."""
    return len(pair.chosen) == len(pair.rejected) and all(
        one["role"] == other["role"] and is_same_text(one["content"], other["content"])
        for one, other in zip(pair.chosen, pair.rejected, strict=True)
    )


def groups_of_equal(answers: Sequence[str]) -> list[list[int]]:
    """Return the indices of the answers, grouped by text, in the order of the first of each group."""
    groups: dict[str, list[int]] = {}
    for index, text in enumerate(answers):
        groups.setdefault(text.strip(), []).append(index)
    return list(groups.values())


def equal_pairs(row: RankedAnswers) -> int:
    """Return the number of pairs of a prompt's answers that are the same."""
    return sum(is_same_text(one, other) for one, other in combinations(row.answers, 2))
