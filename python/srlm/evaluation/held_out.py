"""The prompts that models are compared on: none of them is in the seed that is trained on.

They come from files of the user's, or are those whose ranked answers are held out for the judge. What is also a prompt
of IFT, or of the ranked answers that teach the judge, is left out.
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
    """Return at most `head_to_head.prompts` prompts, drawn by the seed.

    Args:
        head_to_head: where they come from, and how many.
        valid: the ranked answers that are held out.
        ift: instruction examples that are trained on.
        ranked: ranked answers that are trained on.
        seed: what the draw follows from.

    Raises:
        InputError: a file cannot be read, or holds something else than prompts.
    """
    if head_to_head.prompts == 0:
        return []
    given = [text for name in head_to_head.prompt_files for text in read_prompts(Path(name))]
    texts = given or [row.prompt for row in valid]
    trained = set(normal_keys([*(row.prompt[-1]["content"] for row in ift), *(row.prompt for row in ranked)]))
    by_key = dict(zip(reversed(normal_keys(texts)), reversed(texts), strict=True))  # the first of equal ones stays
    fresh = [text for key, text in reversed(by_key.items()) if key not in trained]
    limit = head_to_head.prompts
    places = list(range(len(fresh)))
    if limit < len(fresh):
        places = sorted(random.Random(derived_seed(seed, "held out")).sample(places, limit))
    return [Prompt(content_id("prompt", fresh[place]), fresh[place], "seed", [], -1) for place in places]


def read_prompts(path: Path) -> list[str]:
    """Read prompts: a JSON list, or one JSON value a line; a string, or an object with one of `FIELDS`.

    Of several `turns` (as in MT-Bench) the first is taken.

    Raises:
        InputError: the file cannot be read, or a row holds no prompt.
    """
    values = parse_values(read_bytes(path), str(path))
    if not values:
        raise InputError(f"{path}: holds no prompt; give another file")
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
        raise InputError(f"{where}: the prompt is not a text, or is empty")
    return value
