"""Candidates and their scores as columns: the data of an iteration that pairs, gates and the summary table need.

Files of a million answers are read once, row by row. About 80 bytes per answer stay in memory, without its text and
tokens. The text is kept as a 64-bit hash, to compare answers to the same prompt.

Stages write rows in the order in which requests finish, which no two runs share. The columns are therefore sorted: by
the position of the prompt in its file, then by the index of the answer. Means do not depend on the order of the
verdicts either (see `srlm.native.mean_scores`), so whatever is computed from the columns depends on the rows alone.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from srlm.errors import InputError
from srlm.native import mean_scores
from srlm.rows.ids import IdIndex, id_number
from srlm.stages.judge import OUTCOMES
from srlm.stages.suppliers import SOURCES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from srlm.rows.records import Candidate, Prompt, Score, Verdict

    _Ints = NDArray[np.int64]

# White space as Rust's `trim` defines it: Unicode's White_Space. Python's `str.strip` also removes \x1c to \x1f.
WHITE_SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


@dataclass(frozen=True, slots=True)
class Answers:
    """The columns of candidates, sorted by prompt, then by index, then by id."""

    ids: IdIndex  # [C]
    row: NDArray[np.int64]  # [C] position among the given candidates
    prompt: NDArray[np.int64]  # [C] index of the prompt
    text: NDArray[np.uint64]  # [C] hash of the text without surrounding white space
    blank: NDArray[np.bool_]  # [C] whether the text is empty or white space only
    cut_off: NDArray[np.bool_]  # [C]
    length: NDArray[np.int64]  # [C] in tokens
    prompts: int  # P, including prompts without an answer
    source: NDArray[np.uint8]  # [C] index in `SOURCES`

    @property
    def own(self) -> NDArray[np.bool_]:
        """Whether M_t sampled the answer with the settings of `candidates`: [C]."""
        return self.source == SOURCES.index("own")


@dataclass(frozen=True, slots=True)
class Scores:
    """What a signal says of the candidates: the columns that pairs, gates and reports read, and statistics."""

    score: NDArray[np.float64]  # [C] NaN: no score
    judged: NDArray[np.int64]  # [J] the candidates with a row, ascending; one of those that share an id
    outcomes: dict[str, int]  # number of rows by outcome, with `scored` and `missing` among them
    written: Counter[float]  # number of rows with each score as it was given
    max_score: float | None  # None: unknown
    winner: NDArray[np.bool_]  # [C] whether the answer is one that supervised fine-tuning may learn from
    tie_break: NDArray[np.float64] | None = None  # [C] NaN: none
    may_be_chosen: NDArray[np.bool_] | None = None  # [C] None: every answer may
    may_be_rejected: NDArray[np.bool_] | None = None  # [C] None: every answer may
    final: list[str | None] | None = None  # [C] final answers; None: not read
    confidence: NDArray[np.float64] | None = None  # [P] probability that a prompt's pairs are right; None: 1

    def means(self, of: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """Return the scores of the distinct scored candidates, or of some of them [C], in the order of the columns."""
        found = self.score[self.judged if of is None else self.judged[of[self.judged]]]
        return found[~np.isnan(found)]


def read_answers(prompts: Sequence[Prompt], candidates: Sequence[Candidate]) -> Answers:
    """Convert candidates to columns, sorted as in `Answers`, whatever the order of `candidates`.

    Raises:
        InputError: a candidate's prompt is not among the prompts.
    """
    prompt_index = IdIndex.of(row.id for row in prompts)
    ids, prompt_ids, number, text, length = array("Q"), array("Q"), array("q"), array("Q"), array("q")
    blank, cut_off, source = bytearray(), bytearray(), bytearray()
    for row in candidates:
        ids.append(id_number(row.id))
        prompt_ids.append(id_number(row.prompt_id))
        number.append(row.index)
        text.append(_text_hash(row.text))
        length.append(len(row.token_ids) if row.answer_tokens is None else row.answer_tokens)
        blank.append(not row.text.strip())
        cut_off.append(row.finish_reason != "stop")
        source.append(SOURCES.index(row.source))
    prompt = prompt_index.indices(np.array(prompt_ids))
    if (prompt < 0).any():
        row = candidates[int(prompt.argmin())]
        raise InputError(f"candidate {row.id}: its prompt {row.prompt_id} is not in the file of prompts")
    order = np.lexsort((np.array(ids), np.array(number), prompt))  # [C]
    return Answers(
        ids=IdIndex(np.array(ids)[order]),
        row=order,
        prompt=prompt[order],
        text=np.array(text)[order],
        blank=np.array(blank, dtype=np.bool_)[order],
        cut_off=np.array(cut_off, dtype=np.bool_)[order],
        length=np.array(length)[order],
        prompts=len(prompt_index),
        source=np.array(source, dtype=np.uint8)[order],
    )


def read_verdicts(
    answers: Answers, verdicts: Sequence[Verdict], *, score: Literal["sampled", "expected"], max_score: float
) -> Scores:
    """Average the judge's verdicts on each candidate; candidates that share an id share their verdicts.

    `score` is `judge.score`, which selects the means that pairs are selected by; the expected ones break ties.

    Raises:
        InputError: a verdict's candidate is not among the candidates.
    """
    judged, sampled, expected = array("Q"), array("d"), array("d")
    outcomes, written = dict.fromkeys(OUTCOMES, 0), Counter[float]()
    for row in verdicts:
        judged.append(id_number(row.candidate_id))
        scored = row.outcome == "scored"
        sampled.append(math.nan if row.score is None or not scored else row.score)
        expected.append(math.nan if row.expected_score is None or not scored else row.expected_score)
        outcomes[row.outcome] += 1
        if row.score is not None:
            written[row.score] += 1
    index = _candidates(answers, judged, verdicts, "verdict")  # [V]
    first = answers.ids.indices(answers.ids.numbers)  # [C] the first candidate with this id
    means = [mean_scores(index, np.array(some), candidates=len(first))[0][first] for some in (sampled, expected)]
    found = means[score == "expected"]
    return Scores(
        score=found,
        judged=np.unique(index),
        outcomes=outcomes,
        written=Counter(dict(sorted(written.items()))),
        max_score=max_score,
        winner=found >= max_score,
        tie_break=means[1],
    )


def read_scores(answers: Answers, rows: Sequence[Score], *, max_score: float | None) -> Scores:
    """Return the columns of a signal that scores each candidate once; the best answers of a prompt are its winners.

    Raises:
        InputError: a score's candidate is not among the candidates.
    """
    ids, score, tie_break = array("Q"), array("d"), array("d")
    outcomes, written = {"scored": 0, "missing": 0}, Counter[float]()
    final: list[str | None] = []
    for row in rows:
        ids.append(id_number(row.candidate_id))
        score.append(math.nan if row.score is None else row.score)
        tie_break.append(math.nan if row.tie_break is None else row.tie_break)
        final.append(row.answer)
        outcomes["missing" if row.score is None else "scored"] += 1
        if row.score is not None:
            written[row.score] += 1
    final.append(None)  # of a candidate without a row, at position -1
    index = _candidates(answers, ids, rows, "score")  # [S]
    position = np.full(len(answers.length), -1)  # [C] the row of each candidate
    position[index] = np.arange(len(index))
    position = position[answers.ids.indices(answers.ids.numbers)]  # those that share an id share their score
    columns = [np.append(some, math.nan)[position] for some in (score, tie_break)]  # [C] each
    return Scores(
        score=columns[0],
        judged=np.unique(index),
        outcomes=outcomes,
        written=Counter(dict(sorted(written.items()))),
        max_score=max_score,
        winner=_best_of_prompts(answers.prompt, columns[0], answers.prompts),
        tie_break=columns[1],
        final=[final[at] for at in position.tolist()],
    )


def scores_of(
    answers: Answers,
    score: NDArray[np.float64],
    *,
    max_score: float | None,
    tie_break: NDArray[np.float64] | None = None,
    confidence: NDArray[np.float64] | None = None,
) -> Scores:
    """Return the columns of a signal that computes the scores [C] of all candidates; NaN: no score."""
    first = np.unique(answers.ids.indices(answers.ids.numbers))  # one of those that share an id
    known = first[~np.isnan(score[first])]
    return Scores(
        score=score,
        judged=known,
        outcomes={"scored": len(known), "missing": len(first) - len(known)},
        written=Counter(sorted(score[known].tolist())),
        max_score=max_score,
        winner=_best_of_prompts(answers.prompt, score, answers.prompts),
        tie_break=tie_break,
        confidence=confidence,
    )


def _candidates(answers: Answers, ids: array[int], rows: Sequence[Verdict] | Sequence[Score], kind: str) -> _Ints:
    index = answers.ids.indices(np.array(ids, dtype=np.uint64))
    if (index < 0).any():
        orphan = rows[int(index.argmin())]
        raise InputError(f"{kind} {orphan.id}: its candidate {orphan.candidate_id} is not in the file of candidates")
    return index


def _best_of_prompts(prompt: _Ints, score: NDArray[np.float64], prompts: int) -> NDArray[np.bool_]:
    best = np.full(prompts, -math.inf)  # [P]
    np.maximum.at(best, prompt, np.where(np.isnan(score), -math.inf, score))
    winner: NDArray[np.bool_] = score >= best[prompt]
    return winner


def text_keys(answers: Answers) -> list[str]:
    """Return for each answer the index of its text among the distinct texts of its prompt, as a string for Rust.

    The strings are shared, so the list takes 8 bytes per answer. A hash collision between the few answers to one prompt
    happens about once in 10**18 prompts.
    """
    order = np.lexsort((answers.text, answers.prompt))  # [C]
    prompt, text = answers.prompt[order], answers.text[order]
    new_prompt = np.diff(prompt, prepend=-1) != 0  # [C]
    new_text = new_prompt | np.concatenate([[True], text[1:] != text[:-1]])[: len(text)]
    count = np.cumsum(new_text)  # [C]
    number = np.empty(len(order), dtype=np.int64)
    number[order] = count - np.maximum.accumulate(np.where(new_prompt, count, 0))
    names = [str(value) for value in range(int(number.max(initial=-1)) + 1)]
    return [names[value] for value in number]


def _text_hash(text: str) -> int:
    """Return a 64-bit hash; as in Rust, a lone surrogate counts as one `?`."""
    data = text.strip(WHITE_SPACE).encode("utf-8", errors="replace")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
