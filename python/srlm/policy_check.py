"""Whether an engine holds the weights that were just trained: both must read a fixed text alike.

When a training is done, the trainer's own log-probabilities of the text are kept beside the weights. Every engine that
loads them has to reproduce these before its first request. Stale weights, a wrong folder, a broken merge of an adapter
or a conversion gone wrong show there, and nowhere else: such an engine answers, and its pairs are off policy.

What a training changed by less than the tolerance cannot be seen; that it was this folder is the manifest's to tell.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlm.errors import StageError
from srlm.run_dir import read_object

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from transformers import PreTrainedTokenizerBase

    from srlm.engines.base import Engine

FILE = "srlm_log_probabilities.json"
TEXT = (
    "Question: why does a kettle whistle, and how would you stop it without taking it off the stove?\n"
    "Answer: steam is forced through two small holes; the first makes it unsteady, the second turns that into a tone. "
    "Open the lid, or lift the cap, and the pressure is gone. 3 of 4 readers found this clear; one asked for less.\n"
    "Score: 4"
)
MOST_TOKENS = 128
# The mean distance in nats a token that rounding explains, by the coarser of the two types. In float32 two
# implementations of the same weights differ by some 1e-5; bfloat16 has three digits less.
TOLERANCE = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 6e-2}


def token_ids(tokenizer: PreTrainedTokenizerBase, longest: int) -> list[int]:
    """Return the text's tokens, as far as a model of `longest` tokens reads; nothing is before the first."""
    ids: list[int] = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    return ids[: min(longest, MOST_TOKENS)]


def reading(ids: Sequence[int], logps: torch.Tensor, dtype: str) -> dict[str, Any]:
    """Return what is kept: `logps` [T - 1] are those of all tokens but the first, in nats."""
    return {"token_ids": list(ids), "log_probabilities": logps.tolist(), "dtype": dtype}


def write(folder: Path, read: Mapping[str, Any]) -> None:
    """Keep a trainer's reading beside the weights."""
    (folder / FILE).write_text(json.dumps(read) + "\n", encoding="utf-8")


def check(engine: Engine, folder: str, dtype: str, longest: int = MOST_TOKENS) -> float | None:
    """Hold an engine against the trainer of the weights in `folder`, which it computes with in `dtype`.

    `longest` is the most tokens that the engine takes, an answer of one included.

    Returns the mean distance of the log-probabilities, in nats a token; None where no reading is kept, as of a model
    from elsewhere.

    Raises:
        StageError: it is more than rounding explains.
    """
    kept = read_object(Path(folder) / FILE)
    if not kept:
        return None
    ids = kept["token_ids"][: longest - 1]
    given = engine.logprobs(ids)
    distances = [abs(one - other) for one, other in zip(given, kept["log_probabilities"][: len(ids) - 1], strict=True)]
    distance = sum(distances) / len(distances)
    allowed = max(TOLERANCE[name] for name in (dtype, kept["dtype"]))
    if not distance <= allowed:  # NaN is no distance
        raise StageError(
            f"engine {engine.name}: it does not hold the weights that were trained: its log-probabilities of a fixed "
            f"text are {distance:.3g} nats a token from the trainer's, where rounding in {dtype} explains {allowed:g}. "
            f"Look for other weights in {folder}, or for an engine that converts them"
        )
    return distance
