"""Prompts from the user's files (`prompts.source: files`): another slice of them in every iteration."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from srlm.errors import InputError
from srlm.native import normal_keys
from srlm.rows.json_lines import read_objects
from srlm.rows.records import Prompt, content_id, derived_seed
from srlm.rows.sources import data_file
from srlm.stages.prompt_sources import from_files
from srlm.stages.suppliers import RESPONSE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from srlm.config import PromptsSection
    from srlm.rows.records import Example

TEXT = "prompt"  # the column of the text
SEED = "seed"  # the name in `prompts.files` of the run's IFT examples


def read_prompt_files(names: Sequence[str], ift: Callable[[], Sequence[Example]]) -> list[Prompt]:
    """Read all prompts with their other columns; of rows that are the same, the first counts.

    `ift` returns the run's IFT examples, for the name `seed`.

    Raises:
        InputError: a file cannot be read, a row has no prompt, or a prompt appears twice with different columns.
    """
    found: dict[str, tuple[str, Prompt]] = {}
    for name in names:
        values = _seed_objects(ift()) if name == SEED else read_objects(data_file(name))
        for number, value in values:
            where = f"{name}, {'example' if name == SEED else 'line'} {number}"
            row = _prompt(value, where)
            first, other = found.setdefault(row.id, (where, row))
            if other.columns != row.columns:
                raise InputError(f"{where}: the same prompt as in {first}, with other columns; remove one of them")
    if not found:
        raise InputError(f"prompts.files ({', '.join(names)}): no prompts; use files of JSON lines with a `{TEXT}`")
    return [row for _, row in found.values()]


def _seed_objects(examples: Iterable[Example]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield examples of one turn as objects of a file of prompts; of examples with the same prompt, the first."""
    seen = set[str]()
    for number, row in enumerate(examples, 1):
        (text, *others), answer = [turn["content"] for turn in row.prompt], row.completion[-1]["content"]
        if not others and text not in seen:
            seen.add(text)
            yield number, {TEXT: text, RESPONSE: answer}


def content_ids(rows: Iterable[Prompt]) -> list[str]:
    """Return a hash of each row with its columns, which its id leaves out."""
    return [content_id("row", row.id, row.columns) for row in rows]


def _prompt(value: dict[str, Any], where: str) -> Prompt:
    text = value.get(TEXT)
    if not isinstance(text, str) or not text.strip():
        problem = (
            "is empty or not a string" if TEXT in value else f"is missing; the row has {', '.join(value) or 'none'}"
        )
        raise InputError(f"{where}: the column {TEXT!r} {problem}")
    columns = {name: column for name, column in value.items() if name != TEXT}
    return Prompt(content_id("prompt", text), text, "file", [], -1, columns=columns or None)


def slice_for(
    t: int, rows: Sequence[Prompt], prompts: PromptsSection, held_out: Collection[str], seed: int
) -> list[Prompt]:
    """Return the prompts of M_t's data (t from 2), none of which is used for another model unless all have been.

    Args:
        t: the model that is trained on the data.
        rows: the prompts of all files.
        prompts: the section, for the number of prompts.
        held_out: texts that are left out.
        seed: the run's seed, by which the prompts are shuffled.

    Raises:
        InputError: there are too few prompts.
    """
    taken = set(normal_keys(list(held_out)))
    keys = normal_keys([row.text for row in rows])
    usable = [row for row, key in zip(rows, keys, strict=True) if key not in taken]
    random.Random(derived_seed(seed, "prompt files")).shuffle(usable)
    count = from_files(prompts)
    start = (t - 2) * count
    check_count(len(usable), count, start + count, prompts)
    return [usable[index % len(usable)] for index in range(start, start + count)]


def check_count(usable: int, count: int, needed: int, prompts: PromptsSection) -> None:
    """Check that there are enough prompts for an iteration, and for all iterations up to it.

    Raises:
        InputError: there are not.
    """
    if usable < (count if prompts.cycle else needed):
        raise InputError(
            f"prompts.files ({', '.join(prompts.files)}): {usable} prompts that are not held out, and {needed} are "
            "needed; lower prompts.count or iterations, raise prompts.self_instruct_share, or "
            + ("add prompts" if prompts.cycle else "set prompts.cycle=true to use prompts again")
        )
