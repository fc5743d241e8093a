"""Held-out prompts for head-to-head comparisons, none of which is in the training data.

They come from the user's files, or else are the prompts whose ranked answers are held out for judge evaluation. Prompts
that also occur in the IFT data, or with ranked answers that the judge is trained on, are removed.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

from srlm.errors import InputError
from srlm.native import normal_keys
from srlm.rows.json_lines import parse_values, read_bytes
from srlm.rows.records import Prompt, content_id, derived_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from srlm.config import HeadToHeadSection
    from srlm.rows.records import Example, RankedAnswers

FIELDS = ("prompt", "instruction", "question", "text", "turns")


def held_out_prompts(
    head_to_head: HeadToHeadSection,
    valid: Sequence[RankedAnswers],
    *,
    ift: Sequence[Example],
    ranked: Sequence[RankedAnswers],
    seed: int,
) -> list[Prompt]:
    """Return at most `head_to_head.prompts` prompts, sampled with the seed.

    Args:
        head_to_head: the source files and the maximum number of prompts.
        valid: the held-out ranked answers.
        ift: the IFT examples of the training data.
        ranked: the ranked answers of the training data.
        seed: the seed of the sample.

    Raises:
        InputError: a file cannot be read, or contains rows that are not prompts.
    """
    if head_to_head.prompts == 0:
        return []
    given = [text for name in head_to_head.prompt_files for text in read_prompts(Path(name))]
    texts = given or [row.prompt for row in valid]
    trained = set(normal_keys([*(row.prompt[-1]["content"] for row in ift), *(row.prompt for row in ranked)]))
    by_key = dict(zip(reversed(normal_keys(texts)), reversed(texts), strict=True))  # the first of equal texts wins
    fresh = [text for key, text in reversed(by_key.items()) if key not in trained]
    limit = head_to_head.prompts
    indices = list(range(len(fresh)))
    if limit < len(fresh):
        indices = sorted(random.Random(derived_seed(seed, "held out")).sample(indices, limit))
    return [Prompt(content_id("prompt", fresh[index]), fresh[index], "seed", [], -1) for index in indices]


def read_prompts(path: Path) -> list[str]:
    """Read prompts from a JSON list or JSON lines; each is a string, or an object with one of `FIELDS`.

    Of several `turns` (as in MT-Bench) only the first is used.

    Raises:
        InputError: the file cannot be read, or a row has no prompt.
    """
    values = parse_values(read_bytes(path), str(path))
    if not values:
        raise InputError(f"{path}: contains no prompts; use another file")
    return [_text(value, where) for where, value in values]


def _text(value: object, where: str) -> str:
    if isinstance(value, dict):
        field = next((name for name in FIELDS if name in value), None)
        if field is None:
            raise InputError(f"{where}: no prompt; expected one of the fields {', '.join(FIELDS)}")
        value = value[field]
        if field == "turns" and isinstance(value, list) and value:
            value = value[0]
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: the prompt is empty or not a string")
    return value
