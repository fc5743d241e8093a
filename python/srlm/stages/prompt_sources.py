"""How an iteration's prompts are divided between the user's files and the model, without heavy imports."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from srlm.config import PromptsSection


def from_files(prompts: PromptsSection) -> int:
    """Return the number of an iteration's prompts that come from `prompts.files`."""
    return prompts.count - round(prompts.count * prompts.self_instruct_share) if prompts.source == "files" else 0


def writer(prompts: PromptsSection) -> str | None:
    """Return the model, other than M_t, that writes prompts; None if M_t does, or if none are written."""
    return prompts.model if from_files(prompts) < prompts.count else None
