"""A handful of cases as users meet them: a process of its own, and real workers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.bad_input.cases import Case, check, hashes, lines, of, write
from tests.bad_input.test_rows import EXAMPLE, FILES, PROMPT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow
GENERATE = ("generate", "--prompts", "p.jsonl", "--out", "out.jsonl", "--model", "./m", "engine.kind=transformers")
SFT = ("sft", "--data", "e.jsonl", "--out", "out", "--model", "./m", "sft.batch_size=1")
OTHER_IDS = {"e.jsonl": lines({**EXAMPLE, "completion_token_ids": [99_999]})}


@of(
    Case(
        "a broken seed",
        ("run", "quickstart", "seed_data.ift=[in.jsonl]"),
        ("in.jsonl, line 1", "fix"),
        {"in.jsonl": "{"},
    ),
    Case("an unknown key", ("run", "quickstart", "juge=1"), ("command line", "unknown key 'juge'", "did you mean")),
    Case("an option too many", ("status", "--fast", "run"), ("No such option", "--fast")),
    Case(
        "a worker that finds no model",
        GENERATE,
        ("model 'm'", "`none-such`", "use another model"),
        {"m/config.json": '{"model_type": "none-such"}'},
    ),
    Case(
        "a worker that finds a bad template",
        (*GENERATE, "model.chat_template=mine.jinja"),
        ("drops the", "fix it"),
        {"mine.jinja": "Hello."},
    ),
    Case(
        "a worker that finds other rows",
        GENERATE,
        ("out.jsonl, line 1", "unknown field", "a Candidate has"),
        {"out.jsonl": lines(PROMPT)},
    ),
    Case("a training on another model's ids", SFT, ("the token id 99999", "or remove their token ids"), OTHER_IDS),
)
def test_a_process_says_it_in_one_line(
    case: Case,
    tmp_path: Path,
    tiny_model: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    monkeypatch.setenv("SRLM_CACHE", str(tmp_path_factory.mktemp("cache")))
    shutil.copytree(tiny_model, tmp_path / "m")
    write(tmp_path, {**FILES, **case.files})
    before = hashes(tmp_path)
    command = [sys.executable, "-m", "srlm.cli", *case.words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    check(done.returncode, done.stderr, case.says)
    assert hashes(tmp_path) == before
