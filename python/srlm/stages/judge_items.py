"""The answers that a judge scores, with their prompts' texts."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srlm.errors import InputError
from srlm.rows.growing_file import GrowingFile
from srlm.rows.ids import IdIndex, id_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from srlm.rows.records import Candidate, Prompt

CACHED = 1024  # texts of prompts; the candidates of a prompt are mostly adjacent


@dataclass(frozen=True, slots=True)
class JudgeItem:
    """An answer to judge; `id` becomes the verdict's candidate_id."""

    id: str
    prompt: str
    response: str


class CandidateItems:
    """Candidates with their prompts' texts. Prompts are looked up lazily, so they may be on disk (`RowFile`).

    Either file may still grow; a None among the candidates is passed on.
    """

    def __init__(self, prompts: Sequence[Prompt] | GrowingFile[Prompt], candidates: Iterable[Candidate | None]) -> None:
        self._candidates = candidates
        self._text = _growing_texts(prompts) if isinstance(prompts, GrowingFile) else _texts(prompts)

    def __iter__(self) -> Iterator[JudgeItem | None]:
        for row in self._candidates:
            if row is None:
                yield None
                continue
            if not row.text.strip() and row.thought is not None:
                continue  # it never came to an answer, so there is nothing to judge
            text = self._text(row.prompt_id)
            if text is None:
                raise InputError(f"candidate {row.id}: its prompt {row.prompt_id} is not in the file of prompts")
            yield JudgeItem(row.id, text, row.text)


def _texts(prompts: Sequence[Prompt]) -> Callable[[str], str | None]:
    """Return a function from a prompt's id to its text."""
    ids = IdIndex.of(prompt.id for prompt in prompts)
    text = functools.lru_cache(CACHED)(lambda index: prompts[index].text)

    def find(prompt_id: str) -> str | None:
        index = ids.index(prompt_id)
        return None if index is None else text(index)

    return find


def _growing_texts(prompts: GrowingFile[Prompt]) -> Callable[[str], str | None]:
    """Return a function from a prompt's id to its text, which reads on in the file for one that it does not know."""
    offsets: dict[int, int] = {}  # of each prompt read so far, by the number of its id
    unread = prompts.with_offsets()
    text = functools.lru_cache(CACHED)(lambda offset: prompts.at(offset).text)

    def find(prompt_id: str) -> str | None:
        number = id_number(prompt_id)
        while number not in offsets:
            found = next(unread, None)
            if found is None:
                return None
            offsets.setdefault(id_number(found[1].id), found[0])
        return text(offsets[number])

    return find
