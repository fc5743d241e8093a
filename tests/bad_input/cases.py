"""A case of bad input: a command line, its input files, and required parts of the error message."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from srlm.cli import main
from srlm.workers.launcher import Launcher

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Content = bytes | str


@dataclass(frozen=True)
class Case:
    """`says`: what is wrong, where, and how to fix it, as parts of the error message."""

    name: str
    words: tuple[str, ...]
    says: tuple[str, ...]
    files: Mapping[str, Content] = field(default_factory=dict)


def of(*cases: Case) -> pytest.MarkDecorator:
    """Parametrize a test with cases, by their names."""
    assert len({case.name for case in cases}) == len(cases)
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def lines(*rows: object) -> str:
    """Return rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def write(folder: Path, files: Mapping[str, Content]) -> None:
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())


def hashes(folder: Path) -> dict[str, str]:
    """Return the hash of every file below a folder, and the subfolders."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


class Shell:
    """Runs commands in a folder."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self._patch, self._capture = folder, patch, capture
        patch.chdir(folder)

    def run(self, *words: str) -> tuple[int, str]:
        """Run a command; return its exit code and stderr."""
        self._patch.setattr(sys, "argv", ["srlm", *words])
        self._capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main()
        return int(ended.value.code or 0), self._capture.readouterr().err

    def refuses(self, case: Case) -> None:
        """Run the command of a case: it must report what is wrong, where and how to fix it, and change no file."""
        write(self.folder, case.files)
        before = hashes(self.folder)
        code, said = self.run(*case.words)
        check(code, said, case.says)
        assert hashes(self.folder) == before

    def accepts(self, *words: str) -> str:
        """Run a command that must succeed; return its stderr."""
        code, said = self.run(*words)
        assert code == 0, said
        return said


def check(code: int, said: str, says: tuple[str, ...]) -> None:
    """Check for one line that begins with the program's name, or for click's usage error."""
    assert code == 2, said
    assert "Traceback" not in said
    usage = said.startswith("Usage: ")
    lines_shown = said.rstrip("\n").split("\n")
    assert lines_shown[-1].startswith("Error: " if usage else "srlm: error: "), said
    assert usage or len(lines_shown) == 1, said
    for part in says:
        assert part in lines_shown[-1], f"{part!r} is missing: {lines_shown[-1]}"
    for jargon in ("Value error", "Extra inputs", "NoneType", "pydantic", "errors.pydantic.dev"):
        assert jargon not in said


def work_here(patch: pytest.MonkeyPatch) -> None:
    """Run the jobs of workers in this process, which has already imported their modules."""

    def run(self, work, finish):
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            work.run(self._report, finish)

    patch.setattr(Launcher, "run", run)
    patch.setattr(Launcher, "warm_up", lambda _: None)
