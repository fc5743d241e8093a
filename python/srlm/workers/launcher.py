"""Run jobs in worker processes, one after the other: start each worker, pass on its messages, handle how it ends.

Workers are forked from a forkserver that has imported the heavy packages once, without touching CUDA, so that a job
does not pay for imports again. Only one worker lives at a time: the next one starts after the last one's memory is
released.
"""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import sys
from typing import TYPE_CHECKING, Literal

from srlm.workers import jobs
from srlm.workers import process as worker_process
from srlm.workers.accelerate_launch import death_message, run_distributed
from srlm.workers.messages import InFlight, listen
from srlm.workers.process_tree import stop, wait_until_released
from srlm.workers.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.context import ForkServerContext
    from pathlib import Path

    from srlm.config import Config, LaunchSection
    from srlm.reporter import Reporter
    from srlm.workers.jobs import Finish, Work

Kind = Literal["generate", "train"]
KINDS: tuple[Kind, ...] = ("generate", "train")
JOIN_SECONDS = 60  # for a worker that is done to exit


class Launcher:
    """Runs jobs, each in a process of its own."""

    def __init__(
        self, log: Path, report: Reporter, config: Config | None = None, kinds: tuple[Kind, ...] = KINDS
    ) -> None:
        """The forkserver imports packages for these `kinds` of jobs; any other job imports what it needs."""
        self._log, self._report = log.absolute(), report
        self._launch: LaunchSection | None = config.launch if config else None
        self._stall_seconds = config.engine.stall_seconds if config else None
        self.supervisor = Supervisor(self.run_once, report)
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        # TRL reports every trainer to the hub; a user who wants that sets the variable to 0.
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        # The forkserver reads these when its first worker starts.
        os.environ["SRLM_WORKER_LOG"] = str(self._log)
        os.environ["SRLM_PRELOAD"] = ",".join(_heavy_packages(config, kinds))
        self._context.set_forkserver_preload(["srlm.workers.preload"])

    def warm_up(self) -> None:
        """Start the forkserver's imports now, while the driver does other work.

        The output of the forkserver and of Python's resource tracker goes to the log, so they start with it as stderr.
        """
        from multiprocessing import forkserver, resource_tracker

        with _stderr_into(self._log):
            resource_tracker.ensure_running()
            forkserver.ensure_running()

    def run(self, work: Work, finish: Finish) -> None:
        """Run a job in as many workers as it takes (see `supervisor`); `finish` is called with every result.

        Raises:
            InputError, StageError: the job failed.
        """
        self.supervisor.run(work, finish)

    def run_once(self, work: Work, finish: Finish) -> None:
        """Run a job in one worker.

        Raises:
            InputError, StageError: the job failed.
            WorkerError: the job failed in a way that another worker may not.
        """
        self._log.parent.mkdir(parents=True, exist_ok=True)
        distributed = (
            isinstance(work, jobs.Train)
            and self._launch is not None
            and (self._launch.processes > 1 or self._launch.accelerate_config is not None)
        )
        if distributed and self._launch is not None:
            run_distributed(work, self._launch, self._log, self._report, finish)
        else:
            self._run_worker(work, finish)

    def _run_worker(self, work: Work, finish: Finish) -> None:
        self.warm_up()
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=worker_process.main, args=(theirs, work, self._log))
        process.start()
        theirs.close()
        in_flight = InFlight()
        try:
            done = listen(ours, self._report, finish, in_flight, self._stall_seconds)
            process.join(JOIN_SECONDS)
        finally:
            ours.close()
            if process.is_alive():
                stop(process)
            wait_until_released(process.pid)
        if not done:
            raise in_flight.fault("died", death_message(process.exitcode, self._log))


@contextlib.contextmanager
def _stderr_into(log: Path) -> Iterator[None]:
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _heavy_packages(config: Config | None, kinds: tuple[Kind, ...]) -> list[str]:
    from srlm.engines import factory

    packages = ["transformers"]
    if "train" in kinds:
        packages += ["trl", "peft"]
    wants_vllm = "generate" in kinds and (config is None or config.engine.kind != "transformers")
    # The GPU build of vLLM may touch CUDA when imported, which a process that forks must not.
    if wants_vllm and importlib.util.find_spec("vllm") is not None and factory.vllm_is_cpu_build():
        packages.append("vllm")
    return packages
