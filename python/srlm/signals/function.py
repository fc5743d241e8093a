"""`signal.kind: function`: the user's own Python function, in the form of TRL's reward functions but per prompt."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from srlm.errors import InputError
from srlm.rows.records import file_hash
from srlm.signals import user_function
from srlm.signals.per_prompt import PerPromptSignal, Scored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from srlm.rows.records import Candidate, Prompt


class FunctionSignal(PerPromptSignal):
    """See `Signal`. Its source file is an input of the stage, so that a changed function scores again."""

    breaks_ties = False
    settings = ("signal.function", "signal.max_score")

    @property
    def max_score(self) -> float | None:
        """See `Signal.max_score`."""
        return self._config.signal.max_score

    @property
    def _name(self) -> str:
        return self._config.signal.function or ""

    def check(self, prompts: Sequence[Prompt]) -> None:
        """See `Signal.check`. The function is found in its source, not imported: it may need a heavy package."""
        user_function.check("signal.function", self._name)

    def stage_inputs(self) -> dict[str, Any]:
        """See `Signal.stage_inputs`."""
        source = user_function.source_file("signal.function", self._name)
        return super().stage_inputs() | {"signal.function's source": file_hash(source)}

    def score_prompt(self, prompt: Prompt, answers: Sequence[Candidate], seed: int) -> list[Scored]:
        """See `PerPromptSignal.score_prompt`.

        Raises:
            InputError: the function raises, or returns something else than one number or None for each answer.
        """
        function = user_function.load("signal.function", self._name)
        where = f"signal.function {self._name}, for the prompt {prompt.text[:60]!r} ({prompt.id})"
        try:
            found = function({**(prompt.columns or {}), "prompt": prompt.text}, [row.text for row in answers])
        except Exception as error:
            raise InputError(f"{where}: raised {type(error).__name__}: {error}") from error
        if not hasattr(found, "__iter__") or len(scores := list(found)) != len(answers):
            raise InputError(f"{where}: returned {found!r}; it must return a number or None for each of {len(answers)}")
        return [Scored(self._number(value, where)) for value in scores]

    def _number(self, value: Any, where: str) -> float | None:  # noqa: ANN401  whatever the user's function returns
        if value is None:
            return None
        try:
            number = float(value)  # numpy's and torch's numbers, too
        except (TypeError, ValueError) as error:
            raise InputError(f"{where}: returned {value!r}, which is neither a number nor None") from error
        if not math.isfinite(number):
            raise InputError(f"{where}: returned {value!r}; return None for an answer without a score")
        if self.max_score is not None and number > self.max_score:
            raise InputError(f"{where}: returned {number:g}, above signal.max_score ({self.max_score:g})")
        return number
