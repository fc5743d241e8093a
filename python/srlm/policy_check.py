"""Whether an engine holds the weights that were just trained: both must read a fixed text alike.

When a training is done, the trainer's own log-probabilities of the text are kept beside the weights, and those of the
model that it began with. Every engine that loads the weights has to reproduce the first before its first request. Stale
weights, a wrong folder, a broken merge of an adapter or a conversion gone wrong show there, and nowhere else: such an
engine answers, and its pairs are off policy.

Two things stop a run. The distance from the trainer is more than rounding explains; that sees all of this in float32.
In a coarse type rounding is larger than what a short training changes, so there it is also asked whether the engine
errs in the direction of the model before: with d the engine's and s that model's difference from the trainer, token by
token, the slope of d on s is 0 for the right weights and 1 for the ones before, within its standard error.
"""

from __future__ import annotations

import json
import math
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlm.errors import StageError
from srlm.run_dir import read_object

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedTokenizerBase

    from srlm.engines.base import Engine

FILE = "srlm_log_probabilities.json"
MOST_TOKENS = 1024
CHARACTERS = 8 * MOST_TOKENS
# The mean distance in nats a token that rounding explains, by the coarser of the two types. In float32 two
# implementations of the same weights differ by some 1e-5; bfloat16 by 0.03 to 0.04 on a model of 135M (see
# docs/reliability.md).
TOLERANCE = {"float32": 1e-3, "float16": 3e-2, "bfloat16": 0.1}
STANDARD_ERRORS, LEAST_SLOPE = 4.0, 0.25  # beyond these a slope is no chance, and no trifle


def token_ids(tokenizer: PreTrainedTokenizerBase, longest: int) -> list[int]:
    """Return the text's tokens, as far as a model of `longest` tokens reads; nothing is before the first.

    The text is the packaged seed's: questions and answers, as the models here are trained on.
    """
    seed = (resources.files("srlm") / "data" / "seed" / "ift.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in seed.split("\n") if line]
    text = "\n\n".join(f"{row['prompt']}\n{row['response']}" for row in rows)[:CHARACTERS]
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids[: min(longest, MOST_TOKENS)]


def reading(ids: Sequence[int], after: Sequence[float], before: Sequence[float] | None, dtype: str) -> dict[str, Any]:
    """Return what is kept: log-probabilities (nats) of all tokens but the first, computed in `dtype`.

    `after` are those of the trained model [T - 1], `before` of the one that it was trained from, where they are known.
    """
    return {"token_ids": list(ids), "log_probabilities": list(after), "before": before, "dtype": dtype}


def write(folder: Path, read: Mapping[str, Any]) -> None:
    """Keep a trainer's reading beside the weights."""
    (folder / FILE).write_text(json.dumps(read) + "\n", encoding="utf-8")


def is_kept(folder: str) -> bool:
    """Tell whether a trainer's reading lies beside the weights in `folder`; beside a model from elsewhere none does."""
    return (Path(folder) / FILE).is_file()


def check(engine: Engine, folder: str, dtype: str, longest: int = MOST_TOKENS) -> float:
    """Hold an engine against the trainer of the weights in `folder`, which it computes with in `dtype`.

    `longest` is the most tokens that the engine takes, an answer of one included.

    Returns the mean distance of the log-probabilities, in nats a token.

    Raises:
        StageError: it is more than rounding explains, or points to the model before.
    """
    kept = read_object(Path(folder) / FILE)
    ids = kept["token_ids"][: longest - 1]
    trained = kept["log_probabilities"][: len(ids) - 1]
    errors = [one - other for one, other in zip(engine.logprobs(ids), trained, strict=True)]
    distance = sum(map(abs, errors)) / len(errors)
    allowed = max(TOLERANCE[name] for name in (dtype, kept["dtype"]))
    if not distance <= allowed:  # NaN is no distance
        raise StageError(
            f"engine {engine.name}: it does not hold the weights that were trained: its log-probabilities of a fixed "
            f"text are {distance:.3g} nats a token from the trainer's, where rounding in {dtype} explains {allowed:g}. "
            f"Look for other weights in {folder}, or for an engine that converts them"
        )
    if kept["before"] is not None:
        changes = [one - other for one, other in zip(kept["before"][: len(trained)], trained, strict=True)]
        share, error = slope(errors, changes)
        if share > LEAST_SLOPE and share > STANDARD_ERRORS * error:
            raise StageError(
                f"engine {engine.name}: it does not hold the weights that were trained but, it seems, those of the "
                f"model before: what it reads in a fixed text goes {share:.0%} (give or take {error:.0%}) of the way "
                f"back to that one. Look for other weights in {folder}"
            )
    return distance


def slope(values: Sequence[float], on: Sequence[float]) -> tuple[float, float]:
    """Return the least-squares slope through the origin of `values` [N] on `on` [N], and its standard error."""
    square = sum(x * x for x in on)
    if square == 0 or len(on) < 2:
        return 0.0, math.inf
    found = sum(x * y for x, y in zip(on, values, strict=True)) / square
    residual = sum((y - found * x) ** 2 for x, y in zip(on, values, strict=True))
    return found, math.sqrt(residual / (len(on) - 1) / square)
