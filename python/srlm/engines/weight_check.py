"""Check that an engine holds the weights that were just trained, by its log-probabilities of a fixed probe text.

After training, the log-probabilities of the probe text are saved beside the weights, and every engine that loads the
weights must reproduce them before its first request. This is the only place where stale weights, a wrong folder or a
broken conversion would show: such an engine still generates, but its pairs are off-policy. A broken adapter merge or
shard save shows when the log-probabilities are computed, from the written folder, and compared with the trainer's.

An engine in bfloat16 rounds the weights, and may round away everything that a short training changed. The reference is
therefore also computed with rounded weights. Two conditions stop a run: the distance exceeds what rounding of the sums
explains, or the error points towards the previous model, which also works if that rounding is larger than the change.
With d the engine's and s the previous model's per-token difference from the reference, the slope of d on s is 0 for the
right weights and 1 for the previous ones, within its standard error.
"""

from __future__ import annotations

import json
import math
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from srlm.errors import StageError
from srlm.models import registry
from srlm.models.registry import WEIGHT_CHECK_FILE as FILE
from srlm.rows.json_lines import read_object

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from srlm.engines.base import Engine

MAX_TOKENS = 1024
EXACT_TOKENS = 128  # enough where no engine rounds the weights: a wrong model is then off by far more than the sums
# The trainer only shows whether the written weights are its own: a broken merge or shard changes every token.
TRAINER_TOKENS = 128
MAX_CHARACTERS = 8 * MAX_TOKENS
# Maximum mean distance in nats per token that rounding explains. Two implementations of the same weights differ by
# about 1e-5 in float32, and by 0.03 to 0.04 in bfloat16 on a model of 135M (docs/reliability.md).
TOLERANCE = {"float32": 1e-3, "float16": 3e-2, "bfloat16": 0.1}
MIN_SHARE_KEPT = 0.5  # minimum share of the training's change that must survive rounding
MIN_STANDARD_ERRORS, MIN_SLOPE = 4.0, 0.25  # a slope above both is significant, and not negligible


def probe_token_ids(tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[int]:
    """Return the first `max_length` token ids of the probe text, without a start token.

    The text is the packaged seed data: questions and answers, like the training data.
    """
    seed = (resources.files("srlm") / "data" / "seed" / "ift.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in seed.split("\n") if line]
    text = "\n\n".join(f"{row['prompt']}\n{row['response']}" for row in rows)[:MAX_CHARACTERS]
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids[: min(max_length, MAX_TOKENS)]


def probe_token_ids_for(
    tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, most: int = MAX_TOKENS
) -> list[int]:
    """Return up to `most` token ids of the probe text, as many as a model of this configuration supports."""
    return probe_token_ids(tokenizer, min(most, getattr(config, "max_position_embeddings", MAX_TOKENS)))


def write_logprobs(
    folder: Path,
    base: str,
    ids: Sequence[int],
    *,
    trained: Sequence[float] | None,
    computed_in: str,
    trust: bool,
    dtypes: Sequence[str] = ("float32", "bfloat16"),
) -> None:
    """Save the probe text's log-probabilities under the weights in `folder`: unrounded, and rounded to bfloat16.

    Args:
        folder: the folder of the trained model, complete except for this file.
        base: the folder of the previous model, whose log-probabilities are saved too if it has any.
        ids: the probe text, from `probe_token_ids`.
        trained: the trainer's own log-probabilities of the first tokens [up to T - 1] in nats, computed in
            `computed_in`, if available.
        trust: whether to run code that comes with the model.
        dtypes: float32 first; bfloat16 only if an engine may round the weights.

    Raises:
        StageError: the weights in the folder differ from the trainer's.
    """
    ids = ids if "bfloat16" in dtypes else ids[:EXACT_TOKENS]
    computed = _logprobs_on_cpu(str(folder), ids, dtypes, trust=trust)
    written = computed["float32"][: len(trained or ())]
    if trained is not None and not (distance := mean_distance(written, trained)) <= TOLERANCE[computed_in]:
        raise StageError(
            f"training: the saved weights are not the trained ones: their log-probabilities of a fixed text differ by "
            f"{distance:.3g} nats per token, where rounding explains {TOLERANCE[computed_in]:g}"
        )
    previous = read_object(Path(base) / FILE)
    comparable = previous.get("token_ids") == list(ids) and computed.keys() <= previous.keys()
    before = {name: previous[name] for name in computed} if comparable else None
    saved = {"token_ids": list(ids), **computed, "before": before}
    (folder / FILE).write_text(json.dumps(saved) + "\n", encoding="utf-8")


def _logprobs_on_cpu(folder: str, ids: Sequence[int], dtypes: Sequence[str], *, trust: bool) -> dict[str, list[float]]:
    """Compute log-probabilities on the CPU in float32, with weights rounded to each of `dtypes`."""
    import torch

    from srlm.kernels.token_logps import token_logps

    model = registry.load_model(folder, dtype=torch.float32, trust_remote_code=trust).eval()
    inputs, found = torch.tensor([list(ids)]), {}  # [1, T]
    with torch.no_grad():
        for name in dtypes:
            if (dtype := getattr(torch, name)) != torch.float32:
                for weights in model.parameters():
                    weights.copy_(weights.to(dtype))
            logits = model(input_ids=inputs, use_cache=False).logits[0, :-1]  # [T - 1, V]
            found[name] = token_logps(logits, inputs[0, 1:]).tolist()
    return found


def mean_distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the mean absolute difference of two lists of log-probabilities, in nats per token."""
    return sum(abs(left - right) for left, right in zip(one, other, strict=True)) / len(one)


def has_reference(folder: str) -> bool:
    """Tell whether `folder` has saved log-probabilities; a model that srlm did not train has none."""
    return (Path(folder) / FILE).is_file()


def check(engine: Engine, folder: str, dtype: str, max_model_len: int = MAX_TOKENS) -> float:
    """Compare an engine, which computes in `dtype`, with the saved log-probabilities of the weights in `folder`.

    `max_model_len` is the engine's maximum length, including one generated token.

    Returns the mean distance of the log-probabilities, in nats per token.

    Raises:
        StageError: the distance is more than rounding explains, or the error points to the previous model.
    """
    saved = read_object(Path(folder) / FILE)
    ids, name = saved["token_ids"][: max_model_len - 1], dtype if dtype in saved else "float32"
    trained = saved[name][: len(ids) - 1]
    computed = engine.logprobs(ids)
    distance, allowed = mean_distance(computed, trained), TOLERANCE[dtype]
    if not distance <= allowed:  # also true for NaN
        raise StageError(
            f"engine {engine.name}: it does not hold the trained weights: its log-probabilities of a fixed text differ "
            f"by {distance:.3g} nats per token, where rounding in {dtype} explains {allowed:g}. Check whether {folder} "
            "holds other weights, or the engine converts them; engine.weight_check=warn continues anyway"
        )
    if saved["before"] is not None and name == dtype:
        errors = [one - other for one, other in zip(computed, trained, strict=True)]
        changes = [one - other for one, other in zip(saved["before"][name][: len(trained)], trained, strict=True)]
        share, error = slope(errors, changes)
        if share > MIN_SLOPE and share > MIN_STANDARD_ERRORS * error:
            raise StageError(
                f"engine {engine.name}: it seems to hold the weights of the previous model instead of the trained "
                f"ones: its log-probabilities of a fixed text are {share:.0%} (± {error:.0%}) of the way back to that "
                f"model's. Check whether {folder} holds other weights; engine.weight_check=warn continues anyway"
            )
    return distance


def rounding_warning(folder: str, dtype: str) -> str | None:
    """Return a warning if rounding the weights to `dtype` removes most of the training's change, as far as is known.

    An engine in that dtype then generates and judges much like the previous model.
    """
    saved = read_object(Path(folder) / FILE)
    if dtype == "float32" or dtype not in saved or saved["before"] is None:
        return None
    change, rounded = (mean_distance(saved[name], saved["before"][name]) for name in ("float32", dtype))
    if rounded >= MIN_SHARE_KEPT * change:
        return None
    return (
        f"{folder}: rounding to {dtype} removes most of the change of this training: of {change:.2g} nats per token on "
        f"a fixed text, {rounded:.2g} remain. The engine generates much like the previous model; use a higher learning "
        "rate or more steps, or set engine.dtype=float32 to avoid rounding"
    )


def slope(values: Sequence[float], on: Sequence[float]) -> tuple[float, float]:
    """Return the least-squares slope through the origin of `values` [N] on `on` [N], and its standard error."""
    square = sum(x * x for x in on)
    if square == 0 or len(on) < 2:
        return 0.0, math.inf
    found = sum(x * y for x, y in zip(on, values, strict=True)) / square
    residual = sum((y - found * x) ** 2 for x, y in zip(on, values, strict=True))
    return found, math.sqrt(residual / (len(on) - 1) / square)
