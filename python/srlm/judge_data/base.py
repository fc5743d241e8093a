"""What every kind of judge data gives: stages that write rows with M_t's engine, and pairs that are made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from pathlib import Path

    from srlm.config import Config
    from srlm.judge_data.preferences import JudgePairs
    from srlm.workers.tasks import Task


@dataclass(frozen=True, slots=True)
class DataStage:
    """A stage that needs M_t's engine, the inputs of its cache key, and the stages that it depends on."""

    task: Task
    inputs: dict[str, Any]
    depends_on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RowCheck:
    """How `srlm replay` checks the rows of a stage: each by itself, and that no key appears twice."""

    stage: str
    what: str
    rows: Sequence[Any]
    key: Callable[[Any], Hashable]
    problem: Callable[[Any], str | None]


class JudgeData(Protocol):
    """Makes the pairs of judgements of an iteration. `folder` is that of M_t's data."""

    def __init__(self, config: Config) -> None:
        """`config` holds the settings of one iteration."""

    def stages(self, t: int, folder: Path, policy: str) -> list[DataStage]:
        """Return the stages that write its rows, in order; `policy` is the stage that trains the generating model."""

    def pairs_inputs(self) -> dict[str, Any]:
        """Return the inputs of the cache key of `build`."""

    def build(self, folder: Path, seed: int) -> JudgePairs:
        """Return the pairs that the rows give; the order of the rows changes nothing.

        Raises:
            InputError: a file cannot be read, or a row's parent does not exist.
        """

    def row_checks(self, folder: Path) -> list[RowCheck]:
        """Return the checks of its rows."""
