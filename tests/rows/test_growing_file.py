"""A file of rows that is read while it is written."""

import pytest
from srlm.errors import InputError
from srlm.rows.growing_file import GrowingFile, written
from srlm.rows.records import Prompt, RowWriter

PROMPTS = [Prompt(f"p{n}", f"{n} \u2028 é" + "x" * 20_000 * (n == 2), "generated", ["x"], n) for n in range(4)]


@pytest.fixture
def growing(tmp_path):
    """Return the path, the growing file, and a list that is not empty once the file has ended."""
    ended = []
    path = tmp_path / "rows.jsonl"
    return path, GrowingFile(path, Prompt, lambda: bool(ended)), ended


def test_rows_are_read_as_they_are_written(growing):
    path, rows, ended = growing
    read = iter(rows)
    assert next(read) is None  # there is no file yet
    with RowWriter(path) as writer:
        assert next(read) is None
        for prompt in PROMPTS[:3]:
            writer.write(prompt)
            assert next(read) == prompt
            assert next(read) is next(read) is None
        writer.write(PROMPTS[3])
        ended.append(True)
    assert list(read) == PROMPTS[3:]
    assert list(rows) == PROMPTS


def test_the_rows_written_so_far(growing):
    path, rows, ended = growing
    assert list(written(rows)) == []
    with RowWriter(path) as writer:
        writer.write(PROMPTS[0])
        writer.write(PROMPTS[1])
    assert list(written(rows)) == PROMPTS[:2]
    assert list(written(PROMPTS)) == PROMPTS
    ended.append(True)
    assert list(written(rows)) == PROMPTS[:2]


def test_a_file_that_never_appears_is_empty(growing):
    _, rows, ended = growing
    ended.append(True)
    assert list(rows) == []


def test_a_row_is_found_at_its_offset(growing):
    path, rows, ended = growing
    ended.append(True)
    with RowWriter(path) as writer:
        for prompt in PROMPTS:
            writer.write(prompt)
    found = list(rows.with_offsets())
    assert [rows.at(offset) for offset, _ in found] == [row for _, row in found] == PROMPTS


def test_blank_lines_are_skipped_and_broken_ones_are_errors(growing):
    path, rows, ended = growing
    ended.append(True)
    with RowWriter(path) as writer:
        writer.write(PROMPTS[0])
    path.write_bytes(b"\xef\xbb\xbf\n" + path.read_bytes() + b" \n")
    assert list(rows) == PROMPTS[:1]
    path.write_bytes(path.read_bytes() + b"{}\n")
    with pytest.raises(InputError, match=r"rows\.jsonl"):
        list(rows)
