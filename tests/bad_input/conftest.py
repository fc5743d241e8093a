"""A shell for each test, and workers that run in the process of the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bad_input.cases import Shell, work_here

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shell(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shell:
    monkeypatch.setenv("SRLM_CACHE", str(tmp_path_factory.mktemp("cache")))
    return Shell(tmp_path, monkeypatch, capsys)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    work_here(monkeypatch)
