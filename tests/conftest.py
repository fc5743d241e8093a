"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # processes side by side that each take every core slow each other down
    cores = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores)))
# Real data beside the checkout, where there is some; tests that use it are skipped elsewhere.
ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal the tests out to the processes that share them, slow ones first: what is left to share at the end is short.

    Each process is given a stretch of the list (`--dist worksteal`). Slow ones of a module stay together.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow = [item for item in items if item.get_closest_marker("slow")]
    fast = [item for item in items if not item.get_closest_marker("slow")]
    items[:] = [
        item
        for process in range(processes)
        for some in (slow, fast)
        for item in some[len(some) * process // processes : len(some) * (process + 1) // processes]
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
    """Open Assistant's real export."""
    file = DATA / "oasst" / "en_100_tree.jsonl"
    if not file.is_file():
        pytest.skip("the Open Assistant export is not beside the checkout")
    return file
