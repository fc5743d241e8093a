"""Retry failed jobs: the driver's answer to engines that run out of memory, die, hang or fail.

* Out of memory: the sizes that decide how much is in memory at once are halved, and kept for the rest of the run. (The
  transformers engine halves its batch by itself, without a new worker.)
* An engine that dies, hangs or fails is restarted and its unanswered requests are sent again. Requests that were in
  flight at a failure are suspects; after three failures a suspect is skipped (see `srlm.engines.fault_tolerant`).
* Any other failure ends the run, and so does an engine that repeatedly dies before it has answered anything.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from srlm.errors import StageError, WorkerError
from srlm.workers.jobs import Generate, Train
from srlm.workers.out_of_memory import halved_sizes, with_sizes

if TYPE_CHECKING:
    from collections.abc import Callable

    from srlm.reporter import Reporter
    from srlm.workers.jobs import Finish, Work
    from srlm.workers.tasks import Result


MAX_FUTILE_FAILURES = 5  # failures in a row between which no request was answered
FAULT_TEXTS = {
    "out_of_memory": "ran out of memory",
    "hung": "answered no request within engine.stall_seconds",
    "died": "died",
    "engine_error": "failed",
}


class Supervisor:
    """Runs jobs, and retries each as often as it makes progress.

    `sizes` maps each size that had to be halved to its configured and its fitting value (`engine.batch_size`: [32, 8]).
    """

    def __init__(self, run_once: Callable[[Work, Finish], None], report: Reporter) -> None:
        self._run_once, self._report = run_once, report
        self.sizes: dict[str, list[int]] = {}

    def run(self, work: Work, finish: Finish) -> None:
        """Run a job; `finish` is called with every result as it comes.

        Raises:
            InputError, StageError: the job failed.
        """
        done: set[str] = set()
        retries: dict[str, Counter[str]] = defaultdict(Counter)  # by stage
        futile = 0

        def finished(name: str, result: Result) -> None:
            done.add(name)
            self.sizes |= result.get("sizes", {})
            metrics: dict[str, Any] = {"retries": dict(retries[name])} if name in retries else {}
            metrics |= {"sizes": dict(self.sizes)} if self.sizes and isinstance(work, Generate | Train) else {}
            finish(name, {**result, **metrics})

        work = with_sizes(work, self.sizes)
        while True:
            try:
                self._run_once(work, finished)
            except WorkerError as fault:
                # Halving the sizes terminates by itself.
                futile = 0 if fault.answered or fault.kind == "out_of_memory" else futile + 1
                if futile == MAX_FUTILE_FAILURES:
                    raise StageError(f"{fault} ({futile} times in a row without progress)") from fault
                work = self._next_attempt(work, fault, done)
                for stage in _by_stage(fault) or [_name(work)]:
                    retries[stage][fault.kind] += 1
            else:
                return

    def _next_attempt(self, work: Work, fault: WorkerError, done: set[str]) -> Work:
        """Return the job to try next.

        Raises:
            WorkerError: there is nothing left to try.
        """
        if isinstance(work, Generate):
            work = replace(work, tasks=tuple(task for task in work.tasks if task.name not in done))
        if fault.kind == "out_of_memory":
            return self._with_halved_sizes(work, fault)
        suspects = _by_stage(fault)
        if not isinstance(work, Generate) or not suspects or not work.tasks:
            raise fault
        self._report.note(
            f"{', '.join(suspects)}: the engine {FAULT_TEXTS[fault.kind]} with {len(fault.in_flight)} requests in "
            f"flight; it is restarted and they are sent again ({fault})"
        )
        deaths = {stage: dict(Counter(work.deaths.get(stage, {})) + Counter(keys)) for stage, keys in suspects.items()}
        return replace(work, deaths=work.deaths | deaths)

    def _with_halved_sizes(self, work: Work, fault: WorkerError) -> Work:
        halves = halved_sizes(work)
        if not halves:
            raise fault
        for key, (size, half) in halves.items():
            self.sizes[key] = [self.sizes.get(key, [size])[0], half]
        changes = ", ".join(f"{key}={half}" for key, (_, half) in halves.items())
        self._report.note(f"{_name(work)}: out of memory; retried with {changes} ({fault})")
        return with_sizes(work, self.sizes)


def _by_stage(fault: WorkerError) -> dict[str, list[str]]:
    """Return the keys of the requests in flight at a fault, by their stage."""
    keys: dict[str, list[str]] = defaultdict(list)
    for stage, key in sorted(fault.in_flight):
        keys[stage].append(key)
    return keys


def _name(work: Work) -> str:
    return work.tasks[0].name if isinstance(work, Generate) and work.tasks else str(getattr(work, "name", "a job"))
