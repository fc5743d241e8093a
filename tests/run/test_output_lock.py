"""Locks of the outputs of commands: who is refused, who is not, and what remains."""

import contextlib
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from srlm.errors import InputError
from srlm.run import output_lock
from srlm.run.output_lock import held, lock_file

HOLD = (
    "import sys, time, pathlib; from srlm.run.output_lock import held\n"
    "with held(pathlib.Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)\n"
)


@contextlib.contextmanager
def another_process(out, code=HOLD):
    process = subprocess.Popen([sys.executable, "-c", code, str(out)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def is_free(*outputs):
    """Whether a command could write these outputs: locks of this process count as those of another one."""
    try:
        with held(*outputs):
            return True
    except InputError:
        return False


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", ["missing", "file", "folder", "missing folder"])
def test_a_second_process_is_refused_with_the_owners_pid_and_host(tmp_path, kind):
    out = tmp_path / "new" / "rows.jsonl" if kind == "missing folder" else tmp_path / "rows.jsonl"
    if kind == "file":
        out.write_text("row\n", encoding="utf-8")
    if kind == "folder":
        out.mkdir()
    before = names(tmp_path)
    with another_process(out) as first:
        with pytest.raises(InputError) as caught, held(out):
            pass
        assert str(caught.value).startswith(
            f"{out}: being written by process {first.pid} on {socket.gethostname()}, since "
        )
        assert str(caught.value).endswith("; wait until it is done, stop it, or use another output")
        assert "\n" not in str(caught.value)
    with held(out):
        pass
    assert names(tmp_path) == (
        ["new"] if kind == "missing folder" else before
    )  # created by the process that was killed
    assert not list(tmp_path.rglob(f"*{output_lock.SUFFIX}"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_dead_process_is_free(tmp_path, how):
    out = tmp_path / "rows.jsonl"
    with another_process(out) as first:
        os.kill(first.pid, how)
        first.wait()
    assert names(tmp_path) == [".rows.jsonl.srlm-lock"]  # left by the dead process
    with held(out):
        assert f'"pid": {os.getpid()}' in lock_file(out).read_text(encoding="utf-8")
    assert names(tmp_path) == []


def test_nothing_is_left_behind(tmp_path):
    out = tmp_path / "a" / "b" / "rows.jsonl"
    for _ in range(2):
        with held(out):
            assert names(out.parent) == [".rows.jsonl.srlm-lock"]
        with pytest.raises(ZeroDivisionError), held(out, tmp_path / "c" / "x"):
            raise ZeroDivisionError
        assert names(tmp_path) == []
    with held(out):
        out.write_text("row\n", encoding="utf-8")
    assert names(out.parent) == ["rows.jsonl"]


def test_a_refused_command_leaves_nothing_behind(tmp_path):
    with held(tmp_path / "taken"):
        assert not is_free(tmp_path / "new" / "rows.jsonl", tmp_path / "taken")
    assert names(tmp_path) == []


def linked(tmp_path):
    """Paths to the file `tmp_path/real/rows.jsonl`, by how they lead there."""
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "linked").symlink_to(real, target_is_directory=True)
    (tmp_path / "link.jsonl").symlink_to(real / "rows.jsonl")
    (tmp_path / "chain.jsonl").symlink_to("link.jsonl")
    return {
        "absolute": real / "rows.jsonl",
        "relative": Path("real") / "rows.jsonl",
        "dots": real / ".." / "real" / "rows.jsonl",
        "a link to the folder": tmp_path / "linked" / "rows.jsonl",
        "a link to the file": tmp_path / "link.jsonl",
        "a chain of links": Path("chain.jsonl"),
    }


@pytest.mark.parametrize("exists", [False, True])
def test_all_paths_to_a_file_have_the_same_lock(tmp_path, monkeypatch, exists):
    monkeypatch.chdir(tmp_path)
    paths = linked(tmp_path)
    if exists:
        paths["absolute"].write_text("row\n", encoding="utf-8")
        os.link(paths["absolute"], tmp_path / "hard.jsonl")
        paths["another name (hard link)"] = tmp_path / "hard.jsonl"
    for first, path in paths.items():
        with held(path):
            for second, other in paths.items():
                assert not is_free(other), f"{first}, then {second}"
    assert all(is_free(path) for path in paths.values())
    with held(*paths.values()):  # one command may name a file twice
        pass


def test_other_outputs_are_free(tmp_path):
    (tmp_path / "folder").mkdir()
    with held(tmp_path / "rows.jsonl", tmp_path / "folder"):
        for name in ("rows", "rows.jsonl.partial", "other.jsonl", "folder/rows.jsonl", "folder2", ".rows.jsonl"):
            assert is_free(tmp_path / name), name


def test_readers_are_not_blocked(tmp_path):
    out = tmp_path / "rows.jsonl"
    out.write_text("row\n", encoding="utf-8")
    with another_process(out):
        assert out.read_text(encoding="utf-8") == "row\n"


@pytest.mark.parametrize(
    "name", ["x" * 255, "é" * 120, "x" * 230, "with space", "new\nline", "-", "~", ".hidden", "a.lock"]
)
def test_any_name(tmp_path, name):
    with held(tmp_path / name):
        assert not is_free(tmp_path / name)
        (tmp_path / name).write_text("", encoding="utf-8")
    assert names(tmp_path) == [name]
    assert is_free(tmp_path / name)


def test_long_names_are_different_locks(tmp_path):
    with held(tmp_path / ("x" * 250 + "1")):
        assert is_free(tmp_path / ("x" * 250 + "2"))


def test_a_file_of_the_user_is_never_taken_for_a_lock(tmp_path):
    """A project has `poetry.lock` beside `poetry`; and a link in the place of a lock file is not written through."""
    (tmp_path / "poetry.lock").write_text("mine\n", encoding="utf-8")
    with held(tmp_path / "poetry"):
        pass
    (tmp_path / ".rows.srlm-lock").symlink_to("poetry.lock")
    with pytest.raises(InputError, match=r"rows: .*symbolic links"), held(tmp_path / "rows"):
        pass
    assert (tmp_path / "poetry.lock").read_text(encoding="utf-8") == "mine\n"


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_where_no_lock_file_can_be_created(tmp_path, monkeypatch, code):
    """An existing output that can be written is locked itself: a mounted folder in a read-only one, for example."""

    def fail(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(output_lock, "_open", fail)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("", encoding="utf-8")
    for name in ("folder", "file"):
        with held(tmp_path / name), pytest.raises(InputError, match="being written by another process; wait"):
            held(tmp_path / name).__enter__()
        assert is_free(tmp_path / name)
    with pytest.raises(InputError) as caught, held(tmp_path / "new"):
        pass
    assert (
        str(caught.value)
        == f"{tmp_path / 'new'}: {tmp_path} cannot be written: {os.strerror(code)}; use another output"
    )


def test_a_folder_that_cannot_be_created(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="file is not a folder; use another output"):
        held(tmp_path / "file" / "rows").__enter__()


@pytest.mark.parametrize(
    ("code", "refused"),
    [(errno.ENOLCK, False), (errno.EOPNOTSUPP, False), (errno.ENOSYS, False), (errno.EBADF, False), (errno.EIO, True)],
)
def test_a_file_system_without_locks_is_used_without_one(tmp_path, monkeypatch, code, refused):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(output_lock.fcntl, "flock", fail)
    (tmp_path / "rows").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="error") if refused else contextlib.nullcontext(), held(tmp_path / "rows"):
        pass
    assert names(tmp_path) == (["rows"] if not refused else [".rows.srlm-lock", "rows"])


def test_the_lock_file_of_another_user(tmp_path, monkeypatch):
    """It cannot be opened for writing, nor with O_CREAT in a folder like /tmp, but it can be locked."""
    system_open = os.open

    def restricted(path, flags, *mode):
        if str(path).endswith(output_lock.SUFFIX) and flags & (os.O_RDWR | os.O_CREAT):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return system_open(path, flags, *mode)

    lock_file(tmp_path / "rows").write_text('{"pid": 3, "host": "h", "since": "s"}\n', encoding="utf-8")
    monkeypatch.setattr(output_lock.os, "open", restricted)
    with held(tmp_path / "rows"), pytest.raises(InputError, match="process 3 on h, since s"):
        held(tmp_path / "rows").__enter__()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 3}', "\xff"])
def test_an_unreadable_owner(tmp_path, text):
    path = lock_file(tmp_path / "rows")
    path.write_text(text, encoding="latin-1")
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="being written by another process; wait"), held(tmp_path / "rows"):
            pass
        assert path.read_text(encoding="latin-1") == text


@pytest.mark.parametrize("taken", [False, True])
def test_a_lock_file_that_is_removed_between_opening_and_locking_is_no_lock(tmp_path, monkeypatch, taken):
    """The previous owner removes it when it is done, and a third process may have created the next one."""
    system_open, path, others = output_lock._open, lock_file(tmp_path / "rows"), []

    def late(name):
        handle = system_open(name)
        if not others:
            path.unlink()
            others.append(path.open("w") if taken else None)
            if taken:
                fcntl.flock(others[0], fcntl.LOCK_EX)
        return handle

    monkeypatch.setattr(output_lock, "_open", late)
    expected = pytest.raises(InputError, match="being written") if taken else contextlib.nullcontext()
    with expected, held(tmp_path / "rows"):
        assert not is_free(tmp_path / "rows")
    if taken:
        others[0].close()


CONTEND = """
import os, pathlib, sys
from srlm.errors import InputError
from srlm.run.output_lock import held
out, flag, done = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), 0
print("held", flush=True)
while done < 150:
    try:
        with held(out):
            os.close(os.open(flag, os.O_CREAT | os.O_EXCL))  # fails if another process is here
            flag.unlink()
            done += 1
    except InputError as error:
        assert "being written" in str(error), error
"""


def test_processes_that_contend_for_a_lock_never_hold_it_together(tmp_path):
    """The lock file, and its folder, are removed and created all the time."""
    out, flag = tmp_path / "a" / "b" / "rows", tmp_path / "flag"
    command = [sys.executable, "-c", CONTEND, str(out), str(flag)]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(4)]
    errors = [process.communicate()[1].decode() for process in processes]
    assert errors == [""] * 4
    assert [process.returncode for process in processes] == [0] * 4
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
