"""Labels of rows, and segments of rows given by cu_seqlens."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

IGNORED = -100  # the label of a masked row


def check_labels(labels: torch.Tensor, vocabulary: int) -> None:
    """Check that labels are token ids or -100; on a GPU only their dtype, because the values would need a sync.

    Raises:
        ValueError: a label is neither in [0, V) nor -100, or the dtype is not int64.
    """
    if labels.dtype != torch.int64:
        raise ValueError(f"expected labels of dtype int64, found {labels.dtype}")
    if not labels.is_cuda and labels.numel():
        low, high = int(labels.min()), int(labels.max())
        if high >= vocabulary or (low < 0 and bool(((labels < 0) & (labels != IGNORED)).any())):
            raise ValueError(f"labels must lie in [0, {vocabulary}) or be {IGNORED}, found {low} to {high}")


def validate_cu_seqlens(cu_seqlens: torch.Tensor | Sequence[int], rows: int) -> list[int]:
    """Return cu_seqlens as a list; a tensor on a GPU causes a sync.

    Raises:
        ValueError: they do not start at 0, end at the number of rows, and never decrease.
    """
    offsets = [int(offset) for offset in (cu_seqlens.tolist() if isinstance(cu_seqlens, torch.Tensor) else cu_seqlens)]
    rising = all(left <= right for left, right in itertools.pairwise(offsets))
    if not offsets or offsets[0] != 0 or offsets[-1] != rows or not rising:
        raise ValueError(f"cu_seqlens must rise from 0 to the number of rows ({rows}), found {_short(offsets)}")
    return offsets


def _short(values: list[int]) -> str:
    return f"{values[:4]} ... {values[-4:]}" if len(values) > 8 else str(values)


def sum_rows(values: torch.Tensor, offsets: list[int], dtype: torch.dtype) -> torch.Tensor:
    """Sum the rows [N] of each segment into [S] of `dtype`, accumulated in float64, in a fixed order."""
    return torch.segment_reduce(values.double(), "sum", lengths=_lengths(offsets, values), unsafe=True).to(dtype)


def expand_to_rows(values: torch.Tensor, offsets: list[int]) -> torch.Tensor:
    """Repeat the value of each segment [S] for each of its rows: [N]."""
    return values.repeat_interleave(_lengths(offsets, values), output_size=offsets[-1] - offsets[0])


def _lengths(offsets: list[int], like: torch.Tensor) -> torch.Tensor:
    lengths = [end - start for start, end in itertools.pairwise(offsets)]
    return torch.tensor(lengths, dtype=torch.int64, device=like.device)
