"""The row types that the stages exchange, and reading and writing them as JSON lines.

A row is a frozen dataclass; its id is a hash of its content, so a rerun gives the same row the same id. A file of rows
is JSON lines in UTF-8, split on `\\n` only: U+2028 and similar characters are legal inside a JSON string, and
`str.splitlines` would split a row there. A writer appends whole lines, which survive a kill immediately and a loss of
power after at most a second (`resume` drops a partial last line that a crash left). Files that may hold millions of
rows are streamed with `iter_rows` or accessed through `lazy_rows.RowFile`.
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
from srlm.rows.atomic_file import atomic_write, own_copy
from srlm.rows.checks import row_problem
from srlm.rows.json_lines import FIX_LINE, iter_objects

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType


Message = dict[str, str]
Natural = Annotated[int, "0 or more"]
Outcome = Literal["scored", "missing", "out_of_range", "conflicting"]
FinishReason = Literal["stop", "length"]
Source = Literal["own", "hot", "model", "human"]
Row = TypeVar("Row")
SYNC_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Prompt:
    """An instruction. `parents` are the ids of its few-shot demonstrations; `attempt` is the index of the attempt.

    `thought` is what the model thought before it wrote the instruction (None: nothing). `columns` are the other columns
    of a prompt from a file (`prompts.files`), by name, for signals that need them.
    """

    id: str
    text: str
    source: Literal["seed", "generated", "file"]
    parents: list[str]
    attempt: int
    thought: str | None = None
    columns: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class DroppedPrompt:
    """A generated instruction that a filter dropped, with the reason. `similarity` is ROUGE-L to `similar_to`."""

    id: str
    text: str
    reason: str
    parents: list[str]
    attempt: int
    similarity: float | None
    similar_to: str | None
    thought: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One answer: `text` is what was said, `thought` what was thought before (None: nothing).

    `token_ids` come from the engine, with thoughts and the end token; `logprob` is the sum of theirs, in nats. Where
    the model began another turn, the answer has the first `answer_tokens` of them (None: all). `source`: M_t (`own`),
    M_t at a higher temperature (`hot`), another model (`model`), or a human (`human`). Texts of a human or of a model
    from outside the run are tokenized, and have no `logprob`.
    """

    id: str
    prompt_id: str
    index: Natural
    text: str
    token_ids: list[Natural]
    logprob: float | None
    finish_reason: FinishReason
    seed: int
    thought: str | None = None
    answer_tokens: Natural | None = None
    source: Source = "own"

    def problem(self) -> str | None:
        """Return the violated constraint between fields, or None (see `checks.row_problem`)."""
        if self.logprob is None and self.source in ("own", "hot"):
            return f"'logprob' must be a number if 'source' is {self.source!r} (found None)"
        return None

    @property
    def training_token_ids(self) -> list[int] | None:
        """The token ids to train on; None: tokenize `text`.

        An answer that the model followed with another turn is tokenized with an end token of its own. Its thought is in
        the ids only, so with a thought the engine's ids are used, up to the other turn.
        """
        if self.answer_tokens is None:
            return self.token_ids
        return None if self.thought is None else self.token_ids[: self.answer_tokens]


@dataclass(frozen=True, slots=True)
class FailedRequest:
    """A request without a completion. `key` is the stage's name for it, for example a prompt's id and an index.

    `reason`: "too_long" (prompt and `max_tokens` exceed the engine's context), or "engine_died" (three times on it).
    """

    key: str
    reason: str
    prompt_tokens: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judgement of one candidate. `score` is set only if `outcome` is "scored".

    `expected_score` is the mean of the score token's distribution over the digits (None if no score was parsed). `text`
    is what the judge said, `thought` what it thought before (None: nothing).
    """

    id: str
    candidate_id: str
    sample: Natural
    text: str
    outcome: Outcome
    score: float | None
    expected_score: float | None
    thought: str | None = None
    finish_reason: FinishReason | None = None

    def problem(self) -> str | None:
        """Return the violated constraint between fields, or None (see `checks.row_problem`)."""
        if (self.outcome == "scored") == (self.score is not None):
            return None
        return f"'score' must be null unless 'outcome' is 'scored' (found {self.score} and {self.outcome!r})"


@dataclass(frozen=True, slots=True)
class Pair:
    """A preference pair in TRL's conversational format, with its candidates' ids and the engine's token ids.

    `weight` multiplies its loss; `confidence` is the probability that the chosen answer is the better one.
    """

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
    weight: float = 1.0
    confidence: float = 1.0

    def problem(self) -> str | None:
        """Return what is wrong with the pair, or None."""
        if self.weight < 0:
            return f"'weight' must not be negative (found {self.weight:g})"
        if not 0 <= self.confidence <= 1:
            return f"'confidence' must be a probability (found {self.confidence:g})"
        return None


@dataclass(frozen=True, slots=True)
class Example:
    """An SFT row in TRL's conversational prompt-completion format: the loss is on `completion` only.

    Judge examples of one `group` judge answers to the same question, which humans gave `human_score`: they are also
    ranked among each other (`training.ranking`).
    """

    id: str
    prompt: list[Message]
    completion: list[Message]
    completion_token_ids: list[Natural] | None = None
    group: str | None = None
    human_score: float | None = None


@dataclass(frozen=True, slots=True)
class RankedAnswers:
    """A prompt with human-ranked answers: better answers have higher `scores`; `justifications` may be empty."""

    id: str
    prompt: str
    answers: list[str]
    scores: list[float]
    justifications: list[str]

    def problem(self) -> str | None:
        """Return the violated constraint between fields, or None (see `checks.row_problem`)."""
        if len(self.answers) == len(self.scores) == len(self.justifications):
            return None
        return "'answers', 'scores' and 'justifications' must be lists of the same length"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A judge's verdict on two models' answers to a prompt, in one order: `first` is the model shown first.

    `preference` is the probability of "the first answer" among the two, if it was taken from the verdict's token.
    """

    id: str
    prompt_id: str
    first: Literal["a", "b"]
    text: str
    verdict: Literal["first", "second", "tie", "missing"]
    preference: float | None
    thought: str | None = None


@dataclass(frozen=True, slots=True)
class CandidateComparison:
    """M_t's verdict on two of its answers to a prompt, in one order; see `Comparison` and `signals.pairwise`."""

    id: str
    prompt_id: str
    first_id: str
    second_id: str
    text: str
    verdict: Literal["first", "second", "tie", "missing"]
    preference: float | None
    thought: str | None = None


@dataclass(frozen=True, slots=True)
class JudgementComparison:
    """M_t's verdict on two of its judgements of an answer, in one order; see `judge_data.meta_judge`.

    `first_id` and `second_id` are the ids of the judgements (`Verdict`), the other fields as in `Comparison`.
    """

    id: str
    candidate_id: str
    first_id: str
    second_id: str
    text: str
    verdict: Literal["first", "second", "tie", "missing"]
    preference: float | None
    thought: str | None = None


@dataclass(frozen=True, slots=True)
class ModifiedPrompt:
    """An instruction that M_t wrote to be like a prompt, but another one; see `judge_data.modified_instruction`.

    `dropped` says why it is not answered (None: it is); `thought` is what M_t thought before (None: nothing).
    """

    id: str
    prompt_id: str
    text: str
    dropped: Literal["empty", "cut_off", "same"] | None
    finish_reason: FinishReason
    thought: str | None = None


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A model's result on one case of a metric: a pair of ranked answers, an instruction, a compared prompt.

    `id` is the same for every model that is evaluated on the case; `prompt` is that of the case's prompt. `value` is
    between 0 and 1.
    """

    metric: str
    id: str
    prompt: str
    value: float


@dataclass(frozen=True, slots=True)
class SequenceLogprob:
    """The log-probability of an answer, in nats, under the model that wrote it and under M1."""

    candidate_id: str
    tokens: Natural
    logprob: float
    logprob_m1: float


@dataclass(frozen=True, slots=True)
class Score:
    """What a signal other than the judge says of a candidate; see `srlm.signals`.

    `score` is None if it gives none. Between equal scores `tie_break` decides. `answer` is the final answer that the
    signal read (None: none, or not read), `detail` a few words on the score.
    """

    id: str
    candidate_id: str
    score: float | None
    tie_break: float | None = None
    answer: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class AnswerLogprob:
    """The log-probability of a human-ranked answer under a model, in nats; see `evaluation.implicit_preferences`."""

    candidate_id: str
    tokens: Natural
    logprob: float


@dataclass(frozen=True, slots=True)
class ModelLogprob:
    """The log-probability of a candidate under a model of the run, in nats; see `signals.implicit`."""

    candidate_id: str
    model: Literal["policy", "reference", "previous"]
    tokens: Natural
    logprob: float


# Row types that other rows reference by id: a repeated id would merge two rows.
WITH_UNIQUE_IDS = frozenset({Prompt, Candidate, Verdict, Score, Comparison, CandidateComparison})
WITH_UNIQUE_IDS |= {JudgementComparison, ModifiedPrompt}


def content_id(*parts: object) -> str:
    """Return the first 16 hex digits of a SHA-256 over the JSON of `parts`."""
    text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def derived_seed(*parts: object) -> int:
    """Return a 31-bit sampling seed that depends on `parts` only, and is the same on every machine."""
    return int(content_id("seed", *parts), 16) & 0x7FFF_FFFF


def to_json(row: object) -> str:
    """Return a row as one line of JSON, without the line break."""
    values = dataclasses.asdict(row) if dataclasses.is_dataclass(row) and not isinstance(row, type) else row
    return json.dumps(values, ensure_ascii=False, allow_nan=False)


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Return what `iter_rows` yields."""
    return list(iter_rows(path, kind))


def iter_rows(path: Path, kind: type[Row]) -> Iterator[Row]:
    """Yield the rows of a file, with one row in memory at a time.

    Raises:
        InputError: a line is not valid JSON, lacks a field of `kind` or has an unknown one, has a value of a wrong
            type, or repeats an id.
    """
    if kind not in WITH_UNIQUE_IDS:
        for number, value in iter_objects(path):
            yield row_from_json(value, kind, f"{path}, line {number}")
        return
    from srlm.rows.ids import has_duplicates, id_number  # imports numpy, which reading a manifest does not need

    seen = array("Q")
    for number, value in iter_objects(path):
        yield row_from_json(value, kind, f"{path}, line {number}")
        seen.append(id_number(value["id"]))
    if has_duplicates(seen):
        _check_unique(path)


def _check_unique(path: Path) -> None:
    """Raise on the first repeated id; equal 64-bit numbers only show that there may be one."""
    lines: dict[str, int] = {}
    for number, value in iter_objects(path):
        first = lines.setdefault(value["id"], number)
        if first != number:
            raise InputError(
                f"{path}, line {number}: the id {value['id']!r} appears twice (see line {first}); remove one"
            )


def row_from_json(value: dict[str, Any], kind: type[Row], where: str) -> Row:
    """Build a row from a JSON object; unknown and missing fields and values of a wrong type are errors."""
    try:
        row = kind(**value)
    except TypeError:
        raise InputError(f"{where}: {_wrong_fields(value, kind)}") from None
    problem = row_problem(row)
    if problem is not None:
        raise InputError(f"{where}: {problem}; {FIX_LINE}")
    return row


def _wrong_fields(value: dict[str, Any], kind: type[Any]) -> str:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(value) - set(fields))
    required = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    missing = sorted(required - set(value))
    problem = f"unknown field {unknown[0]!r}" if unknown else f"field {missing[0]!r} is missing"
    article = "an" if kind.__name__[0] in "AEIO" else "a"
    return f"{problem}; {article} {kind.__name__} has: {', '.join(fields)}"


class RowWriter:
    """Appends rows to a file, flushing each line; syncs to disk once a second and at the end.

    A sync per row would make short rows many times slower. If `rows`, the number of existing rows, is given, the
    writer also keeps a row count beside the file until it is closed (see `progress`).
    """

    def __init__(self, path: Path, rows: int | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        own_copy(path)
        self._path, self._rows = path, rows
        self._synced = time.monotonic()
        # A lone surrogate is written as its JSON escape, which decodes to the same string.
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
                progress.remove_count(self._path)
        finally:
            self._file.close()

    def write(self, row: object) -> None:
        """Append one row and flush it to the operating system."""
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
            progress.write_count(self._path, os.fstat(self._file.fileno()).st_size, self._rows)


def write_rows(path: Path, rows: Iterable[Any]) -> int:
    """Write a file of rows atomically, one row at a time. Return the number of rows."""
    count = 0
    with atomic_write(path) as file:
        for row in rows:
            file.write(f"{to_json(row)}\n".encode("utf-8", errors="backslashreplace"))
            count += 1
    return count


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file by atomic rename."""
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file by atomic rename."""
    with atomic_write(path) as file:
        file.write(data)
