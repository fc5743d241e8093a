"""The wheel: its files, from the tree and from the sdist, and that it runs in an empty environment."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Packages of the light commands; printing a configuration needs no torch.
LIGHT = ("click", "numpy", "pydantic", "pyyaml", "rich")

pytestmark = pytest.mark.slow


def run(*command: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A wheel built from the tree, and one built from the sdist."""
    out = tmp_path_factory.mktemp("dist")
    # Both builds share one target folder of compiled crates, outside their source trees.
    env = {"CARGO_TARGET_DIR": str(ROOT / "target")}
    maturin = (sys.executable, "-m", "maturin")
    run(*maturin, "build", "--release", "--locked", "--out", str(out / "tree"), env=env)
    run(*maturin, "sdist", "--out", str(out / "sdist"))
    (archive,) = (out / "sdist").glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(out / "unpacked", filter="data")
    (source,) = (out / "unpacked").iterdir()
    run(*maturin, "build", "--release", "--locked", "--out", str(out / "from-sdist"), cwd=source, env=env)
    (tree,), (from_sdist,) = (out / "tree").glob("*.whl"), (out / "from-sdist").glob("*.whl")
    return tree, from_sdist


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def package_files() -> set[str]:
    """Every file of the package in the tree, as in an editable install, without caches."""
    package = ROOT / "python" / "srlm"
    found = {
        str(Path("srlm", Path(folder).relative_to(package), file))
        for folder, _, files in os.walk(package, followlinks=True)
        for file in files
        if "__pycache__" not in folder
    }
    return {name for name in found if not name.endswith((".pyc", ".so"))}


def test_a_wheel_holds_every_file_of_the_package(built: tuple[Path, Path]) -> None:
    tree, _ = built
    expected = package_files()
    for must in ("srlm/_native.pyi", "srlm/py.typed", "srlm/kernels/token_logps.py", "srlm/configs/quickstart.yaml"):
        assert must in expected
    held = {name for name in names(tree) if name.startswith("srlm/") and not name.endswith(".so")}
    assert held == expected
    assert "cp311-abi3" in tree.name
    assert any(name.startswith("srlm/_native") and name.endswith(".so") for name in names(tree))


def test_the_wheel_from_the_sdist_holds_the_same_files(built: tuple[Path, Path]) -> None:
    tree, from_sdist = built
    assert names(tree) == names(from_sdist)


def test_the_wheel_runs_in_an_empty_environment(built: tuple[Path, Path], tmp_path: Path) -> None:
    tree, _ = built
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", str(venv))
    pip = (str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--no-deps", str(tree))
    run(*pip, *LIGHT, "--constraint", str(ROOT / "tests" / "constraints.txt"))
    srlm = str(venv / "bin" / "srlm")
    assert run(srlm, "--version", cwd=tmp_path).strip() == "srlm, version 0.1.0"
    shown = run(srlm, "config", "quickstart", "judge.samples=2", cwd=tmp_path)
    assert "name: quickstart" in shown
    assert "samples: 2" in shown
    assert "paper" in run(srlm, "config", "paper", cwd=tmp_path)


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, srlm.cli.main, srlm.loop, srlm.workers.launcher, srlm.cli.display, srlm.cli.status;"
        "print(sorted({'torch', 'transformers', 'trl', 'vllm', 'datasets'} & set(sys.modules)))"
    )
    assert run(sys.executable, "-c", code).strip() == "[]"
