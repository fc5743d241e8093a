"""Row counts of files: counted in blocks, and from a writer's saved count."""

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


def test_a_writer_saves_the_row_count_until_it_is_done(file, monkeypatch):
    now = iter([0.0, 2.0, 2.0, 2.5, 4.0, 4.0])  # at the start, then at each row, twice where the file is synced
    monkeypatch.setattr(records.time, "monotonic", lambda: next(now))
    count = file.with_name("rows.jsonl.rows")
    file.write_bytes(b"{}\n{}\n")
    with RowWriter(file, 2) as writer:
        assert json.loads(count.read_text()) == {"bytes": 6, "rows": 2}
        for rows, saved_bytes, saved_rows in [(3, 9, 3), (4, 9, 3), (5, 15, 5)]:
            writer.write({})
            assert json.loads(count.read_text()) == {"bytes": saved_bytes, "rows": saved_rows}
            assert progress.rows_so_far(file) == rows
    assert [path.name for path in file.parent.iterdir()] == ["rows.jsonl"]
    assert progress.rows_so_far(file) == 5


def test_an_interrupted_writer_leaves_its_count(file):
    def stopped():
        with RowWriter(file, 0) as writer:
            writer.write({})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert file.with_name("rows.jsonl.rows").exists()
    assert progress.rows_so_far(file) == 1


def test_only_later_rows_are_counted(file, monkeypatch):
    file.write_bytes(b"{}\n" * 9)
    progress.write_count(file, 24, 8)
    calls = []
    monkeypatch.setattr(progress, "count_lines", lambda *arguments: calls.append(arguments) or 1)
    assert progress.rows_so_far(file) == 9
    assert calls == [(file, 24)]


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"bytes": 3}', '{"bytes": "x", "rows": 1}'])
def test_an_invalid_count_is_ignored(file, text):
    file.write_bytes(b"{}\n" * 3)
    file.with_name("rows.jsonl.rows").write_text(text)
    assert progress.rows_so_far(file) == 3


def test_a_count_beyond_the_end_of_the_file_is_ignored(file):
    file.write_bytes(b"{}\n" * 3)
    progress.write_count(file, 10, 5)  # the torn row that it counted was cut off
    assert progress.rows_so_far(file) == 3
