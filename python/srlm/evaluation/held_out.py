"""The prompts that models are compared on: none of them is trained on.

They come from files of the user's, or are those whose ranked answers are held out for the judge. What is also an IFT
prompt is left out.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlm.errors import InputError
from srlm.native import normal_keys
from srlm.records import Prompt, content_id, decode_lines, derived_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from srlm.config import HeadToHeadSection
    from srlm.records import Example, RankedAnswers

FIELDS = ("prompt", "instruction", "question", "text", "turns")


def held_out_prompts(
    head_to_head: HeadToHeadSection, valid: Sequence[RankedAnswers], ift: Sequence[Example], seed: int
) -> list[Prompt]:
    """Return at most `head_to_head.prompts` prompts, drawn by the seed.

    Raises:
        InputError: a file cannot be read, or holds something else than prompts.
    """
    if head_to_head.prompts == 0:
        return []
    given = [text for name in head_to_head.prompt_files for text in read_prompts(Path(name))]
    texts = given or [row.prompt for row in valid]
    trained = set(normal_keys([row.prompt[-1]["content"] for row in ift]))
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
    try:
        lines = decode_lines(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return [_text(value, where) for where, value in _values(lines, path)]


def _values(lines: list[str], path: Path) -> list[tuple[str, Any]]:
    try:
        if next((line for line in lines if line.strip()), "").lstrip().startswith("["):
            return [(f"{path}, item {number}", value) for number, value in enumerate(json.loads("\n".join(lines)), 1)]
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {error}; mend the file") from error
    values = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values.append((f"{path}, line {number}", json.loads(line)))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: not valid JSON: {error}; mend or remove the line") from error
    return values


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
