"""Text fields from JSON lines, compared with Python's `json`."""

import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest
from srlm import native


def read(tmp_path, data, field="text"):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))
    texts, lines = native.read_text_column(file, field)
    assert lines.dtype == np.int64
    return texts, lines.tolist()


def naive(data, field):
    """The same with `json.loads`, line by line; None if a line does not have the text."""
    texts, numbers = [], []
    for number, line in enumerate(data.removeprefix("\ufeff").split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, parse_constant=lambda name: 1 / 0, object_pairs_hook=unique)
            if not isinstance(value, dict):
                return None
            for part in field.split("."):
                value = value[int(part)] if isinstance(value, list) else value[part]
        except (ValueError, KeyError, IndexError, TypeError, ZeroDivisionError):
            return None
        if not isinstance(value, str):
            return None
        texts.append("".join("?" if "\ud800" <= c <= "\udfff" else c for c in value))
        numbers.append(number)
    return texts, numbers


def unique(pairs):
    """The object of these entries; a key that appears twice is an error."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError
    return dict(pairs)


CASES = [
    "",
    '\ufeff{"text": "a"}\r\n\n{"text": "b"}\n',
    '\n \n\u3000\n\x1c\n{"text": "a\u2028b\u2029c\x85d"}',
    '{"text": "\\ud800", "\\udc00": 1}\n{"text": "\\ud83d\\ude00\\ude00"}',
    '{"text": 1, "text": "last"}',
    '{"text": "", "deep": ' + "[" * 900 + "]" * 900 + "}",
    '{"x": 1e999, "y": -0, "z": 123456789012345678901234567890, "text": "\\/\\b\\f\\t\\""}',
    '{"text": {"0": "a"}}',
    '{"text": ["b", {"c": "d"}]}',
]


@pytest.mark.parametrize("data", CASES)
def test_the_texts_are_those_of_json(tmp_path, data):
    for field in ("text", "text.0", "text.1.c"):
        expected = naive(data, field)
        if expected is None:
            with pytest.raises(ValueError, match=r"rows\.jsonl, line \d: (field `text|the key `text` appears twice)"):
                read(tmp_path, data, field)
        else:
            assert read(tmp_path, data, field) == expected


def random_text(rng):
    return "".join(rng.choices(["a", "é", "😀", "\n", '"', "\\", "\u2028", "\ud800", "\udfff", "\0", " "], k=4))


def random_value(rng, depth=0):
    kind = rng.randrange(8 if depth < 3 else 5)
    if kind < 3:
        return random_text(rng)
    if kind < 5:
        return rng.choice([None, True, 0, -1.5, 1e300, 10**30])
    if kind < 6:
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(3))]
    return {rng.choice(["text", "a", "0", "\ud800"]): random_value(rng, depth + 1) for _ in range(3)}


def test_random_files_are_read_as_json_reads_them(tmp_path):
    rng = random.Random(0)
    accepted = 0
    for _ in range(1500):
        lines = []
        for _ in range(rng.randrange(1, 4)):
            row = random_value(rng)
            if rng.random() < 0.9:
                row = {"a": row, "text": random_text(rng) if rng.random() < 0.8 else row}
            line = json.dumps(row, ensure_ascii=rng.random() < 0.5)
            if rng.random() < 0.2:
                at = rng.randrange(len(line) + 1)
                line = line[:at] + rng.choice(['"', "}", "{", ",", "\\", "\r", " ", "1", "\t", "NaN"]) + line[at:]
            lines.append(line)
        data = "\n".join(lines).encode("utf-8", "replace").decode()  # lone surrogates outside escapes are not UTF-8
        field = rng.choice(["text", "text", "text.0", "text.a"])
        expected = naive(data, field)
        if expected is None:
            with pytest.raises(ValueError, match=r"rows.jsonl, line \d+: "):
                read(tmp_path, data, field)
        else:
            accepted += 1
            assert read(tmp_path, data, field) == expected, data
    assert 300 < accepted < 1200


@pytest.mark.parametrize(
    ("data", "field", "message"),
    [
        (b'{"text": "a"}\n{"text": "\xff"}', "text", r"rows\.jsonl, line 2: not UTF-8 \(byte 11\); save the file as"),
        ('{"text": "a"}\n{"text": "a"', "text", "line 2: not valid JSON: EOF .* at column 12; fix or remove the line"),
        ('{"text": NaN}', "text", "line 1: not valid JSON"),
        ('{"text": "a", "x": -Infinity}', "text", "line 1: not valid JSON"),
        ('{"text": "a"}{}', "text", "line 1: not valid JSON: trailing characters"),
        ('\n\n["text"]', "text", "line 3: expected a JSON object, found an array"),
        ('"text"', "text", "line 1: expected a JSON object, found a string"),
        ('{"text": "a", "text": "b"}', "text", "line 1: the key `text` appears twice; remove one of them, or the line"),
        ('{"text": "a", "x": [{"y": 1, "\\u0079": 2}]}', "text", "line 1: the key `y` appears twice; remove one"),
        ("{}", "text", "line 1: field `text` is missing; add it or use another field"),
        ('{"text": 4}', "text", "line 1: field `text` is a number; expected a string"),
        ('{"text": 4}', "text.a", "line 1: field `text.a` is missing, since `text` is a number"),
        ('{"text": ' + "[" * 1_000_000, "text", "line 1: not valid JSON"),
        ("", "", 'field is ""; use the name of a field, or a path'),
        ("", "a..b", 'field is "a..b"'),
    ],
)
def test_errors_name_the_line_and_the_reason(tmp_path, data, field, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, data, field)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        native.read_text_column(tmp_path / "nowhere", "text")
    assert error.value.filename == str(tmp_path / "nowhere")
    assert error.value.strerror == os.strerror(2)
    with pytest.raises(IsADirectoryError):
        native.read_text_column(str(tmp_path), "text")


RESULTS = """
import hashlib, sys
from srlm import native
texts, lines = native.read_text_column(sys.argv[1], "text")
print(hashlib.sha256(repr(texts).encode() + lines.tobytes()).hexdigest())
try:
    native.read_text_column(sys.argv[2], "text")
except ValueError as error:
    print(str(error).partition(", ")[2])
"""


def test_results_do_not_depend_on_threads_or_hashes(tmp_path):
    rows = "".join(f'{{"n": {n}, "text": "text {n} \\u00e9"}}\n' + "\n" * (n % 3 == 0) for n in range(40_000))
    (tmp_path / "good").write_text(rows, encoding="utf-8")
    (tmp_path / "bad").write_text(rows + '{"text": 1}\n' + rows + "x\n", encoding="utf-8")
    found = {
        subprocess.run(
            [sys.executable, "-c", RESULTS, str(tmp_path / "good"), str(tmp_path / "bad")],
            env={**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads, seed in (("1", "0"), ("2", "1"), ("3", "2"))
    }
    assert len(found) == 1
    line = rows.count("\n") + 1
    assert (
        found.pop().split("\n")[1] == f"line {line}: field `text` is a number; expected a string, or use another field"
    )
