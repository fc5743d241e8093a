"""The import contracts hold, and each kind of forbidden import breaks its contract."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import srlm

from tests.conftest import ROOT

LAYERS, DRIVER = ROOT / "pyproject.toml", ROOT / "tests" / "driver-imports.toml"
HEAVY = ("accelerate", "datasets", "gguf", "peft", "tokenizers", "torch", "transformers", "trl", "vllm")


def lint(config, folder):
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", config]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path):
    """A copy of the package's sources, which the linter finds before the installed package."""
    shutil.copytree(Path(srlm.__file__).parent, tmp_path / "srlm", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return tmp_path


@pytest.mark.parametrize("config", [LAYERS, DRIVER])
def test_the_contracts_hold(copy, config):
    done = lint(config, copy)
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("config", "file", "line", "contract"),
    [
        (LAYERS, "rows/ids.py", "from srlm.stages import judge", "A package imports only from the layers below it"),
        (LAYERS, "stages/pairs.py", "from srlm.run.run_dir import RunDir", "A package imports only"),
        (LAYERS, "engines/base.py", "def f():\n    from srlm.cli import main", "A package imports only"),
        (LAYERS, "stages/judge.py", "from srlm.stages import pairs", "No import cycles"),
        (
            DRIVER,
            "report/page.py",
            "import torch",
            "The driver imports torch, transformers, TRL and vLLM only in workers",
        ),
        (DRIVER, "run/archive_folders.py", "import numpy", "srlm status does not import numpy"),
        (DRIVER, "run/run_dir.py", "def f():\n    from srlm.training import train", "The driver imports torch"),
    ],
)
def test_a_forbidden_import_breaks_its_contract(copy, config, file, line, contract):
    source = copy / "srlm" / file
    source.write_text(f"{source.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    done = lint(config, copy)
    assert done.returncode == 1, done.stdout
    _, _, broken = done.stdout.partition("Broken contracts")
    assert contract in " ".join(broken.split())


def test_a_new_module_needs_a_layer(copy):
    (copy / "srlm" / "attic.py").write_text('"""New."""\n', encoding="utf-8")
    done = lint(LAYERS, copy)
    assert done.returncode == 1
    assert "attic" in done.stdout


def test_modules_that_the_driver_imports_first_load_nothing_heavy():
    code = (
        "import sys, srlm.cli.main, srlm.loop, srlm.workers.launcher, srlm.cli.display, srlm.report.page;"
        f"print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
