"""Rows of answers that M_t's engine does not sample: another model's, and a human's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from srlm.models import chat
from srlm.rows.ids import IdIndex
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import Candidate, content_id
from srlm.stages.suppliers import human_answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from srlm.rows.records import Prompt
    from srlm.stages.suppliers import Slots


class SuppliedAnswers:
    """The answers of `suppliers.model`, a file of candidates with indices from 0, of which none is kept in memory."""

    def __init__(self, file: Path, *, keeps_tokens: bool) -> None:
        """`keeps_tokens`: whether the model has the run's tokenizer; else its answers are tokenized again."""
        self._rows = RowFile(file, Candidate)
        self._places = IdIndex.of(_place(row.prompt_id, row.index) for row in self._rows)
        self._keeps_tokens = keeps_tokens

    def row(self, prompt: Prompt, index: int, place: int, tokenizer: PreTrainedTokenizerBase) -> Candidate | None:
        """Return the answer at `place` as the candidate at `index`; None: the model gave none."""
        found = self._places.index(_place(prompt.id, place))
        if found is None:
            return None
        row = self._rows[found]
        row = replace(row, id=content_id("candidate", prompt.id, index, row.text), index=index)
        if self._keeps_tokens:
            return row
        token_ids = answer_ids(tokenizer, prompt, row.text)
        return replace(row, token_ids=token_ids, logprob=None, answer_tokens=None)


def model_ids(supplied: Iterable[Candidate], slots: Slots) -> Iterator[str]:
    """Yield the ids that the answers of `suppliers.model` have among the candidates."""
    for row in supplied:
        yield content_id("candidate", row.prompt_id, slots.sampled + row.index, row.text)


def human_ids(prompts: Iterable[Prompt], slots: Slots) -> Iterator[str]:
    """Yield the ids that the human answers in the prompts' rows have among the candidates."""
    for row in prompts if slots.human else ():
        text = human_answer(row)
        if text is not None:
            yield content_id("candidate", row.id, slots.sampled + slots.model, text)


def human_row(prompt: Prompt, index: int, tokenizer: PreTrainedTokenizerBase) -> Candidate | None:
    """Return the human answer of a prompt's row as a candidate, or None if it has none."""
    text = human_answer(prompt)
    if text is None:
        return None
    token_ids = answer_ids(tokenizer, prompt, text)
    name = content_id("candidate", prompt.id, index, text)
    return Candidate(name, prompt.id, index, text, token_ids, None, "stop", 0, source="human")


def answer_ids(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, text: str) -> list[int]:
    """Return the ids of an answer's text as it is trained on, with the end token."""
    return chat.completion_ids(tokenizer, chat.user(prompt.text), chat.assistant(text))


def _place(prompt_id: str, index: int) -> str:
    return f"{prompt_id}.{index}"
