"""`srlm dedup`: a file of JSON lines without its exact or near duplicates.

Left out: duplicates are found by their spelling only, not by their meaning.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from srlm.errors import InputError
from srlm.native import NearDuplicateIndex, exact_duplicates
from srlm.rows.json_lines import decode_lines, parse_objects, read_bytes
from srlm.rows.records import write_bytes, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Near:
    """What near duplicates are, and the file of the index that earlier files are in."""

    threshold: float = 0.8
    ngram: int = 3
    unit: Literal["word", "char"] = "word"
    index: Path | None = None

    def open(self) -> NearDuplicateIndex:
        """Load the index if its file exists, or make an empty one.

        Raises:
            InputError: an option is out of its range, the file is no index, or one with other options.
        """
        try:
            new = NearDuplicateIndex(threshold=self.threshold, ngram=self.ngram, unit=self.unit)
            if self.index is None or not self.index.exists():
                return new
            saved = NearDuplicateIndex.load(self.index)
        except ValueError as error:
            raise InputError(str(error)) from error
        for name in ("threshold", "ngram", "unit"):
            value, wanted = getattr(saved, name), getattr(new, name)
            if value != wanted:
                raise InputError(f"{self.index}: its {name} is {value}; give --{name} {value} or another --index")
        return saved


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row left out: its line, and the line of the same file that it duplicates.

    Where that is in an earlier file, `duplicate_of` is None and `index_row` its row in the index, from 0.
    """

    line: int
    duplicate_of: int | None
    index_row: int | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows there were, and what became of them."""

    rows: int
    kept: int
    dropped: int


def run(source: Path, out: Path, *, field: str, near: Near | None, dropped: Path | None) -> Counts:
    """Write the rows of `source` that duplicate no earlier one to `out`; without `near`, exact duplicates only.

    Kept rows are the bytes they were, in their order. Files appear complete or not at all, the index last: if that
    fails, the same command can be given again.

    Raises:
        InputError: the file cannot be read, a line is no JSON object or lacks the field, two files are the same, or an
            option is wrong.
    """
    _check_paths({"IN": source, "--out": out, "--dropped": dropped, "--index": near.index if near else None})
    index = near.open() if near else None
    lines, numbers, texts = _read(source, field)
    start = len(index) if index is not None else 0
    first = exact_duplicates(texts) if index is None else index.add(texts)
    kept = first == np.arange(start, start + len(texts))
    write_bytes(out, b"".join(lines[number - 1] + b"\n" for number, keep in zip(numbers, kept, strict=True) if keep))
    if dropped is not None:
        rows = _dropped(numbers, first, start)
        write_text(dropped, "".join(json.dumps(_fields(row)) + "\n" for row in rows))
    if index is not None and near is not None and near.index is not None:
        near.index.parent.mkdir(parents=True, exist_ok=True)
        index.save(near.index)
    return Counts(len(texts), int(kept.sum()), len(texts) - int(kept.sum()))


def _check_paths(paths: dict[str, Path | None]) -> None:
    seen: dict[str, str] = {}
    for name, path in paths.items():
        if path is None:
            continue
        other = seen.setdefault(os.path.realpath(path), name)
        if other != name:
            raise InputError(f"{path}: given as {other} and as {name}; give {name} another file")


def _read(source: Path, field: str) -> tuple[list[bytes], list[int], list[str]]:
    """Return all lines, the numbers of those that are rows, and the rows' texts."""
    data = read_bytes(source)
    objects = parse_objects(decode_lines(data, str(source)), str(source))
    texts = [_text(value, field, f"{source}, line {number}") for number, value in objects]
    return data.split(b"\n"), [number for number, _ in objects], texts


def _text(row: dict[str, Any], field: str, where: str) -> str:
    """Return the string under a name, or under a path of names joined by dots."""
    value: Any = row
    for name in [field] if field in row else field.split("."):
        if not isinstance(value, dict) or name not in value:
            raise InputError(f"{where}: no field {field!r}; name one with --field (there is: {', '.join(row) or '-'})")
        value = value[name]
    if not isinstance(value, str):
        raise InputError(f"{where}: field {field!r} is no string; name another with --field")
    return value


def _dropped(numbers: list[int], first: NDArray[np.int64], start: int) -> list[Dropped]:
    rows = []
    for at, row in enumerate(first.tolist()):
        if row < start:
            rows.append(Dropped(numbers[at], None, row))
        elif row != start + at:
            rows.append(Dropped(numbers[at], numbers[row - start], None))
    return rows


def _fields(row: Dropped) -> dict[str, int | None]:
    where = {"duplicate_of": row.duplicate_of}
    return {"line": row.line, **where, **({} if row.index_row is None else {"index_row": row.index_row})}
