"""`signal.kind: human`: the human answer to a prompt is better than every other answer.

SPIN (Chen et al. 2024, arXiv 2401.01335) trains on pairs of the human answer of the SFT data against M_t's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from srlm.errors import InputError
from srlm.signals.per_prompt import PerPromptSignal, Scored
from srlm.stages.suppliers import RESPONSE, human_answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from srlm.rows.records import Candidate, Prompt


class HumanSignal(PerPromptSignal):
    """See `Signal`. Which of the other answers is rejected is left to chance."""

    def check(self, prompts: Sequence[Prompt]) -> None:
        """See `Signal.check`."""
        for row in prompts:
            if human_answer(row) is None:
                raise InputError(
                    f"signal.kind=human: the prompt {row.text[:60]!r} has no text in the column {RESPONSE!r}; add it, "
                    "or remove the prompt"
                )

    def score_prompt(self, prompt: Prompt, answers: Sequence[Candidate], seed: int) -> list[Scored]:
        """See `PerPromptSignal.score_prompt`."""
        return [Scored(float(row.source == "human"), detail=row.source) for row in answers]
