"""Rows as JSON lines: round trips, partial and invalid lines, ids."""

import dataclasses
import json
import math
import os
import stat

import pytest
from srlm.errors import InputError
from srlm.rows import json_lines, records
from srlm.rows.records import (
    AnswerLogprob,
    Candidate,
    CandidateComparison,
    CaseResult,
    Comparison,
    DroppedPrompt,
    Example,
    FailedRequest,
    JudgementComparison,
    ModelLogprob,
    ModifiedPrompt,
    Pair,
    Prompt,
    RankedAnswers,
    RowWriter,
    Score,
    SequenceLogprob,
    Verdict,
)

# All characters that other line readers treat as line ends, and those that JSON escapes.
TRICKY = 'a\u2028b\u2029c\u0085d\re\r\nf\x0bg\x0ch\x1ci\x1dj\x1ek\n"\\" \x00 \ufeff é 😀 \\ud800 \\n'
MESSAGES = [{"role": "user", "content": TRICKY}]

ROWS = [
    Prompt("1", TRICKY, "generated", ["2", "3"], 7),
    DroppedPrompt("1", TRICKY, "not_novel", [], 7, 0.75, "2"),
    DroppedPrompt("1", "", "empty", [], 0, None, None),
    Candidate("1", "2", 3, TRICKY, [1, 2, 3], -1.5, "length", 2**31 - 1),
    FailedRequest(TRICKY, "too_long", 5000, 256),
    Verdict("1", "2", 0, TRICKY, "scored", 4.5, 4.25),
    Verdict("1", "2", 1, TRICKY, "missing", None, None),
    Score("1", "2", 0.5, 0.25, TRICKY, TRICKY),
    Score("1", "2", None),
    Pair("1", MESSAGES, MESSAGES, MESSAGES, "2", "3", 5.0, 0.1, [1], [2, 3]),
    Pair("1", MESSAGES, MESSAGES, MESSAGES, "2", "3", 5.0, 0.1),
    Example("1", MESSAGES, MESSAGES, [4, 5]),
    Example("1", MESSAGES, MESSAGES),
    RankedAnswers("1", TRICKY, [TRICKY, "b"], [5.0, 1.0], ["", TRICKY]),
    Comparison("1", "2", "b", TRICKY, "second", 0.25),
    Comparison("1", "2", "a", "", "missing", None),
    CaseResult("win_rate", "1", TRICKY, 0.5),
    SequenceLogprob("1", 3, -1.5, -1.75),
    AnswerLogprob("1.0", 3, -1.5),
    ModelLogprob("1", "previous", 3, -1.5),
    CandidateComparison("1", "2", "3", "4", TRICKY, "tie", None, TRICKY),
    ModifiedPrompt("1", "2", TRICKY, "same", "stop", TRICKY),
    ModifiedPrompt("1", "2", TRICKY, None, "length"),
    JudgementComparison("1", "2", "3", "4", TRICKY, "second", 0.25, TRICKY),
    Example("1", MESSAGES, MESSAGES, None, TRICKY, 2.5),
    Prompt("1", TRICKY, "file", [], -1, columns={"answer": TRICKY, "kwargs": [{"n": None}]}),
]
PROMPTS = [Prompt(str(n), f"{n} {TRICKY}", "seed", [], -1) for n in range(3)]


def write(path, rows):
    with RowWriter(path) as writer:
        for row in rows:
            writer.write(row)
    return path


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
def test_a_row_round_trips(row, tmp_path):
    file = tmp_path / "rows.jsonl"
    rows = [row, dataclasses.replace(row, id="0")] if hasattr(row, "id") else [row, row]
    records.write_rows(file, rows)
    assert records.read_rows(file, type(row)) == rows
    assert file.read_bytes().count(b"\n") == 2


def test_every_row_type_is_tested():
    kinds = {kind for kind in vars(records).values() if isinstance(kind, type) and dataclasses.is_dataclass(kind)}
    assert kinds == {type(row) for row in ROWS}


def test_lines_end_with_line_feeds_only(tmp_path):
    file = write(tmp_path / "rows.jsonl", PROMPTS)
    text = file.read_bytes().decode()
    assert "\u2028" in text  # is not escaped, and does not split the row
    assert "\u0085" in text
    assert len(text.splitlines()) > len(PROMPTS)
    assert records.read_rows(file, Prompt) == PROMPTS


def test_rows_are_flushed_when_they_are_written(tmp_path):
    file = tmp_path / "new" / "folder" / "rows.jsonl"
    with RowWriter(file) as writer:
        for count, row in enumerate(PROMPTS, 1):
            writer.write(row)
            assert len(records.read_rows(file, Prompt)) == count


def test_a_writer_appends(tmp_path):
    file = write(tmp_path / "rows.jsonl", PROMPTS[:1])
    write(file, PROMPTS[1:])
    assert records.read_rows(file, Prompt) == PROMPTS


@pytest.mark.parametrize("text", ["\ud800", "a\udfff b", "\udc00\ud800", "\\ud800 and \ud800", "\\\ud800"])
def test_lone_surrogates_round_trip(text, tmp_path):
    rows = [Prompt(records.content_id(text), text, "generated", [], 0)]
    file = write(tmp_path / "appended.jsonl", rows)
    file.read_bytes().decode("utf-8")
    assert records.read_rows(file, Prompt) == rows
    records.write_rows(tmp_path / "whole.jsonl", rows)
    assert records.read_rows(tmp_path / "whole.jsonl", Prompt) == rows


def test_other_line_ends_and_byte_order_marks_are_read(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": 2}\r\n{"a": "\xef\xbb\xbf"}')
    assert json_lines.read_objects(file) == [(1, {"a": 1}), (4, {"a": 2}), (5, {"a": "\ufeff"})]


def test_a_lone_carriage_return_does_not_end_a_line(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"a":\r1}\n{"b": 2}\n')
    assert json_lines.read_objects(file) == [(1, {"a": 1}), (2, {"b": 2})]


def test_an_empty_file_has_no_rows(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"")
    assert records.read_rows(file, Prompt) == []


LINE = json.dumps(dataclasses.asdict(PROMPTS[0])).encode()


@pytest.mark.parametrize(
    ("data", "line", "reason"),
    [
        (LINE + b'\n{"id": \n' + LINE, 2, "not valid JSON: Expecting value"),
        (b"\n\n" + LINE[:-1], 3, "not valid JSON"),
        (LINE + LINE, 1, "not valid JSON: Extra data"),
        (b"{'id': 1}", 1, "not valid JSON"),
        (b'{"a": "tab\t"}', 1, "not valid JSON: Invalid control character"),
        (b'{"a":' * 100_000, 1, "not valid JSON"),
        (LINE + b"\n[1]", 2, "expected a JSON object, found list"),
        (b'"text"', 1, "expected a JSON object, found str"),
        (b"\r\nnull\r\n", 2, "expected a JSON object, found NoneType"),
        (LINE + b"\n" + LINE.replace(b"seed", b"s\xffed"), 2, "not UTF-8 (invalid start byte); save the file as UTF-8"),
        (LINE.decode().encode("utf-16-le"), 1, "not valid JSON"),
        (LINE.replace(b"-1", b"NaN"), 1, "not valid JSON"),
        (LINE.replace(b"-1", b"-Infinity"), 1, "not valid JSON"),
    ],
)
def test_a_broken_line_is_named(data, line, reason, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(data)
    with pytest.raises(InputError) as error:
        records.read_rows(file, Prompt)
    assert str(error.value).startswith(f"{file}, line {line}: ")
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"parent": []}, "unknown field 'parent'"),
        ({"text": ...}, "field 'text' is missing"),
        ({"text": ..., "source": ...}, "field 'source' is missing"),
        ({"text": ..., "txt": ""}, "unknown field 'txt'"),
    ],
)
def test_unknown_fields_are_rejected(change, problem, tmp_path):
    values = {k: v for k, v in (dataclasses.asdict(PROMPTS[0]) | change).items() if v is not ...}
    file = tmp_path / "rows.jsonl"
    file.write_bytes(LINE + b"\n" + json.dumps(values).encode())
    with pytest.raises(InputError) as error:
        records.read_rows(file, Prompt)
    fields = "id, text, source, parents, attempt, thought, columns"
    assert str(error.value) == f"{file}, line 2: {problem}; a Prompt has: {fields}"


def test_fields_with_a_default_may_be_missing(tmp_path):
    file = tmp_path / "rows.jsonl"
    messages = [{"role": "user", "content": ""}]
    file.write_text(json.dumps({"id": "1", "prompt": messages, "completion": messages}), encoding="utf-8")
    assert records.read_rows(file, Example) == [Example("1", messages, messages)]


def test_an_unreadable_file_is_named(tmp_path):
    for file, reason in ((tmp_path / "none.jsonl", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError, match=f"{file}: cannot be read: {reason}"):
            records.read_rows(file, Prompt)


def test_rows_are_streamed(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(LINE + b"\r\n\n" + LINE + b"\n{broken\n" + LINE)
    rows = records.iter_rows(file, Prompt)
    assert [next(rows), next(rows)] == [PROMPTS[0]] * 2
    with pytest.raises(InputError, match="line 4: not valid JSON"):
        next(rows)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_non_finite_numbers_are_not_written(number, tmp_path):
    row = Verdict("1", "2", 0, "", "scored", number, None)
    file = tmp_path / "rows.jsonl"
    records.write_rows(file, PROMPTS)
    before = file.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.to_json(row)
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.write_rows(file, [*PROMPTS, row])
    with RowWriter(file) as writer, pytest.raises(ValueError, match="not JSON compliant"):
        writer.write(row)
    assert file.read_bytes() == before


def test_write_rows_streams_and_is_atomic(tmp_path):
    file = tmp_path / "rows.jsonl"

    def rows(count):
        for row in PROMPTS[:count]:
            assert [path.name for path in tmp_path.iterdir() if path != file] == ["rows.jsonl.partial"]
            yield row
        if count < len(PROMPTS):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        records.write_rows(file, rows(2))
    assert list(tmp_path.iterdir()) == []
    assert records.write_rows(file, rows(3)) == 3
    assert records.read_rows(file, Prompt) == PROMPTS
    with pytest.raises(KeyboardInterrupt):
        records.write_rows(file, rows(1))
    assert records.read_rows(file, Prompt) == PROMPTS
    assert list(tmp_path.iterdir()) == [file]


def test_write_text_is_atomic(tmp_path, monkeypatch):
    file = tmp_path / "new" / "text.txt"
    records.write_text(file, "one\r\ntwo\n")
    assert file.read_bytes() == b"one\r\ntwo\n"

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        records.write_text(file, "three")
    assert file.read_bytes() == b"one\r\ntwo\n"
    monkeypatch.undo()
    records.write_text(file, "three")
    assert [path.name for path in file.parent.iterdir()] == ["text.txt"]
    assert file.read_bytes() == b"three"


def test_ids_are_the_same_everywhere():
    assert records.content_id("prompt", "Say hello.") == "877d38674dff8336"
    assert records.content_id("prompt", "Grüß Gott 😀", 1, None, [0.5]) == "13cfa05a3b88d091"
    assert records.derived_seed(0, "x") == 1847383096


def test_other_content_has_another_id():
    parts = [
        (),
        ("",),
        ("", ""),
        ("ab",),
        ("a", "b"),
        (["a", "b"],),
        ("b", "a"),
        ("1",),
        (1,),
        (1.0,),
        (True,),
        (None,),
        ("None",),
        ("a,b",),
        ('a","b',),
        ("\ud800",),
        ("?",),
        ("é",),
        ("e\u0301",),
    ]
    assert len({records.content_id(*some) for some in parts}) == len(parts)
    assert all(len(records.content_id(*some)) == 16 for some in parts)


def test_seeds_fit_every_sampler_and_differ():
    seeds = {records.derived_seed(0, "verdict", n) for n in range(1000)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert max(seeds) > 2**30


# --- a loss of power --------------------------------------------------------------------------------------------------


@pytest.fixture
def synced(monkeypatch):
    """The fsync calls in order: the size of the file, or -1 for a folder."""
    found, real = [], os.fsync

    def note(handle):
        state = os.fstat(handle)
        found.append(-1 if stat.S_ISDIR(state.st_mode) else state.st_size)
        real(handle)

    monkeypatch.setattr(os, "fsync", note)
    return found


def test_rows_are_synced_once_a_second_and_at_the_end(tmp_path, synced, monkeypatch):
    now = iter([0.0, 0.5, 1.5, 1.5, 2.0, 2.4])  # at the start, then per row, twice if it syncs
    monkeypatch.setattr(records.time, "monotonic", lambda: next(now))
    with RowWriter(tmp_path / "rows.jsonl") as writer:
        for number in range(4):
            writer.write({"n": number})
            assert (
                (tmp_path / "rows.jsonl").read_bytes().endswith(b'{"n": %d}\n' % number)
            )  # visible to other processes
    assert synced == [18, 36]


def test_an_atomic_write_is_synced_before_the_rename(tmp_path, synced):
    records.write_text(tmp_path / "file", "12345")
    assert synced == [5, -1]
