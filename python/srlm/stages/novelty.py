"""Which prompts a new one must differ from: seed prompts, those of earlier iterations, held-out prompts, and those that
the same stage has kept.

Without the earlier ones, each iteration could train on the prompts of the previous one again; without the held-out
ones, models could be trained on the prompts that they are evaluated on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from srlm.native import NoveltyIndex, normal_keys
from srlm.rows.json_lines import iter_objects
from srlm.rows.records import Prompt, RankedAnswers, content_id, row_from_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from srlm.config import PromptsSection

# The reason why a prompt is dropped, by what it is too similar to.
SEED_OR_NEW, EARLIER, HELD_OUT = "not_novel", "not_novel_earlier", "not_novel_held_out"
REASONS = (SEED_OR_NEW, EARLIER, HELD_OUT)


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file of prompts, or of ranked answers to prompts, and the reason for dropping a prompt like one of them."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class KnownPrompt:
    """A prompt that new ones must differ from, and the reason for dropping a prompt like it."""

    id: str
    text: str
    reason: str


def read_known(files: Iterable[KnownFile]) -> list[KnownPrompt]:
    """Read rows of `Prompt` or `RankedAnswers`; the latter get the id that a prompt of this text has.

    Raises:
        InputError: a file cannot be read, or a row is neither.
    """
    found = []
    for file in files:
        for number, value in iter_objects(file.path):
            where = f"{file.path}, line {number}"
            if "answers" in value:
                text = row_from_json(value, RankedAnswers, where).prompt
                found.append(KnownPrompt(content_id("prompt", text), text, file.reason))
            else:
                row = row_from_json(value, Prompt, where)
                found.append(KnownPrompt(row.id, row.text, file.reason))
    return found


class Novelty:
    """The prompts so far, and the Rust index that finds the most similar one."""

    def __init__(
        self, seeds: Sequence[Prompt], known: Sequence[KnownPrompt], kept: Sequence[Prompt], prompts: PromptsSection
    ) -> None:
        self._rows = [*_as_known(seeds), *known, *_as_known(kept)]
        self._limit = prompts.max_rouge_l
        keys = normal_keys([row.text for row in self._rows])
        # Repeats are found by their normalised text, as some tokenizers see no word in them; the first one counts.
        self._repeats = dict(zip(reversed(keys), reversed(self._rows), strict=True))
        self._index = NoveltyIndex(words=prompts.rouge_tokenizer)
        self._index.add_all([row.text for row in self._rows])

    def add(self, prompt: Prompt) -> tuple[str, float, str] | None:
        """Add a prompt and return None; if it is too similar to one, return (reason, similarity, its id) instead."""
        [key] = normal_keys([prompt.text])
        if key in self._repeats:
            repeated = self._repeats[key]
            return repeated.reason, 1.0, repeated.id
        kept, similarity, nearest = self._index.add_novel([prompt.text], self._limit)
        if not kept[0]:
            near = self._rows[nearest[0]]
            return near.reason, float(similarity[0]), near.id
        [row] = _as_known([prompt])
        self._rows.append(row)
        self._repeats[key] = row
        return None


def _as_known(rows: Sequence[Prompt]) -> list[KnownPrompt]:
    return [KnownPrompt(row.id, row.text, SEED_OR_NEW) for row in rows]
