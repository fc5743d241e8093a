"""The seed sets of a run: IFT examples, ranked answers that train the judge, and ranked answers that are held out.

As in the paper (section 3.1), no prompt is in more than one of them. A file of Open Assistant trees may be a source of
both IFT and EFT, so most of its prompts could go into either set. They are divided by prompt, never by row; prompts
that are equal after normalisation are one prompt.

Which set a shared prompt goes to: each set first counts the prompts that it alone has. If the shared ones suffice for
what both sets still lack (up to `ift_limit` and `eft_limit`), EFT is sampled first, and IFT from the rest. If they do
not suffice, they are divided at random so that both sets reach the same fraction of what they could have used; this
way neither starves the other. The held-out prompts are a part of the EFT prompts.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from srlm.errors import InputError
from srlm.native import normal_keys
from srlm.rows.records import derived_seed
from srlm.stages.seed import read_eft, read_ift

if TYPE_CHECKING:
    from collections.abc import Sequence

    from srlm.config import SeedDataSection
    from srlm.rows.records import Example, RankedAnswers

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SeedSets:
    """The sets, the number of prompts that are in the sources of both, and what was left out of each set and why.

    `ift_left_out` counts examples whose prompts are `held_out` or in the judge's training set (`judge_prompts`),
    before `ift_limit`; `eft_left_out` counts prompts that were left to IFT (`ift_prompts`).
    """

    ift: list[Example]
    train: list[RankedAnswers]
    valid: list[RankedAnswers]
    shared: int = 0
    ift_left_out: dict[str, int] = field(default_factory=dict)
    eft_left_out: dict[str, int] = field(default_factory=dict)

    def note(self) -> str | None:
        """Return what was left out, as one line, or None for nothing."""
        reasons = {"held_out": "held out for the judge", "judge_prompts": "EFT prompts"}
        examples = [f"{count} ({reasons[name]})" for name, count in self.ift_left_out.items() if count]
        parts = [f"IFT examples left out: {', '.join(examples)}"] if examples else []
        if left := self.eft_left_out.get("ift_prompts"):
            parts.append(f"EFT prompts left to IFT: {left}")
        return f"seed: {self.shared} prompts are in both IFT and EFT sources; {'; '.join(parts)}" if parts else None


def load(seed_data: SeedDataSection, seed: int) -> SeedSets:
    """Read all sources, and divide, limit and split them with the run's seed.

    Raises:
        InputError: a source is invalid (see `read_ift` and `read_eft`), or a set has no prompt left.
    """
    ift, ranked = read_ift(seed_data), _by_prompt(read_eft(seed_data))
    keys = normal_keys([row.prompt[-1]["content"] for row in ift])  # the prompt of a conversation: its last user turn
    both = set(keys) & set(ranked)
    shared = [key for key in ranked if key in both]
    reserved = _reserved_for_ift(seed_data, seed, shared, len(set(keys)), len(ranked)) if seed_data.disjoint else set()
    pool = [key for key in ranked if key not in reserved]
    if ranked and not pool:
        raise InputError(
            f"seed_data.eft ({', '.join(seed_data.eft)}): no prompt is left for the judge, IFT has the same; add seed "
            "data, or set seed_data.disjoint=false"
        )
    train, valid = _split(_subsample(pool, seed_data.eft_limit, derived_seed(seed, "eft")), seed_data, seed)
    taken = {"held_out": set(valid), "judge_prompts": set(train) if seed_data.disjoint else set()}
    left_out = {reason: sum(key in prompts for key in keys) for reason, prompts in taken.items()}
    usable = [row for row, key in zip(ift, keys, strict=True) if not any(key in some for some in taken.values())]
    if not usable:
        raise InputError(
            f"seed_data.ift ({', '.join(seed_data.ift)}): no IFT example is left, their prompts are EFT prompts; add "
            "seed data, or lower seed_data.valid_fraction"
        )
    return SeedSets(
        ift=_subsample(usable, seed_data.ift_limit, derived_seed(seed, "ift")),
        train=[row for key in train for row in ranked[key]],
        valid=[row for key in valid for row in ranked[key]],
        shared=len(shared),
        ift_left_out=left_out,
        eft_left_out={"ift_prompts": len(reserved)},
    )


def _by_prompt(rows: Sequence[RankedAnswers]) -> dict[str, list[RankedAnswers]]:
    groups: dict[str, list[RankedAnswers]] = {}
    for row, key in zip(rows, normal_keys([row.prompt for row in rows]), strict=True):
        groups.setdefault(key, []).append(row)
    return groups


def _reserved_for_ift(seed_data: SeedDataSection, seed: int, shared: Sequence[str], ift: int, eft: int) -> set[str]:
    """Return the shared prompts that EFT may not use; `ift` and `eft` are the numbers of prompts of each source."""
    for_eft = shared_for_eft(
        len(shared),
        ift_only=ift - len(shared),
        eft_only=eft - len(shared),
        ift_limit=seed_data.ift_limit,
        eft_limit=seed_data.eft_limit,
    )
    return set(random.Random(derived_seed(seed, "shared prompts")).sample(list(shared), len(shared) - for_eft))


def shared_for_eft(shared: int, *, ift_only: int, eft_only: int, ift_limit: int | None, eft_limit: int | None) -> int:
    """Return how many of the shared prompts EFT may use, all arguments in prompts.

    A set wants as many prompts as its limit, or all that its source has. A fair division gives both sets the same
    fraction of that. It is rounded down for EFT, but neither set is left without a prompt, and IFT goes first.
    """
    wanted_ift = min(ift_only + shared, ift_limit or ift_only + shared)
    wanted_eft = min(eft_only + shared, eft_limit or eft_only + shared)
    lacking_ift, lacking_eft = max(0, wanted_ift - ift_only), max(0, wanted_eft - eft_only)
    if lacking_ift + lacking_eft <= shared:
        return shared - lacking_ift
    fair = (ift_only + shared + eft_only) * wanted_eft // (wanted_ift + wanted_eft)
    return min(max(max(fair, 1) - eft_only, 0), shared if ift_only else shared - 1)


def _split(keys: Sequence[str], seed_data: SeedDataSection, seed: int) -> tuple[list[str], list[str]]:
    """Split prompts into (train, held-out)."""
    shuffled = list(keys)
    random.Random(derived_seed(seed, "eft split")).shuffle(shuffled)
    held_out = round(seed_data.valid_fraction * len(shuffled))
    return shuffled[held_out:], shuffled[:held_out]


def _subsample(rows: list[T], limit: int | None, seed: int) -> list[T]:
    if limit is None or limit >= len(rows):
        return rows
    chosen = sorted(random.Random(seed).sample(range(len(rows)), limit))
    return [rows[index] for index in chosen]
