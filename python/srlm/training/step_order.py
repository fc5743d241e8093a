"""The order in which SFT visits its rows: random optimizer steps, with micro-batches of similar length inside a step.

Judge examples are several times as long as answers. Grouping rows by length over many steps, as transformers'
`group_by_length` does, makes steps of judge examples alone and steps of answers alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.utils.data import Sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class StepOrder(Sampler[int]):
    """Yields every row once per epoch.

    Each run of `batch_size` rows is an optimizer step: a random sample, sorted by length, so that the rows of a
    micro-batch have similar lengths, and so have the micro-batches that several processes run at the same time.

    Args:
        lengths: [N], tokens per row.
        batch_size: rows per optimizer step, over all micro-batches and processes.
        seed: with the epoch it decides the order, which depends on no random state, so a resumed training and every
            process compute the same.
        epoch: returns the number of complete epochs; called when an epoch's iteration starts.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        self._lengths, self._batch_size, self._seed, self._epoch = lengths, batch_size, seed, epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(step_order(self._lengths, self._batch_size, seed=self._seed, epoch=self._epoch()))


def step_order(lengths: Sequence[int], batch_size: int, *, seed: int, epoch: int) -> list[int]:
    """Return one epoch's order as row indices, see `StepOrder`.

    The step with the longest row comes first, unless it is the incomplete last one, so that a training that does not
    fit in memory fails at once.
    """
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    rows: list[int] = torch.randperm(len(lengths), generator=generator).tolist()
    steps = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    for step in steps:
        step.sort(key=lambda row: (-lengths[row], row))
    longest = max(range(len(steps)), key=lambda index: lengths[steps[index][0]], default=0)
    if steps and len(steps[longest]) == batch_size:
        steps[0], steps[longest] = steps[longest], steps[0]
    return [row for step in steps for row in step]
