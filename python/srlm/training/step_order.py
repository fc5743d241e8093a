"""The order in which a training visits its rows: random optimizer steps in which rows that share much meet.

Rows with long common beginnings (judge examples on one question, pairs of one prompt) are computed together at little
more than the cost of one (`row_layouts`), so they form clusters of at most half a step, which are visited together.
Clusters are dealt out over the steps evenly along the sorted rows, so every step mixes the kinds of rows. Sorting by
prefix alone, or grouping by length over many steps as transformers' `group_by_length` does, would make steps of judge
examples alone and steps of answers alone.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import torch
from torch.utils.data import Sampler

from srlm.native import shared_prefixes
from srlm.training.row_layouts import pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

NO_GROUP = -1
MIN_SHARED = 32  # tokens that rows must share, beyond what all rows do, to be visited together


class StepOrder(Sampler[int]):
    """Yields every row once per epoch.

    Each run of `batch_size` rows is an optimizer step. Its rows are sorted by prefix, so that each process gets
    neighbours; or, for padded micro-batches, by length.

    Args:
        rows: N rows of token ids.
        batch_size: rows per optimizer step, over all micro-batches and processes.
        seed: with the epoch it decides the order, which depends on no random state, so a resumed training and every
            process compute the same. Neither does it depend on the size of micro-batches.
        epoch: returns the number of complete epochs; called when an epoch's iteration starts.
        by_length: sort the rows of a step by length instead.
        groups: for each row the number of a group whose rows are visited together (they are ranked among each other),
            or `NO_GROUP`.
    """

    def __init__(
        self,
        rows: Sequence[Sequence[int]],
        batch_size: int,
        seed: int,
        epoch: Callable[[], int],
        *,
        by_length: bool = False,
        groups: Sequence[int] | None = None,
    ) -> None:
        self._lengths = [len(row) for row in rows]
        order, shared = (column.tolist() for column in shared_prefixes(*pack(rows)))
        limit = max(1, batch_size // 2)
        self._clusters = cluster(order, shared, limit) if groups is None else grouped(rows, groups, order, limit)
        self._place = {row: place for place, row in enumerate(order)}
        self._batch_size, self._seed, self._epoch, self._by_length = batch_size, seed, epoch, by_length

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        for step in self.steps(self._epoch()):
            yield from step

    def steps(self, epoch: int) -> list[list[int]]:
        """Return the rows of each step of an epoch.

        The step with the longest row comes first, unless it is the incomplete last one, so that a training that does
        not fit in memory fails at once.
        """
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + epoch) % 2**63)
        steps = deal(self._clusters, self._batch_size, generator)
        lengths, place = self._lengths, self._place
        longest = max(range(len(steps)), key=lambda index: max(lengths[row] for row in steps[index]), default=0)
        if steps and len(steps[longest]) == self._batch_size:
            steps[0], steps[longest] = steps[longest], steps[0]
        for step in steps:
            step.sort(key=lambda row: (-lengths[row], row) if self._by_length else (place[row], row))
        return steps


def cluster(order: Sequence[int], shared: Sequence[int], limit: int) -> list[list[int]]:
    """Divide sorted rows into clusters: all rows with a common beginning, if they are at most `limit`.

    Rows of a larger family (judge examples with one rubric) meet anyway, because every step has some of them.

    Args:
        order: N rows in lexicographic order.
        shared: [N], the tokens that each row shares with the one before it.
        limit: maximum number of rows of a cluster.
    """
    common = min(shared[1:], default=0)
    clusters: list[list[int]] = []
    for place, row in enumerate(order):
        joins = place > 0 and shared[place] - common >= MIN_SHARED and _family(shared, place, limit) <= limit
        if joins:
            clusters[-1].append(row)
        else:
            clusters.append([row])
    return clusters


def grouped(rows: Sequence[Sequence[int]], groups: Sequence[int], order: Sequence[int], limit: int) -> list[list[int]]:
    """Return the groups as clusters, each in the given order, and the clusters of all other rows."""
    found: dict[int, list[int]] = {}
    for row in order:
        found.setdefault(groups[row], []).append(row)
    others = found.pop(NO_GROUP, [])
    if not others:
        return list(found.values())
    places, shared = (column.tolist() for column in shared_prefixes(*pack([rows[row] for row in others])))
    return [*found.values(), *([others[place] for place in each] for each in cluster(places, shared, limit))]


def _family(shared: Sequence[int], place: int, limit: int) -> int:
    """Count the rows around `place` that share as much as it does with the row before it; stops above `limit`."""
    first = last = place
    while first > 1 and shared[first - 1] >= shared[place] and last - first < limit:
        first -= 1
    while last + 1 < len(shared) and shared[last + 1] >= shared[place] and last - first < limit:
        last += 1
    return last - first + 2


def deal(clusters: Sequence[Sequence[int]], batch_size: int, generator: torch.Generator) -> list[list[int]]:
    """Deal clusters out over steps of `batch_size` rows (the last one has the rest), and return the steps' rows.

    Clusters of several rows come first, but leave room in every step for its share of single rows.
    """
    count = sum(map(len, clusters))
    sizes = [min(batch_size, count - start) for start in range(0, count, batch_size)]
    steps: list[list[int]] = [[] for _ in sizes]
    singles = [rows for rows in clusters if len(rows) == 1]
    rooms = [size - len(singles) * size // count for size in sizes]
    several = sorted((rows for rows in clusters if len(rows) > 1), key=len, reverse=True)
    _fill(steps, rooms, several, generator)
    _fill(steps, sizes, singles, generator)
    return steps


def _fill(
    steps: list[list[int]], sizes: Sequence[int], clusters: Sequence[Sequence[int]], generator: torch.Generator
) -> None:
    """Add each cluster to a step that is filled the least, a random one of those; divide it if it does not fit."""

    def entry(step: int) -> tuple[float, float, int]:
        return len(steps[step]) / sizes[step], float(torch.rand((), generator=generator)), step

    heap = [entry(step) for step in range(len(steps)) if len(steps[step]) < sizes[step]]
    heapq.heapify(heap)
    for rows in clusters:
        rest = list(rows)
        while rest:
            step = heapq.heappop(heap)[2]
            room = sizes[step] - len(steps[step])
            steps[step] += rest[:room]
            rest = rest[room:]
            if len(steps[step]) < sizes[step]:
                heapq.heappush(heap, entry(step))
