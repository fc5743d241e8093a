"""Which models a model is compared with. Apart from the rest, which is slow to import, for `srlm status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from srlm.config import HeadToHeadSection


def opponents(head_to_head: HeadToHeadSection, t: int) -> list[int]:
    """Return the numbers of the models that M_t meets, the latest first."""
    numbers = {"previous": t - 1, "first": 1}
    return sorted({numbers[name] for name in head_to_head.against}, reverse=True) if t > 1 else []
