"""Resuming a file of rows: complete rows count, a torn last line is cut off, and other files are left alone."""

import pytest
from srlm.errors import InputError
from srlm.rows import records, resume
from srlm.rows.records import Prompt

from tests.rows.test_records import LINE, PROMPTS, write
from tests.scripted import Recorder


@pytest.mark.parametrize("block", [1, 5, 64])
@pytest.mark.parametrize("torn", [b"", b"{", LINE * 3])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_torn_line_is_found_from_the_end(tmp_path, monkeypatch, block, torn, count):
    monkeypatch.setattr(resume, "BLOCK", block)
    file = write(tmp_path / "rows.jsonl", PROMPTS[:count])
    whole = file.read_bytes()
    file.write_bytes(whole + torn)
    assert list(resume.resume_iter(file, Prompt)) == PROMPTS[:count]
    assert file.read_bytes() == whole


def test_a_torn_line_is_cut_off_before_iteration(tmp_path):
    file = write(tmp_path / "rows.jsonl", PROMPTS)
    file.write_bytes(file.read_bytes() + b"{")
    resume.resume_iter(file, Prompt)
    assert records.read_rows(file, Prompt) == PROMPTS


@pytest.mark.parametrize(
    "torn",
    [
        b'{"id": "9", "te',
        b"{",
        LINE,  # complete, but without its line end
        '{"id": "é'.encode()[:-1],
        b"\x00\x00\x00",
        b"\r",
    ],
)
def test_a_torn_last_line_is_cut_off(torn, tmp_path):
    file = write(tmp_path / "rows.jsonl", PROMPTS[:2])
    whole = file.read_bytes()
    file.write_bytes(whole + torn)
    report = Recorder()
    assert resume.resume_rows(file, Prompt, report) == PROMPTS[:2]
    assert report.notes == [f"{file}: a partial last line was cut off; its row is recomputed"]
    assert file.read_bytes() == whole
    write(file, PROMPTS[2:])
    assert records.read_rows(file, Prompt) == PROMPTS


def test_resuming_without_a_torn_line_changes_nothing(tmp_path):
    file = write(tmp_path / "rows.jsonl", PROMPTS)
    before = file.read_bytes()
    report = Recorder()
    assert resume.resume_rows(file, Prompt, report) == PROMPTS
    assert report.notes == []
    assert file.read_bytes() == before


def test_resuming_with_nothing_but_a_torn_line(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(LINE[:20])
    assert resume.resume_rows(file, Prompt) == []
    assert file.read_bytes() == b""


def test_resuming_without_a_file(tmp_path):
    assert resume.resume_rows(tmp_path / "rows.jsonl", Prompt) == []
    assert list(tmp_path.iterdir()) == []


def test_an_invalid_line_in_the_middle_is_not_a_torn_one(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"id": \n' + LINE + b"\n")
    with pytest.raises(InputError, match="line 1: not valid JSON"):
        resume.resume_rows(file, Prompt)
    assert file.read_bytes() == b'{"id": \n' + LINE + b"\n"


def test_rows_whose_parents_are_lost_are_dropped(tmp_path):
    rows = [Prompt(f"r{n}", f"{n}", "generated", [f"p{n % 3}"], n) for n in range(7)]
    file, report = write(tmp_path / "rows.jsonl", rows), Recorder()
    file.write_bytes(file.read_bytes() + b"{")
    resume.drop_orphans(file, Prompt, lambda row: row.parents[0], ["p0", "p1"], report)
    assert records.read_rows(file, Prompt) == [row for row in rows if row.parents != ["p2"]]
    assert [note.partition(": ")[2] for note in report.notes] == [
        "a partial last line was cut off; its row is recomputed",
        "2 rows belong to rows that are lost; they are recomputed",
    ]
    before, report = file.stat().st_mtime_ns, Recorder()
    resume.drop_orphans(file, Prompt, lambda row: row.parents[0], ["p1", "p0"], report)
    assert (file.stat().st_mtime_ns, report.notes) == (before, [])
    resume.drop_orphans(tmp_path / "none.jsonl", Prompt, lambda row: row.id, [], report)
    assert not (tmp_path / "none.jsonl").exists()
