"""What is tried again when a worker fails, and with what: the driver's answer to engines that die, hang or are too big.

* Out of memory: the sizes that decide how much is held at once are halved; the ones that worked are kept for the rest
  of the run. (The transformers engine halves its batch by itself, without a new worker.)
* An engine that dies, hangs or fails is started again, and what it had not answered is sent again. What was out at
  every death is suspected, and after three set aside (`srlm.engines.guarded`).
* Whatever else fails, and an engine that again and again dies before it has answered anything, ends the run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from srlm.errors import StageError, WorkerError
from srlm.workers.jobs import Generate, Train

if TYPE_CHECKING:
    from collections.abc import Callable

    from srlm.config import Config
    from srlm.reporter import Reporter
    from srlm.workers.jobs import Finish, Work
    from srlm.workers.tasks import Result

    AnyWork = TypeVar("AnyWork", bound=Work)

MOST_FRUITLESS = 5  # failures in a row between which no request was answered
ENGINE_SIZES = ("batch_size", "max_num_seqs")
WHAT = {
    "out_of_memory": "ran out of memory",
    "hung": "answered nothing within engine.stall_seconds",
    "died": "died",
    "engine_error": "failed",
}


class Supervisor:
    """Does jobs, each as often as it takes.

    `sizes` are those that did not fit in memory, as configured, with those that did (`engine.batch_size`: [32, 8]).
    """

    def __init__(self, run_once: Callable[[Work, Finish], None], report: Reporter) -> None:
        self._run_once, self._report = run_once, report
        self.sizes: dict[str, list[int]] = {}

    def run(self, work: Work, finish: Finish) -> None:
        """Do a job; `finish` is called with every result as it comes.

        Raises:
            InputError, StageError: it could not be done.
        """
        done: set[str] = set()
        retries: Counter[str] = Counter()
        fruitless = 0

        def finished(name: str, result: Result) -> None:
            done.add(name)
            self.sizes |= result.get("sizes", {})
            facts: dict[str, Any] = {"retries": dict(retries)} if retries else {}
            facts |= {"sizes": dict(self.sizes)} if self.sizes and isinstance(work, Generate | Train) else {}
            finish(name, {**result, **facts})
            retries.clear()

        work = _with_sizes(work, self.sizes)
        while True:
            try:
                self._run_once(work, finished)
            except WorkerError as fault:
                # Halving sizes comes to an end by itself.
                fruitless = 0 if fault.answered or fault.kind == "out_of_memory" else fruitless + 1
                if fruitless == MOST_FRUITLESS:
                    raise StageError(
                        f"{fault} (and so {fruitless} times in a row, with nothing done between)"
                    ) from fault
                work = self._again(work, fault, done)
                retries[fault.kind] += 1
            else:
                return

    def _again(self, work: Work, fault: WorkerError, done: set[str]) -> Work:
        """Return what to try next.

        Raises:
            WorkerError: nothing is left to try.
        """
        if isinstance(work, Generate):
            work = replace(work, tasks=tuple(task for task in work.tasks if task.name not in done))
        if fault.kind == "out_of_memory":
            return self._smaller(work, fault)
        if not isinstance(work, Generate) or not fault.out or not work.tasks:
            raise fault
        stage = work.tasks[0].name
        deaths = Counter(work.deaths.get(stage, {})) + Counter(fault.out)
        self._report.note(
            f"{stage}: the engine {WHAT[fault.kind]} with {len(fault.out)} requests out; it is started again, and they "
            f"are sent again ({fault})"
        )
        return replace(work, deaths={**work.deaths, stage: dict(deaths)})

    def _smaller(self, work: Work, fault: WorkerError) -> Work:
        config = getattr(work, "config", None)
        halves = _halves(work, config) if config is not None else {}
        if not halves:
            raise fault
        for key, (size, half) in halves.items():
            self.sizes[key] = [self.sizes.get(key, [size])[0], half]
        said = ", ".join(f"{key}={half}" for key, (_, half) in halves.items())
        self._report.note(f"{_name(work)}: out of memory; goes on with {said} ({fault})")
        return _with_sizes(work, self.sizes)


def _halves(work: Work, config: Config) -> dict[str, tuple[int, int]]:
    """Return the sizes now and to try next; none where each is 1 already."""
    if isinstance(work, Train):
        size = getattr(config, work.kind).micro_batch_size
        smaller = next((part for part in range(size // 2, 0, -1) if size % part == 0), 0)
        return {f"{work.kind}.micro_batch_size": (size, smaller)} if smaller else {}
    if not isinstance(work, Generate):
        return {}
    sizes = {key: getattr(config.engine, key) for key in ENGINE_SIZES}
    if all(size == 1 for size in sizes.values()):
        return {}
    return {f"engine.{key}": (size, max(1, size // 2)) for key, size in sizes.items()}


def _with_sizes(work: AnyWork, sizes: dict[str, list[int]]) -> AnyWork:
    """Return a job with the sizes that worked; one that the user has since changed stays the user's."""
    if not isinstance(work, Generate | Train):
        return work
    config = work.config
    for key, (configured, size) in sizes.items():
        section, name = key.split(".")
        part = getattr(config, section)
        if size < getattr(part, name) <= configured:
            config = config.model_copy(update={section: part.model_copy(update={name: size})})
    return replace(work, config=config)


def _name(work: Work) -> str:
    return work.tasks[0].name if isinstance(work, Generate) and work.tasks else str(getattr(work, "name", "a job"))
