"""Smaller batches for a job that ran out of memory: the sizes that decide how much is in memory at once are halved."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from srlm.workers.jobs import Generate, Train

if TYPE_CHECKING:
    from srlm.config import Config
    from srlm.workers.jobs import Work

    AnyWork = TypeVar("AnyWork", bound=Work)

ENGINE_SIZES = {"batch_size": 32, "max_num_seqs": 256}  # with the value to halve where the engine's default is used
MIN_TOKENS = 128  # a forward pass is not made smaller than this; most rows are longer


def halved_sizes(work: Work) -> dict[str, tuple[int, int]]:
    """Return each size of a job with the next one to try; empty if there is nothing left to halve."""
    if isinstance(work, Train):
        section = getattr(work.config, work.kind)
        size, tokens = section.micro_batch_size, section.micro_batch_tokens
        smaller = next((part for part in range(size // 2, 0, -1) if size % part == 0), 0)
        halves = {f"{work.kind}.micro_batch_size": (size, smaller)} if smaller else {}
        if tokens is not None and tokens >= 2 * MIN_TOKENS:
            halves[f"{work.kind}.micro_batch_tokens"] = (tokens, tokens // 2)
        return halves
    if not isinstance(work, Generate):
        return {}
    sizes = {key: getattr(work.config.engine, key) or default for key, default in ENGINE_SIZES.items()}
    if all(size == 1 for size in sizes.values()):
        return {}
    return {f"engine.{key}": (size, max(1, size // 2)) for key, size in sizes.items()}


def with_sizes(work: AnyWork, sizes: dict[str, list[int]]) -> AnyWork:
    """Return a job with the sizes that fit in memory; a size that the user has changed since then is kept."""
    if not isinstance(work, Generate | Train):
        return work
    config: Config = work.config
    for key, (configured, size) in sizes.items():
        section, name = key.split(".")
        part = getattr(config, section)
        current = getattr(part, name) or (ENGINE_SIZES[name] if section == "engine" else 0)
        if size < current <= configured:
            config = config.model_copy(update={section: part.model_copy(update={name: size})})
    return replace(work, config=config)
