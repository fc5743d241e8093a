"""Held-out prompts for head-to-head comparisons, none of which is in the training data.

They come from the user's files, or else are the prompts whose ranked answers are held out for judge evaluation. Prompts
that also occur in the IFT data, or with ranked answers that the judge is trained on, are removed.

With early stopping they are split: checkpoints are chosen on one part, and models are compared on the other, because
the best of several checkpoints looks better than it is on the prompts that chose it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from srlm.errors import InputError, StageError
from srlm.native import normal_keys
from srlm.rows.json_lines import parse_values, read_bytes
from srlm.rows.records import Prompt, content_id, derived_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from srlm.config import HeadToHeadSection
    from srlm.rows.records import Example, RankedAnswers

FIELDS = ("prompt", "instruction", "question", "text", "turns")
FEW = 30  # prompts that choose checkpoints; with fewer, chance decides


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The prompts that models are compared on, and those that early stopping chooses checkpoints on."""

    compare: list[Prompt]
    early_stop: list[Prompt]


def held_out_sets(
    head_to_head: HeadToHeadSection,
    valid: Sequence[RankedAnswers],
    *,
    ift: Sequence[Example],
    ranked: Sequence[RankedAnswers],
    seed: int,
    early_stop: bool,
) -> HeldOut:
    """Return the held-out prompts; with `early_stop` in two parts of at most `head_to_head.prompts` each.

    Half of the prompts choose checkpoints (of an odd number, the smaller part). A prompt's part depends on its text and
    the seed, not on the order of the source; within a part, prompts are in the order of the source.

    Raises:
        InputError: see `held_out_prompts`.
        StageError: there are fewer than two prompts to split.
    """
    if not early_stop or head_to_head.prompts == 0:
        return HeldOut(held_out_prompts(head_to_head, valid, ift=ift, ranked=ranked, seed=seed), [])
    prompts = _prompts(_fresh_texts(head_to_head, valid, ift=ift, ranked=ranked))
    if len(prompts) < 2:
        raise StageError(
            f"dpo.eval_steps: {len(prompts)} held-out prompts, but checkpoints are chosen on other prompts than models "
            "are compared on, which needs at least 2; raise seed_data.valid_fraction or eft_limit, set "
            "head_to_head.prompt_files, or leave dpo.eval_steps out"
        )
    salt = derived_seed(seed, "early stopping")
    ranks = sorted(range(len(prompts)), key=lambda index: content_id(salt, prompts[index].id))
    limit, half = head_to_head.prompts, len(prompts) // 2
    parts = ranks[: min(limit, half)], ranks[half : half + limit]
    chosen, compared = ([prompts[index] for index in sorted(part)] for part in parts)
    return HeldOut(compare=compared, early_stop=chosen)


def without_prompts(rows: Sequence[RankedAnswers], prompts: Sequence[Prompt]) -> list[RankedAnswers]:
    """Return the rows whose prompts are not among `prompts`."""
    taken = set(normal_keys([prompt.text for prompt in prompts]))
    keys = normal_keys([row.prompt for row in rows])
    return [row for row, key in zip(rows, keys, strict=True) if key not in taken]


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
    fresh, limit = _fresh_texts(head_to_head, valid, ift=ift, ranked=ranked), head_to_head.prompts
    indices = list(range(len(fresh)))
    if limit < len(fresh):
        indices = sorted(random.Random(derived_seed(seed, "held out")).sample(indices, limit))
    return _prompts([fresh[index] for index in indices])


def _prompts(texts: Sequence[str]) -> list[Prompt]:
    return [Prompt(content_id("prompt", text), text, "seed", [], -1) for text in texts]


def _fresh_texts(
    head_to_head: HeadToHeadSection,
    valid: Sequence[RankedAnswers],
    *,
    ift: Sequence[Example],
    ranked: Sequence[RankedAnswers],
) -> list[str]:
    """Return the distinct held-out texts that are not in the training data, in the order of their source."""
    given = [text for name in head_to_head.prompt_files for text in read_prompts(Path(name))]
    texts = given or [row.prompt for row in valid]
    trained = set(normal_keys([*(row.prompt[-1]["content"] for row in ift), *(row.prompt for row in ranked)]))
    by_key = dict(zip(reversed(normal_keys(texts)), reversed(texts), strict=True))  # the first of equal texts wins
    return [text for key, text in reversed(by_key.items()) if key not in trained]


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
