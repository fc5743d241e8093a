"""`signal.kind: judge`: M_t judges its own answers (paper, section 2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import Verdict
from srlm.run import stage_inputs
from srlm.run.cache_keys import key_inputs
from srlm.signals.stage_names import VERDICTS
from srlm.stages.score_table import read_verdicts
from srlm.workers.tasks import VerdictsTask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from srlm.config import Config
    from srlm.rows.records import Prompt
    from srlm.stages.score_table import Answers, Scores
    from srlm.workers.jobs import Work
    from srlm.workers.tasks import Task


class JudgeSignal:
    """See `Signal`."""

    stage = VERDICTS

    def __init__(self, config: Config) -> None:
        self._config = config

    @property
    def max_score(self) -> float:
        """See `Signal.max_score`."""
        return self._config.judge.max_score

    def check(self, prompts: Sequence[Prompt]) -> None:
        """See `Signal.check`; `judge_prompt.check` has checked the judge, which has uses besides this."""

    def models(self, t: int) -> dict[str, int]:
        """See `Signal.models`."""
        return {}

    def stage_inputs(self) -> dict[str, Any]:
        """See `Signal.stage_inputs`."""
        return stage_inputs.verdicts(self._config)

    def pairs_inputs(self) -> dict[str, Any]:
        """See `Signal.pairs_inputs`."""
        return key_inputs(self._config, "judge.score", "judge.max_score")

    def task(self, name: str, prompts: Path, candidates: Path, file: Path) -> Task:
        """See `Signal.task`."""
        return VerdictsTask(name, prompts, candidates, file)

    def job(
        self, name: str, prompts: Path, candidates: Path, file: Path, seed: int, folders: Mapping[str, str]
    ) -> Work | None:
        """See `Signal.job`."""

    def read(self, answers: Answers, file: Path) -> Scores:
        """See `Signal.read`."""
        judge = self._config.judge
        return read_verdicts(answers, RowFile(file, Verdict), score=judge.score, max_score=judge.max_score)
