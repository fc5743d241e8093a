"""Labels of rows, and the sequences that neighbouring rows make."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

IGNORED = -100  # the label of a row that counts as nothing


def check_labels(labels: torch.Tensor, vocabulary: int) -> None:
    """Refuse labels that no word has; on a GPU, which would have to be waited for, only their type.

    Raises:
        ValueError: a label that is neither in [0, V) nor -100, or another type than int64.
    """
    if labels.dtype != torch.int64:
        raise ValueError(f"expected labels of int64, found {labels.dtype}")
    if not labels.is_cuda and labels.numel():
        low, high = int(labels.min()), int(labels.max())
        if high >= vocabulary or (low < 0 and bool(((labels < 0) & (labels != IGNORED)).any())):
            raise ValueError(f"labels must lie in [0, {vocabulary}) or be {IGNORED}, found {low} to {high}")


def boundaries(cu_seqlens: torch.Tensor | Sequence[int], rows: int) -> list[int]:
    """Return the boundaries of sequences as numbers; a tensor on a GPU is waited for.

    Raises:
        ValueError: they do not go from 0 to the number of rows without falling.
    """
    found = [int(place) for place in (cu_seqlens.tolist() if isinstance(cu_seqlens, torch.Tensor) else cu_seqlens)]
    rising = all(left <= right for left, right in itertools.pairwise(found))
    if not found or found[0] != 0 or found[-1] != rows or not rising:
        raise ValueError(f"cu_seqlens must rise from 0 to the number of rows ({rows}), found {_short(found)}")
    return found


def _short(values: list[int]) -> str:
    return f"{values[:4]} ... {values[-4:]}" if len(values) > 8 else str(values)


def sum_rows(values: torch.Tensor, cuts: list[int], dtype: torch.dtype) -> torch.Tensor:
    """Sum rows [N] between boundaries into [S] of `dtype`, accumulated in float64, in a fixed order."""
    return torch.segment_reduce(values.double(), "sum", lengths=_lengths(cuts, values), unsafe=True).to(dtype)


def spread(values: torch.Tensor, cuts: list[int]) -> torch.Tensor:
    """Repeat a value per sequence [S] for each of its rows: [N]."""
    return values.repeat_interleave(_lengths(cuts, values), output_size=cuts[-1] - cuts[0])


def _lengths(cuts: list[int], like: torch.Tensor) -> torch.Tensor:
    lengths = [end - start for start, end in itertools.pairwise(cuts)]
    return torch.tensor(lengths, dtype=torch.int64, device=like.device)
