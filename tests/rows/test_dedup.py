"""`srlm dedup` on files: kept rows, output, and invalid input."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from srlm.cli import main
from srlm.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

POEM = "write a long poem about the old blue boats that lie on the sand beside the grey sea at night"


def dedup(*words: object) -> str:
    """Run the command and return its output; invalid input raises, as `main` expects it."""
    result = CliRunner().invoke(main.srlm, ["dedup", *map(str, words)], catch_exceptions=False, standalone_mode=False)
    assert result.exit_code == 0
    return result.output


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def write(path: Path, *texts: str) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def test_rows_keep_their_bytes_and_their_order(tmp_path: Path) -> None:
    lines = [
        b'{"text": "B  b", "n": 1.50}',
        b"",
        b'  {"n":2, "text":"a\xe2\x80\xa8\\u00e9"}\r',
        b'{"text": "b B"}',
        b'{"text": "A\\u2028\xc3\x89", "n": 1e3}',
        b'{"text": "c"}',
    ]
    source, out = tmp_path / "in.jsonl", tmp_path / "new" / "out.jsonl"
    source.write_bytes(b"\n".join(lines))
    told = dedup(source, "--out", out, "--method", "exact", "--dropped", tmp_path / "dropped.jsonl")
    assert out.read_bytes() == b"\n".join([lines[0], lines[2], lines[5], b""])
    assert told == f"{out}: 3 of 5 rows kept, 2 dropped\n"
    assert rows(tmp_path / "dropped.jsonl") == [{"line": 4, "duplicate_of": 1}, {"line": 5, "duplicate_of": 3}]
    assert not list(tmp_path.rglob("*.partial"))


def test_near_duplicates_are_dropped_by_the_options(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", POEM, "how do tides work", POEM.upper() + "!", POEM.replace("old", "new"), "")
    out = tmp_path / "out.jsonl"
    assert "4 of 5 rows kept, 1 dropped" in dedup(source, "--out", out)
    assert "4 of 5 rows kept, 1 dropped" in dedup(source, "--out", out, "--threshold", 0.88)
    assert "3 of 5 rows kept, 2 dropped" in dedup(source, "--out", out, "--threshold", 0.7)
    assert "3 of 5 rows kept, 2 dropped" in dedup(source, "--out", out, "--ngram", 1)
    assert "3 of 5 rows kept, 2 dropped" in dedup(source, "--out", out, "--unit", "char")
    assert "5 of 5 rows kept, 0 dropped" in dedup(source, "--out", out, "--method", "exact")


def test_a_nested_field(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"a": {"b": "x"}}\n{"a": {"b": "X"}}\n{"a": {"b": "y"}, "a.b": "x"}\n', encoding="utf-8")
    assert "1 of 3 rows kept" in dedup(source, "--out", out, "--field", "a.b")


def test_an_index_remembers_earlier_files(tmp_path: Path) -> None:
    index, dropped = tmp_path / "new" / "seen.index", tmp_path / "dropped.jsonl"
    one = write(tmp_path / "one.jsonl", "how do tides work", POEM)
    two = write(tmp_path / "two.jsonl", "a new one", POEM + " today", "A new one", "how do tides work")
    assert "2 of 2 rows kept" in dedup(one, "--out", tmp_path / "1.jsonl", "--index", index)
    told = dedup(two, "--out", tmp_path / "2.jsonl", "--index", index, "--dropped", dropped)
    assert "1 of 4 rows kept, 3 dropped" in told
    assert rows(dropped) == [
        {"line": 2, "duplicate_of": None, "index_row": 1},
        {"line": 3, "duplicate_of": 1},
        {"line": 4, "duplicate_of": None, "index_row": 0},
    ]
    before = index.read_bytes()
    assert "0 of 2 rows kept" in dedup(one, "--out", tmp_path / "3.jsonl", "--index", index)
    assert index.read_bytes() != before


def test_an_index_of_other_options_is_refused(tmp_path: Path) -> None:
    source, index, out = write(tmp_path / "in.jsonl", POEM), tmp_path / "seen.index", tmp_path / "out.jsonl"
    dedup(source, "--out", out, "--index", index)
    before = index.read_bytes()
    for option, value, found in [("threshold", "0.7", "0.8"), ("ngram", "2", "3"), ("unit", "char", "word")]:
        with pytest.raises(InputError, match=f"seen.index: its {option} is {found}; use --{option} {found} or"):
            dedup(source, "--out", out, "--index", index, f"--{option}", value)
    assert index.read_bytes() == before


def test_nothing_is_written_if_the_index_is_invalid(tmp_path: Path) -> None:
    source, index = write(tmp_path / "in.jsonl", POEM), write(tmp_path / "seen.index", POEM)
    before = index.read_bytes()
    with pytest.raises(InputError, match=r"seen.index: not a saved near-duplicate index; use a file that"):
        dedup(source, "--out", tmp_path / "out.jsonl", "--index", index)
    assert index.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "seen.index"]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (
            b'{"text": "a"}\n{"text": 1}\n',
            [],
            r"in.jsonl, line 2: field 'text' is not a string; set --field to another one",
        ),
        (b'{"n": 1, "m": 2}\n', [], r"in.jsonl, line 1: no field 'text'; set --field to one of: n, m"),
        (b'{"text": "a"}', ["--field", "text.a"], r"line 1: no field 'text.a'"),
        (b'{"text": "a"}\n\n[1]\n', [], r"in.jsonl, line 3: expected a JSON object, found list"),
        (b'{"text": "a"\n', [], r"in.jsonl, line 1: not valid JSON: .*; fix or remove the line"),
        (b'{"text": "\xff"}\n', [], r"in.jsonl, line 1: not UTF-8"),
        (b"", ["--threshold", "0"], r"threshold is 0; use a number above 0 and at most 1"),
        (b"", ["--threshold", "nan"], r"threshold is NaN"),
        (b"", ["--threshold", "0.01"], r"permutations is 128, too few .* use at least 459 or a higher threshold"),
        (b"", ["--ngram", "-1"], r"ngram is -1; use a number from 1 to 64"),
        (b"", ["--method", "exact", "--ngram", "3"], r"--ngram: only used with --method near; remove it"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(
    tmp_path: Path, content: bytes, options: list[str], message: str
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        dedup(source, "--out", out, "--dropped", tmp_path / "dropped.jsonl", *options)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_file_cannot_have_two_roles(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", POEM)
    (tmp_path / "link.jsonl").symlink_to(source)
    before = source.read_bytes()
    for words in [("--out", source), ("--out", tmp_path / "link.jsonl"), ("--out", tmp_path / "." / "in.jsonl")]:
        with pytest.raises(InputError, match=r"given as IN and as --out; use another file for --out"):
            dedup(source, *words)
    out = tmp_path / "out.jsonl"
    with pytest.raises(InputError, match=r"given as --out and as --dropped"):
        dedup(source, "--out", out, "--dropped", out)
    with pytest.raises(InputError, match=r"given as IN and as --index"):
        dedup(source, "--out", out, "--index", source)
    assert source.read_bytes() == before
    assert not out.exists()


def test_the_exit_code_is_2_and_nothing_heavy_is_loaded(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "srlm.cli", "dedup", "none.jsonl", "--out", "out.jsonl"]
    missing = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert missing.stderr == "srlm: error: none.jsonl: cannot be read: No such file or directory; use another file\n"
    assert missing.returncode == 2
    write(tmp_path / "in.jsonl", POEM, POEM)
    code = (
        "import sys; from srlm.cli import main as cli\n"
        "cli.srlm(['dedup', 'in.jsonl', '--out', 'out.jsonl'], standalone_mode=False)\n"
        "print(sorted({'torch', 'transformers', 'pydantic', 'datasets'} & set(sys.modules)))"
    )
    light = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert light.stdout == "out.jsonl: 1 of 2 rows kept, 1 dropped\n[]\n"


def test_no_rows(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"")
    assert "0 of 0 rows kept" in dedup(tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == b""
