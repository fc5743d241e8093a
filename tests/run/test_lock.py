"""The lock of a run directory: the refusal of a second process, its message, and locks of dead processes."""

import contextlib
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys

import pytest
from srlm.errors import InputError
from srlm.run import lock
from srlm.run.lock import LOCK, held

HOLD = (
    "import sys, time, pathlib; from srlm.run.lock import held\n"
    "with held(pathlib.Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)\n"
)


@contextlib.contextmanager
def another_process(folder):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_process_is_refused_with_the_owners_pid_and_host(tmp_path):
    with another_process(tmp_path / "run") as first:
        with pytest.raises(InputError) as caught, held(tmp_path / "run"):
            pass
        for part in (str(tmp_path / "run"), f"process {first.pid}", f"on {socket.gethostname()}", "wait until"):
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_dead_process_is_free(tmp_path, how):
    with another_process(tmp_path) as first:
        os.kill(first.pid, how)
        first.wait()
        assert str(first.pid) in (tmp_path / LOCK).read_text(encoding="utf-8")  # left by the dead process
        with held(tmp_path):
            assert f'"pid": {os.getpid()}' in (tmp_path / LOCK).read_text(encoding="utf-8")


def test_it_is_free_again_afterwards(tmp_path):
    for _ in range(2):
        with held(tmp_path):
            pass
    with pytest.raises(ZeroDivisionError), held(tmp_path):
        raise ZeroDivisionError
    with held(tmp_path):
        pass


def test_workers_do_not_inherit_it(tmp_path):
    with held(tmp_path):
        command = [sys.executable, "-c", "import time; print('there', flush=True); time.sleep(60)"]
        child = subprocess.Popen(command, close_fds=False, stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "there\n"
    try:
        with held(tmp_path):
            pass
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_folder_with_other_content_is_left_alone(tmp_path):
    (tmp_path / "other").write_text("", encoding="utf-8")
    with held(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]


def test_a_folder_that_cannot_be_created(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"run directory .*; use another --run-dir"), held(tmp_path / "file" / "run"):
        pass


@pytest.mark.parametrize(("code", "refused"), [(errno.ENOLCK, False), (errno.EOPNOTSUPP, False), (errno.EIO, True)])
def test_a_file_system_without_locks_is_used_without_one(tmp_path, monkeypatch, code, refused):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(lock.fcntl, "flock", fail)
    with pytest.raises(OSError, match="error") if refused else contextlib.nullcontext(), held(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 3}'])
def test_an_unreadable_owner(tmp_path, text):
    (tmp_path / LOCK).write_text(text, encoding="utf-8")
    with (tmp_path / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="in use by another process"), held(tmp_path):
            pass
