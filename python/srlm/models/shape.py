"""A model's number of embedding rows and its context length, from config.json and the headers of its weights.

Nothing heavy is imported and no weights are read, so both can be checked before anything runs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlm.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from srlm.config import EngineSection

# The names that architectures give to the input embeddings, [vocabulary, hidden].
EMBEDDINGS = ("embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings", "token_embd", "embeddings")
# The names that configurations give to the context length.
CONTEXTS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length", "max_sequence_length",
    "max_seq_length", "seq_len", "n_ctx",
)  # fmt: skip
TEXT_CONFIGS = ("text_config", "llm_config", "language_config", "decoder")
# Rope types whose configurations have the extended length already; the length of others is multiplied by `factor`.
EXTENDED = frozenset({"default", "su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling"})


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model can take; None is unknown."""

    embedding_rows: int | None
    context: int | None  # tokens


def read_shape(folder: str, config: Mapping[str, Any] | None = None) -> Shape:
    """Return the shape of a model in a folder.

    Args:
        folder: of the model.
        config: its configuration with all defaults, as transformers reads it; by default config.json as it is.
    """
    path = Path(folder)
    if config is None:
        try:
            config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            config = {}
    text = _text_config(config if isinstance(config, dict) else {})
    vocabulary = _positive(text.get("vocab_size"))
    found = set(_embedding_rows(path))
    rows = vocabulary if vocabulary in found else max(found, default=vocabulary)
    return Shape(rows, context_length(text))


def context_length(config: Mapping[str, Any]) -> int | None:
    """Return the context that a text model's configuration states, with its rope scaling as vLLM counts it.

    A sliding window is no limit: other layers, or the window's own depth, reach beyond it.
    """
    lengths = [length for name in CONTEXTS if (length := _positive(config.get(name))) is not None]
    if not lengths:
        return None
    factor = 1.0
    if "gemma3" not in str(config.get("model_type")):  # its length is the extended one, with a linear factor
        for rope in _ropes(config):
            kind, value = rope.get("rope_type", rope.get("type", "default")), rope.get("factor")
            if kind not in EXTENDED and isinstance(value, (int, float)) and value > 0:
                factor = float(value)
    return int(min(lengths) * factor)


def engine_length(engine: EngineSection, shape: Shape, where: str) -> int:
    """Return the maximum length of prompt plus answer: as configured, else the model's context, at most 4,096 tokens.

    Raises:
        InputError: the configured length is above the context; `where` names the model.
    """
    if engine.max_model_len is None:
        return min(engine.length, shape.context or engine.length)
    if shape.context is not None and engine.max_model_len > shape.context:
        raise InputError(
            f"engine.max_model_len ({engine.max_model_len}) is above the context of {where} ({shape.context} tokens); "
            "lower it, or remove it to use the model's own"
        )
    return engine.max_model_len


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = next((config[name] for name in TEXT_CONFIGS if isinstance(config.get(name), dict)), None)
    return config if inner is None else {**config, **inner}


def _ropes(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the rope settings of a configuration, which may have one set per type of layer."""
    for name in ("rope_scaling", "rope_parameters"):
        found = config.get(name)
        if isinstance(found, dict):
            yield from (part for part in (found, *found.values()) if isinstance(part, dict))


def _embedding_rows(folder: Path) -> Iterator[int]:
    """Yield the first dimension of every tensor that is named like input embeddings."""
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with file.open("rb") as content:
                header = json.loads(content.read(int.from_bytes(content.read(8), "little")))
            tensors = [(name, tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"]
        except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, MemoryError):
            continue  # `folder.check_model_folder` says what is wrong with it
        for name, shape in tensors:
            if name.removesuffix(".weight").rpartition(".")[2] in EMBEDDINGS and len(shape) == 2:
                yield int(shape[0])


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
