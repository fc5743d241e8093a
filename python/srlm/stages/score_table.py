"""Candidates and what their verdicts say as columns: all that pairs, gates and the closing table ask of an iteration.

Files of a million answers are read once, row by row; what stays of an answer is some 70 bytes, and neither its text nor
its tokens. The text is there as a number of its hash, by which answers to a prompt are told apart.
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
from srlm.rows.ids import Ids, id_number
from srlm.stages.judge import OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from srlm.rows.records import Candidate, Prompt, Verdict

# What Rust takes for white space around a text: Unicode's White_Space, where `str.strip` takes \x1c to \x1f as well.
WHITE_SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


@dataclass(frozen=True, slots=True)
class Answers:
    """The columns of candidates, in the order of their rows."""

    ids: Ids  # [C]
    prompt: NDArray[np.int64]  # [C] index of the prompt
    text: NDArray[np.uint64]  # [C] equal for texts that are equal but for white space around them
    blank: NDArray[np.bool_]  # [C] whether the text is nothing but white space
    cut_off: NDArray[np.bool_]  # [C]
    length: NDArray[np.int64]  # [C] in tokens
    prompts: int  # P, also those without an answer


@dataclass(frozen=True, slots=True)
class Scores:
    """What the verdicts say: of each candidate, and in all."""

    sampled: NDArray[np.float64]  # [C] mean of the written scores, NaN without a scored verdict
    expected: NDArray[np.float64]  # [C] mean of the expected scores, NaN where there is none
    order: NDArray[np.int64]  # [J] the candidates that have a verdict, in the order of their first one
    outcomes: dict[str, int]
    written: Counter[float]  # how often each score was written

    def by(self, score: Literal["sampled", "expected"]) -> NDArray[np.float64]:
        """Return the mean scores that `judge.score` names: [C]."""
        return self.expected if score == "expected" else self.sampled

    def means(self, score: Literal["sampled", "expected"]) -> NDArray[np.float64]:
        """Return those of the different candidates that have one, in the order of their first verdicts."""
        found = self.by(score)[self.order]
        return found[~np.isnan(found)]


def read_answers(prompts: Sequence[Prompt], candidates: Sequence[Candidate]) -> Answers:
    """Bring candidates into columns.

    Raises:
        InputError: a candidate's prompt is not among the prompts.
    """
    places = Ids.of(row.id for row in prompts)
    ids, asked, text, length = array("Q"), array("Q"), array("Q"), array("q")
    blank, cut_off = bytearray(), bytearray()
    for row in candidates:
        ids.append(id_number(row.id))
        asked.append(id_number(row.prompt_id))
        text.append(_text_number(row.text))
        length.append(len(row.token_ids))
        blank.append(not row.text.strip())
        cut_off.append(row.finish_reason != "stop")
    prompt = places.places(np.array(asked))
    if (prompt < 0).any():
        row = candidates[int(prompt.argmin())]
        raise InputError(f"candidate {row.id}: its prompt {row.prompt_id} is not in the file of prompts")
    return Answers(
        ids=Ids(np.array(ids)),
        prompt=prompt,
        text=np.array(text),
        blank=np.array(blank, dtype=np.bool_),
        cut_off=np.array(cut_off, dtype=np.bool_),
        length=np.array(length),
        prompts=len(places),
    )


def read_scores(answers: Answers, verdicts: Sequence[Verdict]) -> Scores:
    """Average the verdicts on each candidate; candidates that share an id share their verdicts.

    Raises:
        InputError: a verdict's candidate is not among the candidates.
    """
    judged, score, expected = array("Q"), array("d"), array("d")
    outcomes, written = dict.fromkeys(OUTCOMES, 0), Counter[float]()
    for row in verdicts:
        judged.append(id_number(row.candidate_id))
        scored = row.outcome == "scored"
        score.append(math.nan if row.score is None or not scored else row.score)
        expected.append(math.nan if row.expected_score is None or not scored else row.expected_score)
        outcomes[row.outcome] += 1
        if row.score is not None:
            written[row.score] += 1
    place = answers.ids.places(np.array(judged))  # [V]
    if (place < 0).any():
        orphan = verdicts[int(place.argmin())]
        raise InputError(f"verdict {orphan.id}: its candidate {orphan.candidate_id} is not in the candidates")
    first = answers.ids.places(answers.ids.numbers)  # [C] the first candidate with this id
    sampled, means = (mean_scores(place, np.array(some), candidates=len(first))[0][first] for some in (score, expected))
    begins = np.unique(place, return_index=True)[1]  # [J] the first verdict on each candidate
    return Scores(sampled, means, place[np.sort(begins)], outcomes, written)


def text_numbers(answers: Answers) -> list[str]:
    """Return for each answer the number of its text among those of its prompt, as a string: what Rust compares.

    The strings are shared, so the list takes 8 bytes an answer. Two of the few answers to one prompt have the same
    64 bits of a hash without being equal once in 10**18 prompts.
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


def _text_number(text: str) -> int:
    """Return 64 bits of a hash; as in Rust a lone surrogate counts as one `?`."""
    data = text.strip(WHITE_SPACE).encode("utf-8", errors="replace")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
