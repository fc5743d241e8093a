"""`srlm dedup`: remove exact or near duplicates from a JSON lines file.

Not supported: semantic deduplication; texts are compared by their spelling only.
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
class NearOptions:
    """Parameters of near-duplicate detection, and the index file that holds the texts of earlier files."""

    threshold: float = 0.8
    ngram: int = 3
    unit: Literal["word", "char"] = "word"
    index: Path | None = None

    def open(self) -> NearDuplicateIndex:
        """Load the index if its file exists, else create an empty one.

        Raises:
            InputError: an option is out of range, or the file is not an index or was built with other options.
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
                raise InputError(f"{self.index}: its {name} is {value}; use --{name} {value} or another --index")
        return saved


@dataclass(frozen=True, slots=True)
class Dropped:
    """A dropped row: its line, and the line of the same file that it duplicates.

    For a duplicate of an earlier file `duplicate_of` is None, and `index_row` is that text's row in the index, from 0.
    """

    line: int
    duplicate_of: int | None
    index_row: int | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of input, kept and dropped rows."""

    rows: int
    kept: int
    dropped: int


def run(source: Path, out: Path, *, field: str, near: NearOptions | None, dropped: Path | None) -> Counts:
    """Write the rows of `source` that duplicate no earlier row to `out`; without `near`, drop exact duplicates only.

    Kept rows keep their order and their exact bytes. Files are written atomically, the index last: if that fails, run
    the same command again.

    Raises:
        InputError: the file cannot be read, a line is not a JSON object or lacks the field, two paths are the same
            file, or an option is invalid.
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
            raise InputError(f"{path}: given as {other} and as {name}; use another file for {name}")


def _read(source: Path, field: str) -> tuple[list[bytes], list[int], list[str]]:
    """Return all lines, the line numbers of the rows, and the rows' texts."""
    data = read_bytes(source)
    objects = parse_objects(decode_lines(data, str(source)), str(source))
    texts = [_text(value, field, f"{source}, line {number}") for number, value in objects]
    return data.split(b"\n"), [number for number, _ in objects], texts


def _text(row: dict[str, Any], field: str, where: str) -> str:
    """Return the string at a field name or at a dotted path."""
    value: Any = row
    for name in [field] if field in row else field.split("."):
        if not isinstance(value, dict) or name not in value:
            raise InputError(f"{where}: no field {field!r}; set --field to one of: {', '.join(row) or '-'}")
        value = value[name]
    if not isinstance(value, str):
        raise InputError(f"{where}: field {field!r} is not a string; set --field to another one")
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
