"""Vectorized Spearman's rho and Kendall's tau-b of many short lists, with ties.

Thousands of prompts have a few answers each, and one scipy call per list would cost more than the rest of the judge
metrics. Both coefficients follow from one table, the signs of all pairwise differences within a list. No p-values, as
the intervals come from resampling prompts (`estimates`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Lists = Sequence[tuple[Sequence[float], Sequence[float]]]
    Table = NDArray[np.float64]


def spearman(lists: Lists) -> list[float]:
    """Return Spearman's rho of each (x, y): the correlation of their ranks, with mean ranks for ties.

    An entry's rank minus the mean rank is half the sum of its signs against the others. 0 where x or y is constant.
    """
    return _correlate(lists, lambda x, y: _cosine(x.sum(-1), y.sum(-1)))


def kendall(lists: Lists) -> list[float]:
    """Return Kendall's tau-b of each (x, y) (Kendall 1945): (C - D) / sqrt((pairs - ties in x)(pairs - ties in y)).

    0 where x or y is constant.
    """
    return _correlate(lists, lambda x, y: _cosine(x.reshape(len(x), -1), y.reshape(len(y), -1)))


def batched_spearman(x: NDArray[Any], y: NDArray[Any]) -> Table:
    """Return Spearman's rho of L pairs of lists of equal length, [L]; `x` and `y` are [L, A]."""
    found, step = np.empty(len(x)), _lists_per_block(x.shape[1])
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        found[part] = _cosine(_signs(x[part]).sum(-1), _signs(y[part]).sum(-1))
    return found


def _correlate(lists: Lists, correlate: Callable[[Table, Table], Table]) -> list[float]:
    """Correlate all lists of the same length at once."""
    found = [0.0] * len(lists)
    sizes = np.array([len(x) for x, _ in lists], dtype=np.int64)
    for size in np.unique(sizes):
        indices = np.flatnonzero(sizes == size)
        step = _lists_per_block(int(size))
        for start in range(0, len(indices), step):
            block = indices[start : start + step].tolist()
            x, y = (_signs(np.array([lists[index][side] for index in block])) for side in (0, 1))
            for index, value in zip(block, correlate(x, y).tolist(), strict=True):
                found[index] = value
    return found


def _lists_per_block(size: int) -> int:
    """Return the number of lists per block; it bounds the memory for the signs."""
    return max(1, 2**20 // max(1, size) ** 2)


def _signs(values: NDArray[Any]) -> Table:
    table = values.astype(np.float64)  # [L, A]
    return np.sign(table[:, :, None] - table[:, None, :])  # [L, A, A]


def _cosine(x: Table, y: Table) -> Table:
    """Return the cosine of x and y per row, 0 where one of them is all zeros."""
    scale = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))  # [L]
    return (x * y).sum(-1) / np.where(scale > 0, scale, 1)
