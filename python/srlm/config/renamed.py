"""Renamed keys and values: the old names are accepted for one release, with a warning."""

from __future__ import annotations

import logging
from typing import Any

from srlm.errors import InputError

logger = logging.getLogger(__name__)

KEYS = {
    "dpo.patience": "dpo.early_stopping_patience",
    "engine.policy_check": "engine.weight_check",
    "head_to_head.against": "head_to_head.baselines",
    "prompts.rouge_words": "prompts.rouge_tokenizer",
}
VALUES = {("head_to_head.by", "comparison"): "pairwise", ("head_to_head.by", "scores"): "pointwise"}
# A value that has become a value of another key.
MOVED = {("pairs.method", "positives_only"): ("train.kind", "sft")}


REMOVAL = "the old name will be removed in the next release"


def current_name(key: str) -> str:
    """Return the current name of a full key."""
    return KEYS.get(key, key)


def warn(where: str, old: str, new: str) -> None:
    """Log that an old name was used."""
    logger.warning("%s: %s is now called %s; %s", where, old, new, REMOVAL)


def use_current_names(values: dict[str, Any], where: str) -> None:
    """Replace old keys and values in nested sections in place, with one logged warning for each.

    Raises:
        InputError: both the old and the new name of a key are set.
    """
    for old, new in KEYS.items():
        section, _, key = old.partition(".")
        content, new_key = values.get(section), new.partition(".")[2]
        if not isinstance(content, dict) or key not in content:
            continue
        if new_key in content:
            raise InputError(f"{where}: {old} is the old name of {new}, and both are set; remove {old}")
        values[section] = {(new_key if name == key else name): value for name, value in content.items()}
        warn(where, old, new)
    for (full_key, old_value), new_value in VALUES.items():
        section, _, key = full_key.partition(".")
        content = values.get(section)
        if isinstance(content, dict) and content.get(key) == old_value:
            values[section] = {**content, key: new_value}
            warn(where, f"{full_key}={old_value}", new_value)
    for (full_key, old_value), (new, new_value) in MOVED.items():
        section, _, key = full_key.partition(".")
        content = values.get(section)
        if isinstance(content, dict) and content.get(key) == old_value:
            new_section, _, new_key = new.partition(".")
            values[section] = {name: value for name, value in content.items() if name != key}
            values[new_section] = {**(values.get(new_section) or {}), new_key: new_value}
            warn(where, f"{full_key}={old_value}", f"{new}={new_value}")
