"""`signal.kind: majority`: an answer's score is the share of M_t's own answers with the same final answer.

The votes of self-consistency as a signal: ScPO (Prasad et al. 2024, arXiv 2411.04109, section 3) trains on pairs of the
most common against the least common final answer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from srlm.run.cache_keys import key_inputs
from srlm.signals.final_answers import reader_of
from srlm.signals.per_prompt import PerPromptSignal, Scored

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from srlm.rows.records import Candidate, Prompt
    from srlm.stages.score_table import Answers, Scores

TOLERANCE = 1e-9  # votes are fractions


class MajoritySignal(PerPromptSignal):
    """See `Signal`. An answer without a final answer gets 0 votes: it may be rejected, and is never chosen."""

    settings = ("signal.answer_pattern",)

    def check(self, prompts: Sequence[Prompt]) -> None:
        """See `Signal.check`."""
        reader_of(self._config.signal.answer_pattern)

    def score_prompt(self, prompt: Prompt, answers: Sequence[Candidate], seed: int) -> list[Scored]:
        """See `PerPromptSignal.score_prompt`."""
        find = reader_of(self._config.signal.answer_pattern)
        finals = [find(row.text) for row in answers]
        voters = [final for final, row in zip(finals, answers, strict=True) if row.source == "own"]
        votes, voting = Counter(final for final in voters if final is not None), max(1, len(voters))
        return [
            Scored(votes[final] / voting, final, f"{votes[final]} of {len(voters)} votes")
            if final is not None
            else Scored(0.0, None, "no final answer")
            for final in finals
        ]

    def pairs_inputs(self) -> dict[str, Any]:
        """See `Signal.pairs_inputs`."""
        return key_inputs(self._config, "signal.min_votes")

    def read(self, answers: Answers, file: Path) -> Scores:
        """See `Signal.read`. With `signal.min_votes`, fewer votes do not suffice for the chosen answer."""
        found = super().read(answers, file)
        least = cast("float", self._config.signal.min_votes) - TOLERANCE
        enough = found.score >= max(least, TOLERANCE)  # [C]
        return replace(found, winner=found.winner & enough, may_be_chosen=enough)
