"""The exit of a distributed training's launcher: in time, too slow, or with an error."""

import sys
from pathlib import Path

import pytest
from srlm.config import LaunchSection
from srlm.errors import StageError
from srlm.workers import accelerate_launch
from srlm.workers.accelerate_launch import run_distributed

from tests.scripted import Recorder

CONNECT = """
import os, sys, time
from multiprocessing.connection import Client
connection = Client(sys.argv[1], authkey=bytes.fromhex(os.environ["SRLM_AUTHKEY"]))
connection.send(os.getpid())
connection.recv()
connection.send(("result", "m2/dpo", {"rows": 3}))
connection.send(("done",))
"""


def run(monkeypatch, tmp_path, script):
    """Launch a scripted process instead of a training."""
    command = [sys.executable, "-c", script]
    monkeypatch.setattr(accelerate_launch, "distributed_command", lambda _, address: [*command, address])
    results = {}
    launch = LaunchSection(processes=1, accelerate_config="unused")
    run_distributed("work", launch, tmp_path / "log", Recorder(), results.__setitem__)
    return results


def test_results_are_passed_on(monkeypatch, tmp_path):
    assert run(monkeypatch, tmp_path, CONNECT) == {"m2/dpo": {"rows": 3}}


def test_a_launcher_that_is_slow_to_exit_does_not_undo_the_training(monkeypatch, tmp_path):
    monkeypatch.setattr(accelerate_launch, "EXIT_SECONDS", 0.2)
    slow = f"{CONNECT}\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    assert run(monkeypatch, tmp_path, slow) == {"m2/dpo": {"rows": 3}}
    pid = (tmp_path / "pid").read_text()
    assert not Path(f"/proc/{pid}").exists()


def test_a_launcher_that_fails_after_the_training_is_an_error(monkeypatch, tmp_path):
    with pytest.raises(StageError, match=r"a worker process died \(exit code 3\)"):
        run(monkeypatch, tmp_path, f"{CONNECT}\nsys.exit(3)")


def test_training_processes_in_sessions_of_their_own_have_ended(monkeypatch, tmp_path):
    """As torchrun starts them: the launcher's group is empty before they have released their memory."""
    child = tmp_path / "child.py"
    child.write_text(f"{CONNECT}\ntime.sleep(600)", encoding="utf-8")
    start = f"""
import os, subprocess, sys
process = subprocess.Popen([sys.executable, {str(child)!r}, sys.argv[1]], start_new_session=True)
open({str(tmp_path / "pid")!r}, "w").write(str(process.pid))
os.read(0, 1)
"""
    monkeypatch.setattr(accelerate_launch, "EXIT_SECONDS", 0.2)
    assert run(monkeypatch, tmp_path, start) == {"m2/dpo": {"rows": 3}}
    stat = Path("/proc") / (tmp_path / "pid").read_text() / "stat"
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"
