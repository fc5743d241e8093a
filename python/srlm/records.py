"""The rows that flow from stage to stage, and the JSON lines that hold them.

A row is a frozen dataclass; its id is a hash of its content, so a rerun names the same row the same. A file of rows is
JSON lines in UTF-8, split on `\\n` only: U+2028 and its kin are legal inside a JSON string, and `str.splitlines` would
break a row there. A writer hands over whole lines, which outlive a kill at once and a loss of power after a second at
most; a torn last line, left by a crash, is dropped by `resume_rows`. What may hold millions of rows is gone through by
`iter_rows`, or is a `row_file.RowFile`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, cast

from srlm import progress
from srlm.errors import InputError
from srlm.whole_file import whole_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from srlm.reporter import Reporter

Message = dict[str, str]
Outcome = Literal["scored", "missing", "out_of_range", "conflicting"]
FinishReason = Literal["stop", "length"]
Row = TypeVar("Row")
SYNC_SECONDS = 1.0
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Prompt:
    """An instruction. `parents` are the ids of the examples shown; `attempt` counts the tries of its stage."""

    id: str
    text: str
    source: Literal["seed", "generated"]
    parents: list[str]
    attempt: int


@dataclass(frozen=True, slots=True)
class DroppedPrompt:
    """A generated instruction that a filter dropped, and which one. `similarity` is ROUGE-L to `similar_to`."""

    id: str
    text: str
    reason: str
    parents: list[str]
    attempt: int
    similarity: float | None
    similar_to: str | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One sampled answer. `token_ids` are the engine's own, the end token included; `logprob` is their sum, in nats."""

    id: str
    prompt_id: str
    index: int
    text: str
    token_ids: list[int]
    logprob: float
    finish_reason: FinishReason
    seed: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judgement of one candidate. `score` is set only if `outcome` is "scored".

    `expected_score` is the mean of the score token's own distribution over the digits (None if no score was read).
    """

    id: str
    candidate_id: str
    sample: int
    text: str
    outcome: Outcome
    score: float | None
    expected_score: float | None


@dataclass(frozen=True, slots=True)
class Pair:
    """A preference in TRL's conversational format, with the rows it was made of and the engine's token ids."""

    prompt_id: str
    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    chosen_id: str
    rejected_id: str
    chosen_score: float
    rejected_score: float
    chosen_token_ids: list[int] | None = None
    rejected_token_ids: list[int] | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A supervised row in TRL's conversational prompt-completion format: the loss is on `completion` only."""

    id: str
    prompt: list[Message]
    completion: list[Message]
    completion_token_ids: list[int] | None = None


@dataclass(frozen=True, slots=True)
class RankedAnswers:
    """A prompt with human-ordered answers: `scores` are higher for better ones, `justifications` may be empty."""

    id: str
    prompt: str
    answers: list[str]
    scores: list[float]
    justifications: list[str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A judge's word on two models' answers to a prompt, in one order: `first` tells whose answer stood first.

    `preference` is the probability of "the first answer" among the two, where it was read from the verdict's token.
    """

    id: str
    prompt_id: str
    first: Literal["a", "b"]
    text: str
    verdict: Literal["first", "second", "tie", "missing"]
    preference: float | None


@dataclass(frozen=True, slots=True)
class Reading:
    """The log-probability of an answer, in nats, under the model that wrote it and under M1."""

    candidate_id: str
    tokens: int
    logprob: float
    logprob_m1: float


def content_id(*parts: object) -> str:
    """Return 16 hex digits that name this content: the start of a SHA-256 over the JSON of `parts`."""
    text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """Return a SHA-256 of a file's content.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def derived_seed(*parts: object) -> int:
    """Return a 31-bit seed for a sampler, the same for the same parts on every machine."""
    return int(content_id("seed", *parts), 16) & 0x7FFF_FFFF


def to_json(row: object) -> str:
    """Return a row as one line of JSON, without the line end."""
    values = dataclasses.asdict(row) if dataclasses.is_dataclass(row) and not isinstance(row, type) else row
    return json.dumps(values, ensure_ascii=False, allow_nan=False)


def read_objects(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return what `iter_objects` yields."""
    return list(iter_objects(path))


def iter_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) for every line that is not blank, holding one line at a time.

    Raises:
        InputError: the file cannot be read, or a line is no JSON object; names the file, the line and the reason.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if (found := parse_line(line, path, number)) is not None:
                    yield number, found
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def parse_line(line: bytes, path: Path, number: int) -> dict[str, Any] | None:
    """Return the object of one line of a file, None for a blank one; errors as in `iter_objects`."""
    where = f"{path}, line {number}"
    text = _decoded(line.removeprefix(BOM) if number == 1 else line, where)
    return _object(_parse(text, where), where) if text.strip() else None


def parse_objects(lines: list[str], name: str) -> list[tuple[int, dict[str, Any]]]:
    """Return (line number, object) for every line that is not blank; `name` is the file in errors."""
    found = [(number, f"{name}, line {number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    return [(number, _object(_parse(line, where), where)) for number, where, line in found]


def parse_values(data: bytes, name: str) -> list[tuple[str, object]]:
    """Return (where it stands, value) for each value of one JSON list, or else of JSON lines.

    Raises:
        InputError: it is not UTF-8, or not valid JSON; names the line.
    """
    lines = decode_lines(data, name)
    if not next((line for line in lines if line.strip()), "").lstrip().startswith("["):
        found = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
        return [(f"{name}, line {number}", _parse(line, f"{name}, line {number}")) for number, line in found]
    values = cast("list[object]", _parse("\n".join(lines), name, "mend the file"))  # it opens as a list
    return [(f"{name}, entry {number}", value) for number, value in enumerate(values, 1)]


def parse_located(data: bytes, name: str) -> list[tuple[str, dict[str, Any]]]:
    """Return (where it stands, object) as `parse_values` does; a value that is no object is an error."""
    return [(where, _object(value, where)) for where, value in parse_values(data, name)]


def decode_lines(data: bytes, name: str) -> list[str]:
    """Split bytes on line feeds and decode each as UTF-8 (a leading byte order mark is allowed)."""
    lines = data.removeprefix(BOM).split(b"\n")
    return [_decoded(line, f"{name}, line {number}") for number, line in enumerate(lines, 1)]


def _decoded(line: bytes, where: str) -> str:
    try:
        return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 ({error.reason}); save the file as UTF-8") from error


def _no_number(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


def _parse(text: str, where: str, advice: str = "mend or remove the line") -> object:
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON: {error}; {advice}") from error


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a JSON object, found {type(value).__name__}")
    return value


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Return what `iter_rows` yields."""
    return list(iter_rows(path, kind))


def iter_rows(path: Path, kind: type[Row]) -> Iterator[Row]:
    """Yield the rows of a file that a stage wrote, holding one at a time.

    Raises:
        InputError: a line is broken, or lacks or has fields that `kind` does not have.
    """
    for number, value in iter_objects(path):
        yield row_from(value, kind, f"{path}, line {number}")


def row_from(value: dict[str, Any], kind: type[Row], where: str) -> Row:
    """Build a row from a JSON object; unknown and missing fields are errors that name them."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(value) - set(fields))
    required = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    missing = sorted(required - set(value))
    if unknown or missing:
        problem = f"unknown field {unknown[0]!r}" if unknown else f"field {missing[0]!r} is missing"
        raise InputError(f"{where}: {problem}; a {kind.__name__} has: {', '.join(fields)}")
    return kind(**value)


def resume_rows(path: Path, kind: type[Row], report: Reporter | None = None) -> list[Row]:
    """Return what `resume_iter` yields."""
    return list(resume_iter(path, kind, report))


def resume_iter(path: Path, kind: type[Row], report: Reporter | None = None) -> Iterator[Row]:
    """Cut off a torn last line, which `report` is told, and yield the whole rows that an earlier run left in `path`.

    Nothing without a file.
    """
    if not path.exists():
        return iter(())
    if progress.cut_torn_line(path) and report is not None:
        report.note(f"{path}: a last line that was torn is cut off; what it held is made again")
    return iter_rows(path, kind)


class RowWriter:
    """Appends rows to a file, one flushed line each; once a second, and in the end, the disk is made to hold them.

    Waiting for the disk at every row would make short rows many times slower. Told how many `rows` the file has
    already, it also keeps a note of their number beside it until the end (see `progress`).
    """

    def __init__(self, path: Path, rows: int | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._rows = path, rows
        self._synced = time.monotonic()
        # A lone surrogate becomes its JSON escape, which reads back as the same string.
        self._file = path.open("a", encoding="utf-8", errors="backslashreplace", newline="\n")
        self._note()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                os.fsync(self._file.fileno())
                progress.forget(self._path)
        finally:
            self._file.close()

    def write(self, row: object) -> None:
        """Append one row and hand it to the operating system."""
        self._file.write(to_json(row) + "\n")
        self._file.flush()
        if self._rows is not None:
            self._rows += 1
        if time.monotonic() - self._synced > SYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._note()
            self._synced = time.monotonic()

    def _note(self) -> None:
        if self._rows is not None:
            progress.note(self._path, os.fstat(self._file.fileno()).st_size, self._rows)


def write_rows(path: Path, rows: Iterable[Any]) -> int:
    """Write a whole file of rows, one at a time: it appears complete or not at all. Return how many there are."""
    count = 0
    with whole_file(path) as file:
        for row in rows:
            file.write(f"{to_json(row)}\n".encode("utf-8", errors="backslashreplace"))
            count += 1
    return count


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 by atomic rename."""
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file by atomic rename."""
    with whole_file(path) as file:
        file.write(data)
