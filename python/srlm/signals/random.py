"""`signal.kind: random`: every answer gets a random score, the control of every other signal.

A gain that random pairs of the same answers give as well is no effect of the signal: random rewards lift some models
considerably (Shao et al. 2025, "Spurious Rewards", arXiv 2506.10947).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from srlm.rows.records import derived_seed
from srlm.signals.per_prompt import PerPromptSignal, Scored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from srlm.rows.records import Candidate, Prompt


class RandomSignal(PerPromptSignal):
    """See `Signal`. Scores are uniform between 0 and 1; they depend on the seed and the answer."""

    breaks_ties = False

    def score_prompt(self, prompt: Prompt, answers: Sequence[Candidate], seed: int) -> list[Scored]:
        """See `PerPromptSignal.score_prompt`."""
        return [Scored(derived_seed(seed, "random score", row.id) / 2**31) for row in answers]
