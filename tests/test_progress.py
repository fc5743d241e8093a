"""How many rows a file has, counted in blocks and from what a writer has noted."""

import json

import pytest
from srlm import progress
from srlm.rows import records
from srlm.rows.records import RowWriter


@pytest.fixture
def file(tmp_path):
    return tmp_path / "rows.jsonl"


@pytest.mark.parametrize("block", [1, 2, 3, 7, 2**18])
@pytest.mark.parametrize("data", [b"", b"\n", b"a", b"a\nb", b"a\nb\n", b"\n\n\n", "é\u2028\n\r\n".encode() * 5])
def test_lines_are_line_feeds(file, data, block, monkeypatch):
    monkeypatch.setattr(progress, "BLOCK", block)
    file.write_bytes(data)
    assert progress.count_lines(file) == progress.rows_so_far(file) == data.count(b"\n")
    for start in range(len(data) + 1):
        for end in range(start, len(data) + 2):
            assert progress.count_lines(file, start, end) == data[start:end].count(b"\n")


def test_no_file(file):
    assert progress.rows_so_far(file) == 0


def test_a_writer_notes_how_many_rows_there_are_until_it_is_done(file, monkeypatch):
    now = iter([0.0, 2.0, 2.0, 2.5, 4.0, 4.0])  # at the start, then at each row, twice where the disk is asked
    monkeypatch.setattr(records.time, "monotonic", lambda: next(now))
    noted = file.with_name("rows.jsonl.rows")
    file.write_bytes(b"{}\n{}\n")
    with RowWriter(file, 2) as writer:
        assert json.loads(noted.read_text()) == {"bytes": 6, "rows": 2}
        for rows, bytes_noted, rows_noted in [(3, 9, 3), (4, 9, 3), (5, 15, 5)]:
            writer.write({})
            assert json.loads(noted.read_text()) == {"bytes": bytes_noted, "rows": rows_noted}
            assert progress.rows_so_far(file) == rows
    assert [path.name for path in file.parent.iterdir()] == ["rows.jsonl"]
    assert progress.rows_so_far(file) == 5


def test_a_writer_that_is_stopped_leaves_its_note(file):
    def stopped():
        with RowWriter(file, 0) as writer:
            writer.write({})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert file.with_name("rows.jsonl.rows").exists()
    assert progress.rows_so_far(file) == 1


def test_only_what_has_come_since_is_counted(file, monkeypatch):
    file.write_bytes(b"{}\n" * 9)
    progress.note(file, 24, 8)
    asked = []
    monkeypatch.setattr(progress, "count_lines", lambda *some: asked.append(some) or 1)
    assert progress.rows_so_far(file) == 9
    assert asked == [(file, 24)]


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"bytes": 3}', '{"bytes": "x", "rows": 1}'])
def test_a_note_that_cannot_be_read_is_none(file, text):
    file.write_bytes(b"{}\n" * 3)
    file.with_name("rows.jsonl.rows").write_text(text)
    assert progress.rows_so_far(file) == 3


def test_a_note_of_more_than_there_is_is_none(file):
    file.write_bytes(b"{}\n" * 3)
    progress.note(file, 10, 5)  # the torn row that it counted was cut off
    assert progress.rows_so_far(file) == 3
