"""Whether an engine holds the weights that were just trained: both must read a fixed text alike.

When a training is done, its log-probabilities of the text are kept beside the weights, and every engine that loads
them has to reproduce these before its first request. Stale weights, a wrong folder or a conversion gone wrong show
there, and nowhere else: such an engine answers, and its pairs are off policy. A broken merge of an adapter, or a save
of shards gone wrong, shows when the readings are taken: from the folder that was written, against the trainer's own.

An engine in bfloat16 rounds the weights, and may round away all that a short training changed. So what it has to
reproduce is read with rounded weights. Two things stop a run: the distance is more than the rounding of sums explains;
or the engine errs in the direction of the model before, which tells where that rounding is larger than the change. With
d the engine's and s that model's difference from the reading, token by token, the slope of d on s is 0 for the right
weights and 1 for the ones before, within its standard error.
"""

from __future__ import annotations

import json
import math
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from srlm.errors import StageError
from srlm.models import registry
from srlm.models.registry import POLICY_FILE as FILE
from srlm.rows.json_lines import read_object

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from srlm.engines.base import Engine

MOST_TOKENS = 1024
CHARACTERS = 8 * MOST_TOKENS
# The mean distance in nats a token that rounding explains. In float32 two implementations of the same weights differ by
# some 1e-5, in bfloat16 by 0.03 to 0.04 on a model of 135M (docs/reliability.md).
TOLERANCE = {"float32": 1e-3, "float16": 3e-2, "bfloat16": 0.1}
LEAST_LEFT = 0.5  # of what a training changed, once rounded
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


def text_for(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> list[int]:
    """Return the text's tokens for a model of this configuration."""
    return token_ids(tokenizer, getattr(config, "max_position_embeddings", MOST_TOKENS))


def write(
    folder: Path, base: str, ids: Sequence[int], *, trained: Sequence[float] | None, computed_in: str, trust: bool
) -> None:
    """Keep what the weights in `folder` read: as they are, and rounded to bfloat16.

    Args:
        folder: of the model that was trained, complete but for this.
        base: the folder of the model before, whose reading is kept along where it has one.
        ids: `token_ids`.
        trained: the trainer's own log-probabilities [T - 1] in nats, computed in `computed_in`, if there are any.
        trust: whether to run code that comes with the model.

    Raises:
        StageError: the weights in the folder are not those that the trainer has.
    """
    read = _readings(str(folder), ids, trust=trust)
    if trained is not None and not (distance := mean_distance(read["float32"], trained)) <= TOLERANCE[computed_in]:
        raise StageError(
            f"training: the weights that were saved are not those that were trained: they read a fixed text "
            f"{distance:.3g} nats a token otherwise, where rounding explains {TOLERANCE[computed_in]:g}"
        )
    earlier = read_object(Path(base) / FILE)
    before = {name: earlier[name] for name in read} if earlier.get("token_ids") == list(ids) else None
    kept = {"token_ids": list(ids), **read, "before": before}
    (folder / FILE).write_text(json.dumps(kept) + "\n", encoding="utf-8")


def _readings(folder: str, ids: Sequence[int], *, trust: bool) -> dict[str, list[float]]:
    """Let the weights in a folder read, on the CPU in float32: as they are, and rounded."""
    import torch

    from srlm.kernels.token_logps import token_logps

    model = registry.load_model(folder, dtype=torch.float32, trust_remote_code=trust).eval()
    inputs, found = torch.tensor([list(ids)]), {}  # [1, T]
    with torch.no_grad():
        for name in ("float32", "bfloat16"):
            for weights in model.parameters():
                weights.copy_(weights.to(getattr(torch, name)))
            logits = model(input_ids=inputs, use_cache=False).logits[0, :-1]  # [T - 1, V]
            found[name] = token_logps(logits, inputs[0, 1:]).tolist()
    return found


def mean_distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the mean distance of two readings, in nats a token."""
    return sum(abs(left - right) for left, right in zip(one, other, strict=True)) / len(one)


def is_kept(folder: str) -> bool:
    """Tell whether a reading lies beside the weights in `folder`; beside a model from elsewhere none does."""
    return (Path(folder) / FILE).is_file()


def check(engine: Engine, folder: str, dtype: str, longest: int = MOST_TOKENS) -> float:
    """Hold an engine against the trainer of the weights in `folder`, which it computes with in `dtype`.

    `longest` is the most tokens that the engine takes, an answer of one included.

    Returns the mean distance of the log-probabilities, in nats a token.

    Raises:
        StageError: it is more than rounding explains, or points to the model before.
    """
    kept = read_object(Path(folder) / FILE)
    ids, name = kept["token_ids"][: longest - 1], dtype if dtype in kept else "float32"
    trained = kept[name][: len(ids) - 1]
    given = engine.logprobs(ids)
    distance, allowed = mean_distance(given, trained), TOLERANCE[dtype]
    if not distance <= allowed:  # NaN is no distance
        raise StageError(
            f"engine {engine.name}: it does not hold the weights that were trained: its log-probabilities of a fixed "
            f"text are {distance:.3g} nats a token from theirs, where rounding in {dtype} explains {allowed:g}. Look "
            f"for other weights in {folder}, or for an engine that converts them; engine.policy_check=warn goes on"
        )
    if kept["before"] is not None and name == dtype:
        errors = [one - other for one, other in zip(given, trained, strict=True)]
        changes = [one - other for one, other in zip(kept["before"][name][: len(trained)], trained, strict=True)]
        share, error = slope(errors, changes)
        if share > LEAST_SLOPE and share > STANDARD_ERRORS * error:
            raise StageError(
                f"engine {engine.name}: it does not hold the weights that were trained but, it seems, those of the "
                f"model before: what it reads in a fixed text goes {share:.0%} (give or take {error:.0%}) of the way "
                f"back to that one. Look for other weights in {folder}; engine.policy_check=warn goes on"
            )
    return distance


def lost_by_rounding(folder: str, dtype: str) -> str | None:
    """Say so where rounding the weights to `dtype` takes most of what the training changed, as far as is known.

    An engine in that type then writes and judges much as the model before did.
    """
    kept = read_object(Path(folder) / FILE)
    if dtype == "float32" or dtype not in kept or kept["before"] is None:
        return None
    whole, rounded = (mean_distance(kept[name], kept["before"][name]) for name in ("float32", dtype))
    if rounded >= LEAST_LEFT * whole:
        return None
    return (
        f"{folder}: rounding to {dtype} takes most of what this training changed: {whole:.2g} nats a token in a fixed "
        f"text, of which {rounded:.2g} are left. The engine writes much as with the weights before; a higher learning "
        "rate or more steps change more, and engine.dtype=float32 rounds nothing"
    )


def slope(values: Sequence[float], on: Sequence[float]) -> tuple[float, float]:
    """Return the least-squares slope through the origin of `values` [N] on `on` [N], and its standard error."""
    square = sum(x * x for x in on)
    if square == 0 or len(on) < 2:
        return 0.0, math.inf
    found = sum(x * y for x, y in zip(on, values, strict=True)) / square
    residual = sum((y - found * x) ** 2 for x, y in zip(on, values, strict=True))
    return found, math.sqrt(residual / (len(on) - 1) / square)
