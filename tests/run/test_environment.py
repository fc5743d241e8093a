"""The recorded environment of a run."""

import json
import shutil
import subprocess
from importlib.metadata import version

import pytest
import srlm
from srlm import __version__
from srlm.run import environment

from tests.conftest import ROOT


def test_the_machine_and_every_package():
    found = environment.describe()
    assert found["srlm"] == __version__
    assert found["packages"]["torch"] == version("torch")
    assert found["cores"] >= 1
    assert found["memory_gib"] > 0
    assert found["python"].startswith("3.")
    assert found["processor"]
    assert json.loads(json.dumps(found)) == found


def test_each_environment_is_kept_once(tmp_path, monkeypatch):
    first = environment.record(tmp_path)
    assert environment.record(tmp_path) == first
    monkeypatch.setattr(environment, "packages", lambda: {"torch": "0"})
    other = environment.record(tmp_path)
    kept = json.loads((tmp_path / environment.FILE).read_text(encoding="utf-8"))
    assert list(kept) == [first, other]
    assert kept[other]["packages"] == {"torch": "0"}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository from which srlm is run."""
    module = tmp_path / "python" / "srlm" / "__init__.py"
    module.parent.mkdir(parents=True)
    module.write_text("1\n", encoding="utf-8")
    monkeypatch.setattr(srlm, "__file__", str(module))
    return module


def git(folder, *words):
    author = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(
        [shutil.which("git"), "-C", folder, *author, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_the_commit_and_whether_files_differ_from_it(checkout, tmp_path):
    assert environment.commit() is None
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert environment.commit() == head
    (tmp_path / "untracked").touch()
    assert environment.commit() == head
    checkout.write_text("2\n", encoding="utf-8")
    assert environment.commit() == f"{head}+"


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_this_checkout_is_found():
    found = environment.commit()
    assert found is not None
    assert found.removesuffix("+") == git(ROOT, "rev-parse", "HEAD")


def test_a_repository_further_up_is_not_srlms(checkout, tmp_path, monkeypatch):
    git(tmp_path, "init", "--quiet")
    installed = tmp_path / "venv" / "lib" / "site-packages" / "srlm" / "__init__.py"
    installed.parent.mkdir(parents=True)
    monkeypatch.setattr(srlm, "__file__", str(installed))
    assert environment.commit() is None


@pytest.mark.parametrize(
    ("script", "gpus"),
    [
        ("echo 'NVIDIA X, 81559 MiB, 550.1'; echo; echo 'Y, 1 MiB, 9'", ["NVIDIA X, 81559 MiB, 550.1", "Y, 1 MiB, 9"]),
        ("echo no driver; exit 9", []),
        (None, []),
    ],
)
def test_gpus_are_those_that_nvidia_smi_lists(tmp_path, monkeypatch, script, gpus):
    if script is not None:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) + (":/bin:/usr/bin" if script else ""))
    assert environment.describe()["gpus"] == gpus
