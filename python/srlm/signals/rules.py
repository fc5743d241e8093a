"""`signal.kind: rules`: whether an answer follows the instructions of its prompt's row, or gives the row's answer.

The columns are those of IFEval (`instruction_id_list` and `kwargs`; see docs/instructions.md), or `answer`, or both,
which must then both hold. Iterative RPO (Pang et al. 2024, arXiv 2404.19733) pairs right with wrong answers like this.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from srlm.errors import InputError
from srlm.evaluation.instructions import check, instruction_row
from srlm.signals.final_answers import normal_answer, reader_of
from srlm.signals.per_prompt import PerPromptSignal, Scored

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from srlm.rows.records import Candidate, Prompt
    from srlm.stages.score_table import Answers, Scores

INSTRUCTIONS, ANSWER = "instruction_id_list", "answer"


class RulesSignal(PerPromptSignal):
    """See `Signal`. The score is 1 or 0; an answer to a prompt without these columns gets none."""

    settings = ("signal.answer_pattern",)

    def check(self, prompts: Sequence[Prompt]) -> None:
        """See `Signal.check`."""
        reader_of(self._config.signal.answer_pattern)
        for row in prompts:
            columns = row.columns or {}
            if INSTRUCTIONS not in columns and ANSWER not in columns:
                raise InputError(
                    f"signal.kind=rules: the prompt {row.text[:60]!r} of prompts.files has neither the column "
                    f"{INSTRUCTIONS!r} (with 'kwargs') nor {ANSWER!r}; it has {', '.join(columns) or 'no others'}"
                )
            self.score_prompt(row, [], 0)

    def score_prompt(self, prompt: Prompt, answers: Sequence[Candidate], seed: int) -> list[Scored]:
        """See `PerPromptSignal.score_prompt`."""
        columns, where = prompt.columns or {}, f"the prompt {prompt.text[:60]!r} of prompts.files"
        rules = (
            instruction_row({"key": "", **columns, "prompt": prompt.text}, where) if INSTRUCTIONS in columns else None
        )
        gold = _gold(columns[ANSWER], where) if ANSWER in columns else None
        find = reader_of(self._config.signal.answer_pattern)
        found: list[Scored] = []
        for row in answers:
            results, details, final = [], [], None
            if rules is not None:
                followed = check(rules, row.text).strict
                results.append(all(followed))
                details += [kind for kind, is_followed in zip(rules.kinds, followed, strict=True) if not is_followed]
            if gold is not None:
                final = find(row.text)
                results.append(final == gold)
            detail = f"not followed: {', '.join(details)}" if details else None
            found.append(Scored(float(all(results)) if results else None, final, detail))
        return found

    def read(self, answers: Answers, file: Path) -> Scores:
        """See `Signal.read`. Only answers that follow are winners, not the best of a prompt where none does."""
        found = super().read(answers, file)
        return replace(found, winner=found.score >= 1)


def _gold(value: object, where: str) -> str:
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if (gold := normal_answer(text)) is None:
        raise InputError(f"{where}: the column {ANSWER!r} must be a string or a number (found {value!r})")
    return gold
