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
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from srlm import progress
from srlm.errors import InputError
from srlm.rows.atomic_file import whole_file
from srlm.rows.checks import problem_of
from srlm.rows.json_lines import iter_objects

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from srlm.reporter import Reporter

Message = dict[str, str]
Natural = Annotated[int, "0 or more"]
Outcome = Literal["scored", "missing", "out_of_range", "conflicting"]
FinishReason = Literal["stop", "length"]
Row = TypeVar("Row")
SYNC_SECONDS = 1.0


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
    index: Natural
    text: str
    token_ids: list[Natural]
    logprob: float
    finish_reason: FinishReason
    seed: int


@dataclass(frozen=True, slots=True)
class FailedRequest:
    """A request that was not answered. `key` is the stage's name for it: a prompt's id and a number, for example.

    `reason`: "too_long" for the engine (prompt and `max_tokens` together), or "engine_died" of it three times.
    """

    key: str
    reason: str
    prompt_tokens: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judgement of one candidate. `score` is set only if `outcome` is "scored".

    `expected_score` is the mean of the score token's own distribution over the digits (None if no score was read).
    """

    id: str
    candidate_id: str
    sample: Natural
    text: str
    outcome: Outcome
    score: float | None
    expected_score: float | None

    def problem(self) -> str | None:
        """Return what does not fit, or None (see `row_checks`)."""
        if (self.outcome == "scored") == (self.score is not None):
            return None
        return f"'score' must be null unless 'outcome' is 'scored' (found {self.score} and {self.outcome!r})"


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
    chosen_token_ids: list[Natural] | None = None
    rejected_token_ids: list[Natural] | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A supervised row in TRL's conversational prompt-completion format: the loss is on `completion` only."""

    id: str
    prompt: list[Message]
    completion: list[Message]
    completion_token_ids: list[Natural] | None = None


@dataclass(frozen=True, slots=True)
class RankedAnswers:
    """A prompt with human-ordered answers: `scores` are higher for better ones, `justifications` may be empty."""

    id: str
    prompt: str
    answers: list[str]
    scores: list[float]
    justifications: list[str]

    def problem(self) -> str | None:
        """Return what does not fit, or None (see `row_checks`)."""
        if len(self.answers) == len(self.scores) == len(self.justifications):
            return None
        return "'answers', 'scores' and 'justifications' must be lists of the same length"


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
    tokens: Natural
    logprob: float
    logprob_m1: float


# Rows that others name by their ids: one id in two rows would be two rows taken for one.
UNIQUE = frozenset({Prompt, Candidate, Verdict, Comparison})


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


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Return what `iter_rows` yields."""
    return list(iter_rows(path, kind))


def iter_rows(path: Path, kind: type[Row]) -> Iterator[Row]:
    """Yield the rows of a file that a stage wrote, holding one at a time.

    Raises:
        InputError: a line is broken, lacks a field or has one that `kind` does not have, has a value of another type,
            or an id that came before.
    """
    if kind not in UNIQUE:
        for number, value in iter_objects(path):
            yield row_from(value, kind, f"{path}, line {number}")
        return
    from srlm.rows.ids import id_number, repeated  # with numpy, which reading a manifest must not wait for

    seen = array("Q")
    for number, value in iter_objects(path):
        yield row_from(value, kind, f"{path}, line {number}")
        seen.append(id_number(value["id"]))
    if repeated(seen):
        _check_unique(path)


def _check_unique(path: Path) -> None:
    """Find the first id that is there twice; the ids' bits, of which fewer are held, only say that there may be one."""
    lines: dict[str, int] = {}
    for number, value in iter_objects(path):
        first = lines.setdefault(value["id"], number)
        if first != number:
            raise InputError(
                f"{path}, line {number}: the id {value['id']!r} is there twice (see line {first}); remove one"
            )


def row_from(value: dict[str, Any], kind: type[Row], where: str) -> Row:
    """Build a row from a JSON object; unknown and missing fields and values of a wrong type are errors."""
    try:
        row = kind(**value)
    except TypeError:
        raise InputError(f"{where}: {_wrong_fields(value, kind)}") from None
    problem = problem_of(row)
    if problem is not None:
        raise InputError(f"{where}: {problem}; mend or remove the line")
    return row


def _wrong_fields(value: dict[str, Any], kind: type[Any]) -> str:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(value) - set(fields))
    required = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    missing = sorted(required - set(value))
    problem = f"unknown field {unknown[0]!r}" if unknown else f"field {missing[0]!r} is missing"
    article = "an" if kind.__name__[0] in "AEIO" else "a"
    return f"{problem}; {article} {kind.__name__} has: {', '.join(fields)}"


def resume_rows(path: Path, kind: type[Row], report: Reporter | None = None) -> list[Row]:
    """Return what `resume_iter` yields."""
    return list(resume_iter(path, kind, report))


def resume_iter(path: Path, kind: type[Row], report: Reporter | None = None) -> Iterator[Row]:
    """Cut off a torn last line, which `report` is told, and yield the whole rows that an earlier run left in `path`.

    Nothing without a file.

    Raises:
        InputError: the file holds something else; it is left as it is.
    """
    if not path.exists():
        return iter(())
    torn = progress.torn_line(path)
    if torn:
        if not _is_torn(torn, kind):
            raise InputError(f"{path}: its last line is no {kind.__name__} that was begun; give another file")
        os.truncate(path, path.stat().st_size - len(torn))
        if report is not None:
            report.note(f"{path}: a last line that was torn is cut off; what it held is made again")
    return iter_rows(path, kind)


def _is_torn(line: bytes, kind: type[Any]) -> bool:
    """Tell whether a row may have been begun so: a file that was named by mistake must not lose its last line."""
    begins = f'{{"{dataclasses.fields(kind)[0].name}": '.encode()
    line = line.strip(b"\0\r ")  # what some file systems leave after a loss of power
    return line.startswith(begins) or begins.startswith(line)


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
