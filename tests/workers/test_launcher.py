"""Worker processes: how a job's results, errors and deaths reach the driver."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from srlm import config as configuration
from srlm.config import LaunchSection
from srlm.errors import InputError, StageError
from srlm.models import chat
from srlm.rows.records import Example, write_rows
from srlm.workers import accelerate_launch, process_tree
from srlm.workers import launcher as module
from srlm.workers.jobs import Resolve, Train
from srlm.workers.launcher import Launcher

from tests.conftest import HANG_SECONDS, ROOT
from tests.scripted import Recorder

DISK = (
    "/runs/x/candidates.jsonl: No space left on device; rows written so far are kept: fix it and run the same "
    "command again"
)
heavy_packages = module._heavy_packages


@dataclass(frozen=True)
class Job:
    """A job that runs the method named `kind`; its first result is its process id."""

    kind: str

    def run(self, report, finish):
        finish("pid", {"pid": os.getpid()})
        getattr(self, self.kind)(report, finish)

    def report(self, report, finish):
        report.start("stage", 5, 2)
        report.advance()
        report.advance(2)
        report.note("a note\nin two lines \u2603")
        finish("stage", {"rows": 5, "large": "x" * 3_000_000, "nested": {"a": [1, None, 2.5]}})

    def nothing(self, report, finish):
        pass

    def input_error(self, report, finish):
        raise InputError("model 'x': no such folder \u2603")

    def stage_error(self, report, finish):
        finish("stage", {"rows": 1})
        raise StageError("no pairs")

    def disk_error(self, report, finish):
        raise OSError(28, "No space left on device", "/runs/x/candidates.jsonl")

    def crash(self, report, finish):
        raise KeyError("column")

    def leave(self, report, finish):
        raise SystemExit(3)

    def exit_at_once(self, report, finish):
        finish("stage", {"rows": 2})
        print("last words", flush=True)
        os._exit(7)

    def exit_well_at_once(self, report, finish):
        os._exit(0)

    def killed(self, report, finish):
        os.kill(os.getpid(), signal.SIGKILL)

    def segfault(self, report, finish):
        os.kill(os.getpid(), signal.SIGSEGV)

    def talk(self, report, finish):
        print("printed to stdout")
        os.write(1, b"written by C\n")
        os.write(2, b"and to stderr\n")

    def hold_on(self, report, finish):
        threading.Thread(target=time.sleep, args=(600,)).start()

    def leave_a_child(self, report, finish):
        """Start a process that outlives the worker, as an engine's own processes may."""
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        finish("child", {"pid": child.pid})

    def interrupted(self, report, finish):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        finish("stage", {"rows": 3})

    def sleep(self, report, finish):
        finish("asleep", {})
        time.sleep(600)


class Driver:
    """A launcher with its results and progress."""

    def __init__(self, folder):
        self.log, self.report, self.results = folder / "logs" / "workers.log", Recorder(), {}
        self.launcher = Launcher(self.log, self.report, kinds=())

    def run(self, work):
        self.launcher.run(work, self.results.__setitem__)

    @property
    def output(self):
        return self.log.read_text(encoding="utf-8")

    def is_gone(self):
        """Check that the process of the last job has ended, which frees its memory."""
        with pytest.raises(ProcessLookupError):
            os.kill(self.results["pid"]["pid"], 0)
        return True


@pytest.fixture(scope="module")
def _packages():
    """Start the forkserver without imports: these jobs need none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_heavy_packages", lambda *_: [])
        yield


@pytest.fixture
def driver(tmp_path, _packages):
    return Driver(tmp_path)


def test_no_process_of_a_job_is_left_when_it_ends(driver):
    driver.run(Job("leave_a_child"))
    child = driver.results["child"]["pid"]
    assert not Path(f"/proc/{child}").exists() or "zombie" in Path(f"/proc/{child}/status").read_text()
    assert driver.is_gone()


def test_processes_that_do_not_end_stop_the_run(driver, monkeypatch):
    monkeypatch.setattr(process_tree, "RELEASE_SECONDS", 0.5)
    monkeypatch.setattr(process_tree, "_signal_group", lambda *_: True)
    driver.run(Job("nothing"))  # zombies hold no memory
    monkeypatch.setattr(process_tree, "_only_zombies", lambda _: False)
    with pytest.raises(StageError, match=r"processes of worker \d+ did not end and still hold memory"):
        driver.run(Job("nothing"))


def test_results_and_progress(driver):
    driver.run(Job("report"))
    assert driver.results["stage"]["rows"] == 5
    assert driver.results["stage"]["nested"] == {"a": [1, None, 2.5]}
    assert len(driver.results["stage"]["large"]) == 3_000_000
    assert driver.report.starts == [("stage", 5, 2)]
    assert driver.report.advanced == 3
    assert driver.report.notes == ["a note\nin two lines \u2603"]
    assert driver.results["pid"]["pid"] != os.getpid()
    assert driver.is_gone()


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        ("input_error", InputError, "model 'x': no such folder \u2603"),
        ("stage_error", StageError, "no pairs"),
        ("disk_error", StageError, DISK),
        ("crash", StageError, "KeyError: 'column' (the worker's log has the traceback)"),
        ("leave", StageError, "SystemExit: 3 (the worker's log has the traceback)"),
    ],
)
def test_errors(driver, kind, error, text):
    with pytest.raises(error) as raised:
        driver.run(Job(kind))
    assert type(raised.value) is error
    assert str(raised.value) == text
    assert "Traceback" in driver.output
    assert driver.is_gone()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("exit_at_once", "exit code 7"),
        ("exit_well_at_once", "exit code 0"),
        ("killed", "signal 9; it may have run out of memory"),
        ("segfault", "signal 11"),
    ],
)
def test_deaths(driver, kind, text):
    with pytest.raises(StageError) as raised:
        driver.run(Job(kind))
    assert str(raised.value) == (
        f"a worker process died ({text}); its output is in {driver.log}. Run the same command again to resume"
    )
    assert driver.is_gone()


def test_results_before_an_error_are_kept(driver):
    with pytest.raises(StageError):
        driver.run(Job("stage_error"))
    assert driver.results["stage"] == {"rows": 1}
    with pytest.raises(StageError):
        driver.run(Job("exit_at_once"))
    assert driver.results["stage"] == {"rows": 2}
    assert "last words" in driver.output


def test_next_job_after_a_death(driver):
    pids = set()
    for kind in ("killed", "nothing", "crash", "nothing"):
        with contextlib.suppress(StageError):
            driver.run(Job(kind))
        assert driver.is_gone()
        pids.add(driver.results["pid"]["pid"])
    assert len(pids) == 4


def test_output_goes_to_the_log(driver, capfd):
    driver.run(Job("talk"))
    for line in ("printed to stdout", "written by C", "and to stderr"):
        assert line in driver.output.split("\n")
    driver.run(Job("talk"))
    assert driver.output.split("\n").count("written by C") == 2
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_remaining_threads_do_not_delay_the_exit(driver):
    began = time.monotonic()
    driver.run(Job("hold_on"))
    assert time.monotonic() - began < 300  # its thread sleeps for 600 s
    assert driver.is_gone()


def test_worker_leaves_ctrl_c_to_the_driver(driver):
    driver.run(Job("interrupted"))
    assert driver.results["stage"] == {"rows": 3}


def test_driver_that_is_interrupted_stops_its_worker(driver):
    def finish(name, result):
        driver.results[name] = result
        if name == "asleep":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        driver.launcher.run(Job("sleep"), finish)
    assert driver.is_gone()


def test_resolve(driver, tiny_model, tmp_path):
    driver.run(Resolve("model", tiny_model, None))
    assert driver.results == {"model": {"folder": tiny_model}}
    assert (driver.report.starts, driver.report.advanced) == ([(f"model {tiny_model}", 1, 0)], 1)
    with pytest.raises(InputError, match="no such folder"):
        driver.run(Resolve("model", str(tmp_path / "nowhere"), None))


# --- preloaded packages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "engine", "build", "expected"),
    [
        (("generate", "train"), "auto", "cpu", ["transformers", "trl", "peft", "vllm"]),
        (("generate", "train"), "auto", None, ["transformers", "trl", "peft"]),
        (("generate", "train"), "auto", "gpu", ["transformers", "trl", "peft"]),
        (("generate",), "vllm", "cpu", ["transformers", "vllm"]),
        (("generate",), "transformers", "cpu", ["transformers"]),
        (("train",), "vllm", "cpu", ["transformers", "trl", "peft"]),
    ],
)
def test_heavy_packages(monkeypatch, kinds, engine, build, expected):
    """The GPU build of vLLM may initialize CUDA when imported, so it is never imported in a process that forks."""
    from srlm.engines import factory

    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: object() if build else None)
    monkeypatch.setattr(factory, "vllm_is_cpu_build", lambda: build == "cpu")
    config = configuration.build({"model": {"name": "x"}, "engine": {"kind": engine}})
    assert heavy_packages(config, kinds) == expected


def test_what_is_preloaded_is_left_out_of_garbage_collections():
    code = "import gc, srlm.workers.preload; print(gc.get_freeze_count())"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SRLM_")}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(found.stdout) > 1000


# --- several processes ------------------------------------------------------------------------------------------------


def train(tmp_path, tiny_model, **settings):
    """Return a small SFT as a job, and its configuration."""
    rows = [Example(f"e{n}", chat.user(f"Task {n}"), chat.assistant("the answer " * n)) for n in range(1, 9)]
    write_rows(tmp_path / "ift.jsonl", rows)
    sft = {"batch_size": 4, "micro_batch_size": 2, "dropout": 0.0, **settings.pop("sft", {})}
    config = configuration.build({"model": {"name": tiny_model}, "sft": sft, "launch": settings})
    target = tmp_path / "m1" / "model"
    work = Train(
        "m1/sft", "sft", config, tiny_model, target, target.with_name("metrics.jsonl"), (tmp_path / "ift.jsonl",),
        {"model": "m1"},
    )  # fmt: skip
    return work, config


def run_train(tmp_path, tiny_model, monkeypatch, **settings):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    work, config = train(tmp_path, tiny_model, **settings)
    report, results = Recorder(), {}
    log = tmp_path / "logs" / "workers.log"
    log.parent.mkdir()
    Launcher(log, report, config, kinds=()).run(work, results.__setitem__)
    return work, report, results


DRIVER = """
import pathlib, sys
from tests.workers.test_launcher import Driver, Job
driver = Driver(pathlib.Path(sys.argv[1]))
driver.launcher.run(Job("sleep"), lambda name, result: print(result.get("pid", name), flush=True))
"""


def test_a_worker_exits_with_its_killed_driver(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        worker = int(process.stdout.readline())
        assert process.stdout.readline() == "asleep\n"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    deadline = time.monotonic() + HANG_SECONDS
    while running(worker):
        assert time.monotonic() < deadline, "the worker outlived its driver"
        time.sleep(0.02)


def running(pid):
    """Return whether a process runs; a zombie does not."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False


@pytest.mark.slow
def test_two_processes_that_fail(tmp_path, tiny_model, monkeypatch):
    with pytest.raises(InputError, match=r"none of 8 examples fits sft\.max_length"):
        run_train(tmp_path, tiny_model, monkeypatch, processes=2, sft={"max_length": 2})


def test_launcher_that_dies(tmp_path, tiny_model, monkeypatch):
    """Before any process has connected to the driver; the job is the first to use the log."""
    dying = "import sys; print('no room'); sys.exit(3)"
    monkeypatch.setattr(accelerate_launch, "distributed_command", lambda *_: [sys.executable, "-c", dying])
    work, config = train(tmp_path, tiny_model, processes=2)
    log = tmp_path / "logs" / "workers.log"
    with pytest.raises(StageError, match=r"a worker process died \(exit code 3\)"):
        Launcher(log, Recorder(), config, kinds=()).run(work, lambda *_: None)
    assert log.read_text(encoding="utf-8") == "no room\n"


@pytest.mark.parametrize(
    ("gpu", "settings", "expected"),
    [
        (False, {"processes": 2}, ["torch.distributed.run", "--standalone", "--nproc-per-node=2"]),
        (True, {"processes": 4}, ["accelerate.commands.launch", "--num_processes", "4", "--multi_gpu"]),
        (True, {"accelerate_config": "x.yaml"}, ["accelerate.commands.launch", "--config_file", "x.yaml"]),
        (False, {"accelerate_config": "x.yaml"}, ["accelerate.commands.launch", "--config_file", "x.yaml"]),
    ],
)
def test_how_processes_are_started(monkeypatch, gpu, settings, expected):
    monkeypatch.setattr(accelerate_launch.Path, "exists", lambda path: gpu and str(path) == "/dev/nvidiactl")
    command = accelerate_launch.distributed_command(LaunchSection(**settings), "/tmp/address")  # noqa: S108
    assert command[0] == sys.executable
    assert command[-3:] == ["-m", "srlm.workers.process", "/tmp/address"]  # noqa: S108
    positions = [command.index(word) for word in expected]
    assert positions == sorted(positions)
    assert ("--multi_gpu" in command) is ("--multi_gpu" in expected)


@pytest.mark.slow
def test_launcher_that_does_not_start(tmp_path, tiny_model, monkeypatch):
    with pytest.raises(StageError, match=r"a worker process died \(exit code [1-9]"):
        run_train(tmp_path, tiny_model, monkeypatch, accelerate_config=str(tmp_path / "nowhere.yaml"))
