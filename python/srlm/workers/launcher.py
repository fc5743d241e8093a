"""The driver's side of worker processes: start one per job, pass on what it says, notice how it ends.

Workers start from a forkserver that has imported the heavy packages once, never CUDA, so that a job does not pay for
imports again. Only one worker lives at a time: the next one starts after the last one's memory is released. A training
over several processes is started by `accelerate launch` (on a CPU by torch's own launcher).
"""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Listener, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from srlm.errors import InputError, StageError, WorkerError
from srlm.workers import jobs
from srlm.workers import process as worker_process
from srlm.workers.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerContext
    from multiprocessing.process import BaseProcess

    from srlm.config import Config, LaunchSection
    from srlm.errors import Fault
    from srlm.reporter import Reporter
    from srlm.workers.jobs import Finish, Work

Kind = Literal["generate", "train"]
KINDS: tuple[Kind, ...] = ("generate", "train")
JOIN_SECONDS = 30
START_SECONDS = 300


class Launcher:
    """Runs jobs, one after the other, each in a process of its own."""

    def __init__(
        self, log: Path, report: Reporter, config: Config | None = None, kinds: tuple[Kind, ...] = KINDS
    ) -> None:
        """`kinds` of jobs decide what the forkserver imports beforehand; any other job imports what it needs."""
        self._log, self._report = log.absolute(), report
        self._launch: LaunchSection | None = config.launch if config else None
        self._stall_seconds = config.engine.stall_seconds if config else None
        self.supervisor = Supervisor(self.run_once, report)
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        # TRL tells the hub of every trainer that is made; a user who wants that sets it to 0.
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        # The forkserver reads these when its first worker starts.
        os.environ["SRLM_WORKER_LOG"] = str(self._log)
        os.environ["SRLM_PRELOAD"] = ",".join(_heavy_packages(config, kinds))
        self._context.set_forkserver_preload(["srlm.workers.preload"])

    def warm_up(self) -> None:
        """Let the forkserver begin its imports now, beside what the driver does next.

        What it and Python's resource tracker print belongs into the log, so they start with the log as their stderr.
        """
        from multiprocessing import forkserver, resource_tracker

        with _stderr_into(self._log):
            resource_tracker.ensure_running()
            forkserver.ensure_running()

    def run(self, work: Work, finish: Finish) -> None:
        """Do `work`, in as many workers as it takes; `finish` is called with every result as it comes.

        Raises:
            InputError, StageError: what a worker found, or that it died.
        """
        self.supervisor.run(work, finish)

    def run_once(self, work: Work, finish: Finish) -> None:
        """Do `work` in a worker.

        Raises:
            InputError, StageError: what the worker found.
            WorkerError: another worker might fare better.
        """
        self._log.parent.mkdir(parents=True, exist_ok=True)
        distributed = (
            isinstance(work, jobs.Train)
            and self._launch is not None
            and (self._launch.processes > 1 or self._launch.accelerate_config is not None)
        )
        if distributed and self._launch is not None:
            _run_distributed(work, self._launch, self._log, self._report, finish)
        else:
            self._run_worker(work, finish)

    def _run_worker(self, work: Work, finish: Finish) -> None:
        self.warm_up()
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=worker_process.main, args=(theirs, work, self._log))
        process.start()
        theirs.close()
        out = Out()
        try:
            ended = _listen(ours, self._report, finish, out, self._stall_seconds)
            process.join(JOIN_SECONDS)
        finally:
            ours.close()
            if process.is_alive():
                _stop(process)
            _wait_until_released(process.pid)
        if not ended:
            raise out.fault("died", _death(process.exitcode, self._log))


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
    if wants_vllm and importlib.util.find_spec("vllm") is not None and factory.vllm_is_for_cpu():
        packages.append("vllm")
    return packages


@dataclass
class Out:
    """What an engine is at: the keys of requests that were sent and are not back."""

    keys: set[str] = field(default_factory=set)
    answered: bool = False

    def fault(self, kind: Fault, text: str) -> WorkerError:
        """Return the error of a worker that ended now."""
        return WorkerError(kind, text, frozenset(self.keys), answered=self.answered)


def _listen(
    connection: Connection, report: Reporter, finish: Finish, out: Out, stall_seconds: float | None = None
) -> bool:
    """Pass messages on until the worker says that it is done (True) or its end of the pipe closes (False).

    Raises:
        WorkerError: it says that it failed, or says nothing for too long while requests are out.
    """
    while True:
        if out.keys and not connection.poll(stall_seconds):
            raise out.fault("hung", f"no answer within {stall_seconds:g} s (engine.stall_seconds)")
        try:
            message: tuple[Any, ...] = connection.recv()
        except (EOFError, ConnectionResetError):
            return False
        match message:
            case ("sent", key):
                out.keys.add(key)
            case ("back", key):
                out.keys.discard(key)
                out.answered = True
            case ("fault", kind, text):
                raise out.fault(kind, f"{text} (the worker's log has the traceback)")
            case ("start", stage, total, done):
                report.start(stage, total, done)
            case ("advance", rows):
                report.advance(rows)
            case ("note", text):
                report.note(text)
            case ("result", name, result):
                out.keys.clear()
                out.answered = True
                finish(name, result)
            case ("done",):
                return True
            case ("failed", "InputError", text):
                raise InputError(text)
            case ("failed", _, text):
                raise StageError(text)
            case ("crashed", text):
                raise StageError(f"{text} (the worker's log has the traceback)")


def _stop(process: BaseProcess) -> None:
    process.terminate()
    process.join(5)
    if process.is_alive():
        process.kill()
        process.join()


def _wait_until_released(group: int | None) -> None:
    """See to it that nothing of a worker is left: what it started (an engine's own processes) shares its group.

    A process has given back its memory, on GPUs too, before it can be waited for.
    """
    deadline = time.monotonic() + JOIN_SECONDS
    while _signal_group(group, signal.SIGKILL):
        if time.monotonic() > deadline:
            if _only_zombies(group):
                return
            raise StageError(f"processes of worker {group} are still there, and hold memory; end them, and go on")
        time.sleep(0.05)


def _only_zombies(group: int | None) -> bool:
    """Tell whether all of a group have ended, and their parent does not ask for them: they hold no memory."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:3]
            if its_group == str(group) and state not in "ZX":
                return False
    return True


def _signal_group(group: int | None, number: int) -> bool:
    """Signal a group of processes; False where there is none any more."""
    if group is None:
        return False
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _death(exit_code: int | None, log: Path) -> str:
    how = f"signal {-exit_code}" if exit_code is not None and exit_code < 0 else f"exit code {exit_code}"
    hint = "; it may have run out of memory" if exit_code == -9 else ""
    return f"a worker process died ({how}{hint}); its output is in {log}. Run the same command again to go on"


def _run_distributed(work: Work, launch: LaunchSection, log: Path, report: Reporter, finish: Finish) -> None:
    with tempfile.TemporaryDirectory(prefix="srlm-") as folder:
        address, key = str(Path(folder) / "driver"), secrets.token_bytes(32)
        with Listener(address, authkey=key) as listener, log.open("ab") as output:
            process = subprocess.Popen(
                _distributed_command(launch, address),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "SRLM_AUTHKEY": key.hex()},
                start_new_session=True,
            )
            connections: list[Connection] = []
            try:
                connections = _accept(listener, launch.processes, process, log)
                for connection in connections:
                    connection.send(work)
                _listen_to_all(connections, report, finish)
            except BaseException:
                for connection in connections:  # by which the processes of the training see that they are to end
                    connection.close()
                raise
            finally:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5 if sys.exc_info()[0] else JOIN_SECONDS)
                if process.poll() is None:
                    process.kill()
                process.wait()
                _wait_until_released(process.pid)
            if process.returncode != 0:
                raise StageError(_death(process.returncode, log))


def _distributed_command(launch: LaunchSection, address: str) -> list[str]:
    """Return the command that starts the processes; accelerate starts only one on a CPU, so there torch does it."""
    gpu = any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd"))  # the driver does not import torch
    work = ["-m", "srlm.workers.process", address]
    if launch.accelerate_config is None and not gpu:
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={launch.processes}"]
        return [sys.executable, *torchrun, *work]
    options = ["--num_processes", str(launch.processes)]
    if launch.accelerate_config is not None:
        options += ["--config_file", launch.accelerate_config]
    elif launch.processes > 1:
        options += ["--multi_gpu"]
    return [sys.executable, "-m", "accelerate.commands.launch", *options, *work]


def _accept(listener: Listener, count: int, process: subprocess.Popen[bytes], log: Path) -> list[Connection]:
    connections: list[Connection] = []
    # The listener's socket has no public time-out; a launcher that dies first must not leave the driver waiting.
    socket = listener._listener._socket  # type: ignore[attr-defined]
    socket.settimeout(1.0)
    deadline = time.monotonic() + START_SECONDS
    while len(connections) < count:
        try:
            connections.append(listener.accept())
        except TimeoutError:
            if process.poll() is not None:
                raise StageError(_death(process.returncode, log)) from None
            if time.monotonic() > deadline:
                raise StageError(
                    f"{len(connections)} of {count} training processes started within {START_SECONDS} s; does "
                    f"launch.processes match launch.accelerate_config? Their output is in {log}"
                ) from None
    return connections


def _listen_to_all(connections: list[Connection], report: Reporter, finish: Finish) -> None:
    """Listen to every process: the first one reports, and each says when it is done or has failed."""
    open_ones = list(connections)
    while open_ones:
        for connection in wait(open_ones):
            assert not isinstance(connection, int)  # noqa: S101  only connections were waited for
            _listen(connection, report, finish, Out())  # type: ignore[arg-type]
            open_ones.remove(connection)  # type: ignore[arg-type]
