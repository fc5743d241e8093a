"""Stages of one model that share the engine: a candidate is judged while others are still being written.

Run one after the other, each stage would end with a nearly idle engine, while it waits for its longest completions. A
stage reads its input from the file that the stage before it appends to, as far as it is written, so no rows are kept
in memory for it, and each stage resumes from its own file.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from srlm.engines.together import generate_together
from srlm.reporter import SharedReporter
from srlm.workers.tasks import PromptsTask, StreamTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from srlm.config import Config
    from srlm.engines.base import Completion, Engine, Request
    from srlm.engines.fault_tolerant import FaultTolerantEngine
    from srlm.reporter import Reporter
    from srlm.stages.generation import GenerationStage
    from srlm.workers.tasks import Result, Task

    FinishTask = Callable[[Task, FaultTolerantEngine, Result], None]


def overlapping(tasks: Sequence[Task]) -> list[list[Task]]:
    """Split tasks into those that run one after the other: neighbours that can share the engine run together."""
    groups: list[list[Task]] = []
    for task in tasks:
        if groups and isinstance(task, StreamTask) and isinstance(groups[-1][-1], StreamTask):
            groups[-1].append(task)
        else:
            groups.append([task])
    return groups


def run_together(
    tasks: Sequence[StreamTask],
    engine: Engine,
    wrap: Callable[[Task], FaultTolerantEngine],
    config: Config,
    seed: int,
    report: Reporter,
    finish: FinishTask,
    since: float,
) -> None:
    """Run tasks with one engine.

    Args:
        tasks: a task that reads the file of another comes after it.
        engine: the engine that they share.
        wrap: returns the fault-tolerant engine of a task; all of them wrap `engine`.
        config: the configuration.
        seed: the seed of the job.
        report: gets the progress of every task.
        finish: called with each task, its engine and its result as soon as its file is complete.
        since: when the time of these tasks began, by `time.monotonic`.
    """
    growing: dict[Path, Callable[[], bool]] = {}
    parts: list[_Part] = []
    with contextlib.ExitStack() as files:
        for task in tasks:
            shared = SharedReporter(report, is_first=not parts)
            part = _Part(task, wrap(task), config, shared)
            part.start(task.open(part.engine, config, seed, shared, growing))
            files.enter_context(part.files)
            growing[task.file] = part.has_ended
            parts.append(part)
        # Prompts come first: they feed others, and few are in flight. Then verdicts, so that none pile up. What no
        # other task reads (answers to held-out prompts) comes last, and fills the engine while others wait.
        first = [part for part in parts if isinstance(part.task, PromptsTask)]
        order = [*first, *(part for part in reversed(parts) if part not in first)]
        for number, completion in generate_together(
            engine, [(part.engine.requests, part.requests()) for part in order]
        ):
            since, before = time.monotonic(), since
            order[number].receive(completion, since - before)
            _finish_ended(parts, finish)
            if all(part.is_finished for part in parts):
                return  # what is still in flight is not needed
        _finish_ended(parts, finish)


def _finish_ended(parts: list[_Part], finish: FinishTask) -> None:
    for part in parts:
        if not part.is_finished and part.has_ended():
            finish(part.task, part.engine, part.finish())


class _Part:
    """One of the stages that share an engine."""

    def __init__(self, task: StreamTask, engine: FaultTolerantEngine, config: Config, report: Reporter) -> None:
        self.task, self.engine, self.files = task, engine, contextlib.ExitStack()
        self._config, self._report = config, report
        self.is_finished = False
        self._stage: GenerationStage | None = None
        self._is_exhausted, self._seconds = False, 0.0

    def start(self, stage: GenerationStage) -> None:
        """Open the stage's file."""
        self._stage = self.files.enter_context(stage)

    def requests(self) -> Iterator[Request | None]:
        """Yield the stage's requests."""
        if self._stage is not None:
            yield from self._stage.requests()
        self._is_exhausted = True

    def receive(self, completion: Completion, seconds: float) -> None:
        """Pass a completion on to the stage, with the time since the one before it, of whichever stage."""
        if self._stage is not None:  # else it is one that the stage no longer needs
            self._stage.receive(completion)
            self._seconds += seconds

    def has_ended(self) -> bool:
        """Tell whether the stage will write no more rows."""
        if self._stage is None or self._stage.is_complete:
            return True
        return self._is_exhausted and self.engine.requests.is_idle

    def finish(self) -> Result:
        """Close the file, and return the fields of the manifest entry; the time is the stage's share."""
        self._stage, self.is_finished = None, True
        self.files.close()
        return {**self.task.result(self._config, self._report), "seconds": self._seconds}
