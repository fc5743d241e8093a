"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # parallel processes that each use all cores slow each other down
    cores = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores)))
# Longer than any wait on a machine several times slower. pytest's own timeout per test (faulthandler_timeout in
# pyproject.toml) is longer, and ends waits without a limit.
HANG_SECONDS = 1200
# Optional real data beside the checkout; tests that use it are skipped without it.
ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Distribute the tests over the parallel processes, slow ones first, so that only short ones remain at the end.

    Each process gets a contiguous part of the list (`--dist worksteal`). The slow tests of a module stay together.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow = [item for item in items if item.get_closest_marker("slow")]
    fast = [item for item in items if not item.get_closest_marker("slow")]
    items[:] = [
        item
        for process in range(processes)
        for part in (slow, fast)
        for item in part[len(part) * process // processes : len(part) * (process + 1) // processes]
    ]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny random chat model."""
    from tests.tiny import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_model: str):
    from srlm.models.registry import load_tokenizer

    return load_tokenizer(tiny_model)


@pytest.fixture
def oasst() -> Path:
    """The real Open Assistant export."""
    file = DATA / "oasst" / "en_100_tree.jsonl"
    if not file.is_file():
        pytest.skip("the Open Assistant export is not beside the checkout")
    return file
