"""LLM-as-a-Judge: M_t scores answers with an additive prompt of five points (paper, section 2.2 and figure 2).

The judge's reply is read by `srlm._native.parse_verdicts`; what holds no readable score counts as no number at all.
Left out: the paper's multiple-choice prompt, which it found worse; any other wording is `judge.prompt_file`.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from srlm.engines.base import Request, Sampling
from srlm.errors import InputError
from srlm.models import chat
from srlm.native import expected_scores, parse_verdicts
from srlm.native import mean_scores as native_mean_scores
from srlm.rows.ids import Ids
from srlm.rows.json_lines import reason_of
from srlm.rows.records import RowWriter, Verdict, content_id, derived_seed, resume_iter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from srlm.config import JudgeSection
    from srlm.engines.base import Completion, Engine
    from srlm.reporter import Reporter
    from srlm.rows.records import Candidate, Outcome, Prompt

FIELDS = ("{prompt}", "{response}")
CLOSING = re.compile(r"</([A-Za-z][\w.-]*)>")
OPENERS = "<\uff1c\ufe64\u2039\u27e8\u3008"  # what reads as "<": full-width and small ones, and other brackets
# What takes no room on a screen: soft hyphen, marks of direction, zero-width spaces and joiners, variation selectors.
UNSEEN = "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff]"
OPENING = "Score: "
OUTCOMES = ("scored", "missing", "out_of_range", "conflicting")


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer to judge; `id` becomes the verdict's candidate_id."""

    id: str
    prompt: str
    response: str


def read_template(judge: JudgeSection) -> str:
    """Return the judge prompt: the packaged wording or the user's file.

    Raises:
        InputError: the file cannot be read or lacks one of the fields {prompt} and {response}.
    """
    if judge.prompt_file is None:
        name = "judge_prompt.txt" if judge.justify else "judge_prompt_direct.txt"
        return (resources.files("srlm") / "data" / name).read_text(encoding="utf-8").strip()
    return read_prompt_file("judge.prompt_file", judge.prompt_file, FIELDS)


def read_prompt_file(key: str, name: str, fields: tuple[str, ...]) -> str:
    """Return the text of a prompt file that `key` of the configuration names.

    Raises:
        InputError: it cannot be read, or does not hold each field exactly once.
    """
    try:
        text = Path(name).read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{key} {name!r}: cannot be read: not UTF-8 ({error.reason}); save it as UTF-8") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{key} {name!r}: cannot be read: {reason_of(error)}; name another file") from error
    for field in fields:
        if text.count(field) != 1:
            raise InputError(
                f"{key} {name!r}: the field {field} occurs {text.count(field)} times; it must occur exactly once"
            )
    return text


def check(judge: JudgeSection) -> None:
    """Check, before anything is loaded, that the judge prompt and the score pattern can work.

    Raises:
        InputError: see `read_template`, or the pattern is no regular expression with a group `score`.
    """
    read_template(judge)
    try:
        parse_verdicts([], max_score=judge.max_score, pattern=judge.score_pattern)
    except ValueError as error:
        raise InputError(f"judge.score_pattern: {error}") from error


def fill(template: str, prompt: str, response: str) -> str:
    """Put a question and an answer into the judge prompt (see `fill_fields`)."""
    return fill_fields(template, dict(zip(FIELDS, (prompt, response), strict=True)))


def fill_fields(template: str, values: Mapping[str, str]) -> str:
    """Put texts into a prompt's fields, in one pass: braces and field names inside a text stay text.

    A tag inside a text that looks like one of the template's own blocks, `</response>`, is made harmless (its `<`
    becomes `&lt;`), so that no text can leave the block it stands in or open another one.
    """
    blocks = _blocks(template)
    if blocks is not None:
        values = {field: blocks.sub("&lt;", text) for field, text in values.items()}
    return re.sub("|".join(map(re.escape, values)), lambda match: values[match[0]], template)


@functools.lru_cache(maxsize=64)
def _blocks(template: str) -> re.Pattern[str] | None:
    """Return what opens or closes one of a template's blocks, up to its `<`: however it is spaced or written."""
    names = {name.lower() for name in CLOSING.findall(template)}
    if not names:
        return None
    spelt = "|".join(f"{UNSEEN}*".join(map(re.escape, name)) for name in sorted(names))
    return re.compile(rf"[{OPENERS}](?=(?:\s|{UNSEEN}|[/\\\uff0f\u2044\u2215])*(?:{spelt})(?!\w))", re.IGNORECASE)


def write_verdicts(
    engine: Engine,
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    file: Path,
    *,
    judge: JudgeSection,
    seed: int,
    report: Reporter,
) -> None:
    """Append the verdicts that `file` still lacks: `judge.samples` for every candidate.

    Raises:
        InputError: a candidate's prompt is not among `prompts`.
    """
    answers = _Answers(prompts, candidates)
    judge_answers(engine, answers, file, judge=judge, seed=seed, report=report, stage="verdicts")


class _Answers:
    """Candidates with their prompts' texts. Prompts are looked up as they are needed, so they may lie in a file."""

    def __init__(self, prompts: Sequence[Prompt], candidates: Iterable[Candidate]) -> None:
        self._ids, self._candidates = Ids.of(prompt.id for prompt in prompts), candidates
        # Candidates of a prompt mostly stand together.
        self._text = functools.lru_cache(maxsize=1024)(lambda place: prompts[place].text)

    def __iter__(self) -> Iterator[Judged]:
        for row in self._candidates:
            place = self._ids.place(row.prompt_id)
            if place is None:
                raise InputError(f"candidate {row.id}: its prompt {row.prompt_id} is not in the file of prompts")
            yield Judged(row.id, self._text(place), row.text)


def judge_answers(
    engine: Engine,
    answers: Sequence[Judged] | _Answers,
    file: Path,
    *,
    judge: JudgeSection,
    seed: int,
    report: Reporter,
    stage: str,
) -> None:
    """Append to `file` the verdicts on `answers` that it still lacks.

    The answers are gone through twice, and not held; an answer that is there twice is judged once.
    """
    samples = judge.samples if judge.justify else 1  # one token read greedily: more samples would be the same
    ids = Ids.of(answer.id for answer in answers)
    wanted = np.repeat(ids.first[:, None], samples, axis=1)  # [A, K]
    rows, done = _mark_done(resume_iter(file, Verdict, report), ids, wanted)
    report.start(stage, int(wanted.sum()) + done, done)
    reader = Reader(engine.tokenizer, judge)
    template = read_template(judge)
    requests = (
        Request(
            f"{answer.id}.{sample}",
            asked,
            reader.sampling,
            derived_seed(seed, "verdict", answer.id, sample),
        )
        for answer, marks in zip(answers, wanted, strict=True)
        if marks.any()
        for asked in [reader.request_ids(fill(template, answer.prompt, answer.response))]
        for sample in np.flatnonzero(marks).tolist()
    )
    with RowWriter(file, rows) as writer:
        for completion in engine.generate(requests):
            candidate_id, _, sample = completion.key.rpartition(".")
            writer.write(reader.verdict(completion, candidate_id, int(sample)))
            report.advance()


def _mark_done(rows: Iterable[Verdict], ids: Ids, wanted: NDArray[np.bool_]) -> tuple[int, int]:
    """Take what has a verdict out of `wanted` [A, K]; return how many rows there are, and how many different verdicts.

    Verdicts on other answers, or of further samples, count as done as well.
    """
    before, count = int(wanted.sum()), 0
    others: set[tuple[str, int]] = set()
    for row in rows:
        count += 1
        place = ids.place(row.candidate_id)
        if place is not None and 0 <= row.sample < wanted.shape[1]:
            wanted[place, row.sample] = False
        else:
            others.add((row.candidate_id, row.sample))
    return count, before - int(wanted.sum()) + len(others)


class Reader:
    """Asks one judge for a score and reads it from the reply."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, judge: JudgeSection) -> None:
        self._tokenizer, self._judge = tokenizer, judge
        self._digits = digit_tokens(tokenizer, judge.max_score)
        self._opening = "" if judge.justify else OPENING
        if not judge.justify and not self._digits:
            raise InputError(
                f"judge.justify=false needs a scale of whole digits and a tokenizer that has them as single tokens; "
                f"judge.max_score is {judge.max_score:g}; set judge.justify=true"
            )
        watch = tuple(self._digits)
        self.sampling = (
            Sampling(judge.temperature, judge.top_p, judge.max_tokens, watch=watch)
            if judge.justify
            else Sampling(0.0, 1.0, 1, watch=watch)
        )

    def request_ids(self, question: str) -> tuple[int, ...]:
        """Return the ids that the judge continues."""
        before = chat.prompt_ids(self._tokenizer, chat.user(question))
        if self._judge.justify:
            return before
        # Where a tokenizer joins the blank and the digit, the digit's token brings the blank with it.
        return (*before, *self._tokenizer(OPENING + "0", add_special_tokens=False)["input_ids"][:-1])

    def verdict(self, completion: Completion, candidate_id: str, sample: int) -> Verdict:
        """Read one reply."""
        text = (self._opening + completion.text.lstrip()) if self._opening else completion.text
        outcomes, scores, spans = parse_verdicts(
            [text], max_score=self._judge.max_score, pattern=self._judge.score_pattern
        )
        scored = outcomes[0] == "scored"
        return Verdict(
            id=content_id("verdict", candidate_id, sample, text),
            candidate_id=candidate_id,
            sample=sample,
            text=text,
            outcome=cast("Outcome", outcomes[0]),
            score=float(scores[0]) if scored else None,
            expected_score=self._expected(completion, int(spans[0, 0]) - len(self._opening)) if scored else None,
        )

    def _expected(self, completion: Completion, start: int) -> float | None:
        """Return the mean of the digits' distribution at the token that holds character `start` of the reply."""
        position = 0 if self._opening else token_at(self._tokenizer, completion.token_ids, start)
        if not self._digits or completion.token_ids[position] not in self._digits:
            return None  # a score in words, or on a scale that one token cannot hold
        return expected_score(completion.watched[position], list(self._digits.values()))


def digit_tokens(tokenizer: PreTrainedTokenizerBase, max_score: float) -> dict[int, int]:
    """Return {token id: digit} for the whole scores from 0 to `max_score`, with and without a leading blank.

    Empty if the scale does not end in a single digit or the tokenizer lacks one of them as a token of its own.
    """
    if not 1 <= max_score <= 9 or max_score != int(max_score):
        return {}
    found: dict[int, int] = {}
    for digit in range(int(max_score) + 1):
        encoded = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (f"{digit}", f" {digit}")]
        single = [ids[0] for ids in encoded if len(ids) == 1]
        if not single:
            return {}
        found |= dict.fromkeys(single, digit)
    return found


def expected_score(logps: Sequence[float], digits: Sequence[int]) -> float:
    """Return sum(d p(d)) / sum(p(d)) over the digits, from their log-probabilities in nats."""
    return float(expected_scores(np.array([logps], dtype=np.float64), np.array(digits, dtype=np.float64))[0])


def token_at(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int], start: int) -> int:
    """Return the index of the token that holds character `start` of the decoded text."""
    low, high = 0, len(token_ids) - 1
    while low < high:
        middle = (low + high) // 2
        if len(tokenizer.decode(token_ids[: middle + 1], skip_special_tokens=True)) > start:
            high = middle
        else:
            low = middle + 1
    return low


def mean_scores(verdicts: Sequence[Verdict], *, expected: bool) -> dict[str, float]:
    """Return candidate id -> mean over its scored verdicts, of the expected or of the written scores."""
    number = {key: index for index, key in enumerate(dict.fromkeys(row.candidate_id for row in verdicts))}
    given = ((row.expected_score if expected else row.score) if row.outcome == "scored" else None for row in verdicts)
    score = np.array([np.nan if value is None else value for value in given], dtype=np.float64)  # [V]
    judged = np.array([number[row.candidate_id] for row in verdicts], dtype=np.int64)  # [V]
    means, counts = native_mean_scores(judged, score, candidates=len(number))
    return {key: float(means[index]) for key, index in number.items() if counts[index]}


def count_outcomes(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """Return how many verdicts had each outcome, zeros included."""
    counts = dict.fromkeys(OUTCOMES, 0)
    for row in verdicts:
        counts[row.outcome] += 1
    return counts
