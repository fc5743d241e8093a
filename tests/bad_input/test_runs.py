"""Run directories: invalid locations, directories of something else, and broken files in one."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from srlm import config as configuration
from srlm.run import lock, run_dir

from tests.bad_input.cases import Case, Shell, check, hashes, lines, of
from tests.report_run import make_run

INTO = ("run", "quickstart", "--run-dir")


def settings(*words: str) -> str:
    return configuration.to_yaml(configuration.load("quickstart", words))


RUN = {"run/config.yaml": settings()}
ENTRY = json.dumps(
    {"seed/ift": {"format": run_dir.FORMAT, "cache_key": "k", "seconds": 1.0, "finished": "now", "rows": 1}}
)
PLACES = [
    Case(
        "below a file",
        (*INTO, "file/run"),
        ("run directory file/run", "Not a directory", "another --run-dir"),
        {"file": ""},
    ),
    Case("a file", (*INTO, "file"), ("'--run-dir'", "'file' is a file"), {"file": ""}),
    Case("in /proc", (*INTO, "/proc/srlm/run"), ("run directory /proc/srlm/run", "use another --run-dir")),
    Case("a long name", (*INTO, "r" * 300), ("rrr", "File name too long", "use another path")),
    Case(
        "another run",
        (*INTO, "run"),
        ("run: is the directory of the run 'other'", "nothing was changed", "Use another --run-dir"),
        {"run/config.yaml": settings("name=other"), "run/run.lock": ""},
    ),
    Case(
        "foreign files",
        (*INTO, "run"),
        ("run: not empty and not a run directory", "use another --run-dir"),
        {"run/notes.txt": "mine"},
    ),
]


def broken(name: str, files: dict[str, str], *says: str) -> list[Case]:
    """Return a case for each command that reads a run directory."""
    return [Case(f"{command}: {name}", (command, "run"), says, files) for command in ("status", "replay", "report")] + [
        Case(f"compare: {name}", ("compare", "run", "run"), says, files)
    ]


READ = [
    *broken("no run", {"run/notes.txt": "mine"}, "run: not a run directory", "no config.yaml", "use one that"),
    *broken("a configuration that is a list", {"run/config.yaml": "- a"}, "run/config.yaml", "mapping", "found list"),
    *broken(
        "a configuration that is no YAML", {"run/config.yaml": "model: ["}, "run/config.yaml", "not valid YAML", "fix"
    ),
    *broken("an unknown key", {"run/config.yaml": "juge: 1"}, "run/config.yaml", "unknown key 'juge'", "did you mean"),
    *broken(
        "a broken manifest", {**RUN, "run/manifest.json": ENTRY[:-1]}, "run/manifest.json", "not valid JSON", "restore"
    ),
    *broken(
        "a manifest that is a list",
        {**RUN, "run/manifest.json": "[]"},
        "run/manifest.json",
        "not a JSON object",
        "restore",
    ),
    *broken(
        "an entry that is a number",
        {**RUN, "run/manifest.json": '{"seed/ift": 3}'},
        "run/manifest.json",
        "'seed/ift' is not a JSON object",
        "restore",
    ),
    *broken(
        "a key twice",
        {**RUN, "run/manifest.json": '{"a": {}, "a": {}}'},
        "run/manifest.json",
        "'a' appears twice",
        "restore",
    ),
    *(
        Case(
            f"{command}: an entry without a key",
            (command, "run"),
            ("run/manifest.json", "'seed/ift' has no 'cache_key'", "restore"),
            {**RUN, "run/manifest.json": json.dumps({"seed/ift": {"format": run_dir.FORMAT, "rows": 1}})},
        )
        for command in ("status", "replay")
    ),
    Case(
        "eval: no model in the run",
        ("eval", "judge", "--data", "d.jsonl", "--run", "run", "--out", "out"),
        ("run: no model has been trained", "yet"),
        {**RUN, "d.jsonl": ""},
    ),
    Case(
        "report: metrics that are no JSON",
        ("report", "run"),
        ("run/m1/metrics.jsonl, line 1", "not valid JSON", "restore"),
        {**RUN, "run/manifest.json": ENTRY.replace("seed/ift", "m1/sft"), "run/m1/metrics.jsonl": "{\n"},
    ),
    Case(
        "report: metrics that are a list",
        ("report", "run"),
        ("run/m1/metrics.jsonl, line 1", "expected a JSON object, found list", "restore"),
        {**RUN, "run/manifest.json": ENTRY.replace("seed/ift", "m1/sft"), "run/m1/metrics.jsonl": "[]\n"},
    ),
    Case(
        "report: a page below a file",
        ("report", "run", "--out", "file/page.html"),
        ("file", "is not a folder", "use another output"),
        {**RUN, "file": ""},
    ),
]


@of(*PLACES, *READ)
def test_a_runs_folder_is_refused(case: Case, shell: Shell) -> None:
    shell.refuses(case)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES], ids=["EROFS", "EACCES"])
@pytest.mark.parametrize("module", [lock, run_dir], ids=["lock", "folder"])
def test_a_folder_that_cannot_be_written(
    code: int, module: object, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of the operating system is reported; this is simulated, since root may write anywhere."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    if module is lock:
        monkeypatch.setattr(Path, "mkdir", refuse)
    else:
        monkeypatch.setattr(run_dir, "write_text", refuse)
    told = shell.run(*INTO, "run")
    check(*told, ("run directory run", os.strerror(code), "use another --run-dir"))
    assert set(hashes(shell.folder)) <= {"run", "run/run.lock"}


def finished(shell: Shell, name: str, content: str) -> dict[str, str]:
    """Make a finished run with one changed file; return its content."""
    make_run(shell.folder / "done", name="done")
    (shell.folder / "done" / name).write_text(content, encoding="utf-8")
    return hashes(shell.folder)


BROKEN_ROWS = [
    ("pairs", {"id": 1}, "unknown field 'id'"),
    ("pairs", [], "expected a JSON object, found list"),
    ("verdicts", {"candidate_id": "c0", "outcome": "scored"}, "field 'expected_score' is missing"),
]


@pytest.mark.parametrize(("name", "row", "says"), BROKEN_ROWS, ids=["a pair", "a list", "a verdict"])
def test_a_report_of_rows_that_are_broken(name: str, row: object, says: str, shell: Shell) -> None:
    before = finished(shell, f"m2/{name}.jsonl", lines(row))
    check(*shell.run("report", "done"), (f"done/m2/{name}.jsonl, line 1", says))
    assert hashes(shell.folder) == before
