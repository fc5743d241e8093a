"""The order in which a training visits its rows: random optimizer steps in which rows that share much meet.

Rows with long common beginnings (judge examples on one question, pairs of one prompt) are computed together at little
more than the cost of one (`row_layouts`), so they form clusters of at most half a step, which are visited together.
Clusters are dealt out over the steps evenly along the sorted rows, so every step mixes the kinds of rows: sorting by
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
    """

    def __init__(
        self,
        rows: Sequence[Sequence[int]],
        batch_size: int,
        seed: int,
        epoch: Callable[[], int],
        *,
        by_length: bool = False,
    ) -> None:
        self._lengths = [len(row) for row in rows]
        order, shared = (column.tolist() for column in shared_prefixes(*pack(rows)))
        self._clusters = cluster(order, shared, max(1, batch_size // 2))
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
    """Divide sorted rows into clusters of neighbours that share much, the longest shared beginnings first.

    Args:
        order: N rows in lexicographic order.
        shared: [N], the tokens that each row shares with the one before it.
        limit: maximum number of rows of a cluster.
    """
    common = min(shared[1:], default=0)
    members = [[row] for row in order]
    home = list(range(len(order)))  # of each place in the order: the first place of its cluster
    for place in sorted(range(1, len(order)), key=lambda place: -shared[place]):
        if shared[place] - common < MIN_SHARED:
            break
        left, right = home[place - 1], home[place]
        if len(members[left]) + len(members[right]) <= limit:
            for moved in range(right, right + len(members[right])):
                home[moved] = left
            members[left] += members[right]
            members[right] = []
    return [rows for rows in members if rows]


def deal(clusters: Sequence[Sequence[int]], batch_size: int, generator: torch.Generator) -> list[list[int]]:
    """Deal clusters out over steps of `batch_size` rows (the last one has the rest), and return the steps' rows.

    Large clusters first, and in the order of `clusters` among those of a size, each goes to a step that is filled the
    least, a random one of those. A cluster that no longer fits into it is divided.
    """
    count = sum(map(len, clusters))
    steps: list[list[int]] = [[] for _ in range(0, count, batch_size)]
    sizes = [min(batch_size, count - start) for start in range(0, count, batch_size)]

    def entry(step: int) -> tuple[float, float, int]:
        return len(steps[step]) / sizes[step], float(torch.rand((), generator=generator)), step

    heap = [entry(step) for step in range(len(steps))]
    heapq.heapify(heap)
    for rows in sorted(clusters, key=len, reverse=True):
        rest = list(rows)
        while rest:
            step = heapq.heappop(heap)[2]
            room = sizes[step] - len(steps[step])
            steps[step] += rest[:room]
            rest = rest[room:]
            if len(steps[step]) < sizes[step]:
                heapq.heappush(heap, entry(step))
    return steps
