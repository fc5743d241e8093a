"""Who answers a prompt besides M_t, and what a pair may use these answers for.

An answer's index says who gave it: first come those of M_t (`own`), then those of M_t at a higher temperature (`hot`),
those of another model (`model`), and the human one (`human`). Answers that are worse on purpose may be rejected only:
ScPO (arXiv 2411.04109) samples hotter, Temporal Self-Rewarding (arXiv 2508.06026) asks an earlier model. A human answer
may be chosen only (SPIN, arXiv 2401.01335).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np

from srlm.config.data import RUN_MODELS
from srlm.errors import InputError
from srlm.rows.records import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from srlm.config import CandidatesSection, SuppliersSection
    from srlm.rows.records import Prompt

SOURCES: tuple[Source, ...] = get_args(Source)
MAY_BE_CHOSEN = np.array([name in ("own", "human") for name in SOURCES])  # by position in `SOURCES`
MAY_BE_REJECTED = np.array([name != "human" for name in SOURCES])
RESPONSE = "response"  # the column of the human answer


@dataclass(frozen=True, slots=True)
class Slots:
    """The number of answers to a prompt by source, in the order of their indices."""

    own: int
    hot: int = 0
    model: int = 0
    human: int = 0

    @property
    def sampled(self) -> int:
        """The number of answers that M_t samples."""
        return self.own + self.hot

    @property
    def total(self) -> int:
        """The number of answers to a prompt, if it has a human one."""
        return self.sampled + self.model + self.human


def slots(candidates: CandidatesSection, suppliers: SuppliersSection | None) -> Slots:
    """Return how many answers each source gives; `suppliers` are those of one iteration (`SuppliersSection.at`)."""
    if suppliers is None:
        return Slots(candidates.per_prompt)
    model = 0 if suppliers.model is None else suppliers.model_per_prompt
    return Slots(candidates.per_prompt, suppliers.hot_per_prompt, model, int(suppliers.human))


def run_model(suppliers: SuppliersSection, t: int) -> int | None:
    """Return the iteration of the run's model that also answers the prompts of M_t's data; None: it is another one."""
    return {"base": 0, "first": 1, "previous": t - 2}.get(suppliers.model or "")


def other_model(suppliers: SuppliersSection) -> str | None:
    """Return the name of a model from outside the run that also answers, or None."""
    return None if suppliers.model in RUN_MODELS else suppliers.model


def human_answer(prompt: Prompt) -> str | None:
    """Return the human answer in a prompt's row, or None."""
    found = (prompt.columns or {}).get(RESPONSE)
    return found if isinstance(found, str) and found.strip() else None


def check_human(prompts: Sequence[Prompt]) -> None:
    """Check that prompts from files have human answers.

    Raises:
        InputError: none has.
    """
    if prompts and all(human_answer(row) is None for row in prompts):
        raise InputError(
            f"suppliers.human=true reads the column {RESPONSE!r} of the prompts in prompts.files, and no row has one "
            "that is a text; add it, or set suppliers.human=false"
        )
