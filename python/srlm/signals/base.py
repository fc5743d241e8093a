"""What every signal gives: a stage that writes rows, and columns that are read from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from srlm.config import Config
    from srlm.rows.records import Prompt
    from srlm.stages.score_table import Answers, Scores
    from srlm.workers.jobs import Work
    from srlm.workers.tasks import Task


class Signal(Protocol):
    """Scores the answers of an iteration."""

    stage: str  # the name of its stage and, with `.jsonl`, of its file in M_t's folder

    def __init__(self, config: Config) -> None:
        """`config` holds the settings of one iteration."""

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Check the settings, and the prompts from files, before a run begins.

        Raises:
            InputError: a setting is wrong, or a prompt lacks a column that the signal reads.
        """

    def models(self, t: int) -> dict[str, int]:
        """Return the models whose weights its job needs for M_t's data: their iterations (0: M0) by their roles."""

    def stage_inputs(self) -> dict[str, Any]:
        """Return the inputs of its stage's cache key."""

    def pairs_inputs(self) -> dict[str, Any]:
        """Return the inputs of the selection of pairs that come from the signal: what `read` depends on."""

    def task(self, name: str, prompts: Path, candidates: Path, file: Path) -> Task | None:
        """Return the task that writes its rows with M_t's engine, or None if it needs none."""

    def job(
        self, name: str, prompts: Path, candidates: Path, file: Path, seed: int, folders: Mapping[str, str]
    ) -> Work | None:
        """Return the job that writes its rows once all answers are sampled, or None if the task did.

        `folders` are those of `models`, by role.
        """

    def read(self, answers: Answers, file: Path) -> Scores:
        """Return its columns, in the order of `answers`.

        Raises:
            InputError: the file cannot be read, or a row's candidate is not among the answers.
        """

    @property
    def max_score(self) -> float | None:
        """The largest score, or None if there is no limit."""
