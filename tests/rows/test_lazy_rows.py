"""A file of rows as a lazy sequence."""

import tracemalloc

import pytest
from srlm.errors import InputError
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import Candidate, Prompt, write_rows

PROMPTS = [Prompt(f"p{n}", f"{n} \u2028 é", "generated", ["x"], n) for n in range(5)]


@pytest.fixture
def file(tmp_path):
    write_rows(tmp_path / "rows.jsonl", PROMPTS)
    return tmp_path / "rows.jsonl"


def test_it_equals_the_list_of_its_rows(file):
    rows = RowFile(file, Prompt)
    assert list(rows) == list(rows) == PROMPTS
    assert len(rows) == 5
    assert [rows[place] for place in range(5)] == PROMPTS
    assert [rows[place] for place in (-1, -5)] == [PROMPTS[-1], PROMPTS[0]]
    assert rows[1:] == PROMPTS[1:]
    assert rows[::-2] == PROMPTS[::-2]
    assert PROMPTS[3] in rows
    for place in (5, -6):
        with pytest.raises(IndexError):
            rows[place]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n \n\n"])
def test_strange_lines(file, end):
    lines = file.read_bytes().split(b"\n")[:-1]
    file.write_bytes(b"\xef\xbb\xbf" + b"\r\n\n".join(lines) + end)
    rows = RowFile(file, Prompt)
    assert list(rows) == [rows[place] for place in range(len(rows))] == PROMPTS


def test_an_empty_file(tmp_path):
    (tmp_path / "rows.jsonl").touch()
    rows = RowFile(tmp_path / "rows.jsonl", Prompt)
    assert (len(rows), list(rows), rows[:]) == (0, [], [])


@pytest.mark.parametrize("blank", [b"", b"\n\n"])
def test_a_broken_row_is_named_by_its_line(file, blank):
    lines = file.read_bytes().split(b"\n")
    file.write_bytes(lines[0] + b"\n" + blank + b"\n".join([lines[1], b"{broken", b'{"id": "x"}', b""]))
    rows = RowFile(file, Prompt)
    first = 3 + len(blank)
    assert rows[1] == PROMPTS[1]
    for place, line, reason in [(2, first, "not valid JSON"), (3, first + 1, "field 'attempt' is missing")]:
        with pytest.raises(InputError, match=f"line {line}: {reason}"):
            rows[place]


def test_a_missing_file_is_named(tmp_path):
    rows = RowFile(tmp_path / "none.jsonl", Prompt)
    for use in (len, list):
        with pytest.raises(InputError, match=r"none\.jsonl: cannot be read: No such file"):
            use(rows)


def test_no_row_is_kept_in_memory(tmp_path):
    count = 5_000
    rows = (Candidate(f"c{n}", "p", n, "x" * 900, list(range(200)), -1.0, "stop", 0) for n in range(count))
    tracemalloc.start()
    assert write_rows(tmp_path / "rows.jsonl", rows) == count
    given = RowFile(tmp_path / "rows.jsonl", Candidate)
    assert sum(row.index for row in given) == sum(range(count))
    assert given[count - 1].index == count - 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000  # more than 10 MB as a list
