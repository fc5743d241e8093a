"""The baselines of M_t. In a module of its own, as the rest of the package is too slow to import for `srlm status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from srlm.config import HeadToHeadSection


def baselines(head_to_head: HeadToHeadSection, t: int) -> list[int]:
    """Return the numbers of the models that M_t is compared with, latest first."""
    numbers = {"previous": t - 1, "first": 1}
    return sorted({numbers[name] for name in head_to_head.baselines}, reverse=True) if t > 1 else []
