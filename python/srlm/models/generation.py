"""What a model folder's generation configuration says: its end tokens count, its sampling settings do not.

Engines sample from the configured `Sampling` alone. A repetition penalty or a minimum length that a model is shipped
with would change samples and log-probabilities, and not in every engine.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlm.errors import one_line

if TYPE_CHECKING:
    from transformers import GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

FILE = "generation_config.json"
TOKEN_FIELDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def load(folder: str, config: PretrainedConfig) -> tuple[GenerationConfig, str | None]:
    """Return a folder's generation configuration, as `save_pretrained` accepts it, and why it is not the shipped one.

    transformers loads files that it refuses to save, such as greedy decoding with a temperature; a training would end
    in that error. Of such a file, and of one that transformers does not load, only the special tokens are kept.

    Args:
        folder: of the model.
        config: the model's configuration, whose end tokens count if the folder has no readable file.

    Returns:
        The configuration, and a reason in one line or None.
    """
    from transformers import GenerationConfig

    try:
        if (Path(folder) / FILE).is_file():
            shipped = GenerationConfig.from_pretrained(folder)
        else:  # also moves settings of older folders out of config.json, where transformers refuses to save them
            shipped = GenerationConfig.from_pretrained(folder, config_file_name="config.json", _from_model_config=True)
        shipped.validate(strict=True)
    except Exception as error:  # depends on the broken field: transformers checks few types
        return GenerationConfig(**_special_tokens(folder, config)), one_line(error, 160)
    return shipped, None


def refusal(folder: str, *, trust: bool) -> str | None:
    """Return why a model's generation configuration cannot be saved with a trained model, or None."""
    from transformers import AutoConfig

    return load(folder, AutoConfig.from_pretrained(folder, trust_remote_code=trust))[1]


def end_ids(config: GenerationConfig, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens that end an answer, ascending: the tokenizer's end token, and all in the model's file."""
    return sorted({int(tokenizer.eos_token_id), *_ids(config.eos_token_id)})


def neutral(end: list[int], pad: int | None) -> GenerationConfig:
    """Return a generation configuration with end tokens and greedy decoding, and no other settings."""
    from transformers import GenerationConfig

    return GenerationConfig(eos_token_id=end, pad_token_id=pad, do_sample=False, use_cache=True)


def _special_tokens(folder: str, config: PretrainedConfig) -> dict[str, Any]:
    """Return the valid special tokens of the folder's file, or those of the model's configuration."""
    try:
        raw = json.loads((Path(folder) / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raw = None
    found = {}
    for name in TOKEN_FIELDS:
        ids = _ids(raw.get(name)) if isinstance(raw, dict) else []
        ids = ids or _ids(getattr(config.get_text_config(), name, None))
        if ids:
            found[name] = ids if name == "eos_token_id" and len(ids) > 1 else ids[0]
    return found


def _ids(value: object) -> list[int]:
    """Return the token ids among a field's values: a number, a list of numbers, or None."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return [each for each in values if isinstance(each, int) and not isinstance(each, bool) and each >= 0]
