"""Checks that a model folder is complete, before torch or transformers is imported.

Only the headers of weight files are read. `registry.load_model` reports the errors that only transformers can detect
(an unknown architecture, weights of another shape).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from srlm.errors import InputError, one_line
from srlm.rows.json_lines import read_bytes

if TYPE_CHECKING:
    from pathlib import Path

INDEX = "model.safetensors.index.json"
# Every folder with a saved tokenizer has one of these.
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt", "spiece.model")
MAX_HEADER_BYTES = 100_000_000  # the limit of safetensors
ADVICE = "copy or save the model again"


def check_model_folder(folder: Path) -> str:
    """Check a model folder and return its path as a string.

    Raises:
        InputError: a file is missing, truncated or not in the format of its name.
    """
    where = f"model {str(folder)!r}"
    if not (folder / "config.json").is_file():
        raise InputError(f"{where}: the folder has no config.json; use one that save_pretrained wrote")
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"{where}: no .safetensors weights in the folder; save the model with safetensors")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise InputError(f"{where}: no tokenizer in the folder (no tokenizer.json); save the model's tokenizer there")
    if not {"model_type", "auto_map"} & _object(folder / "config.json", where).keys():
        raise InputError(f"{where}: config.json has no model_type; {ADVICE}")
    if (folder / "tokenizer.json").is_file():
        _object(folder / "tokenizer.json", where)
    _check_weights(folder, where)
    return str(folder)


def _object(file: Path, where: str) -> dict[str, Any]:
    try:
        found = json.loads(read_bytes(file))  # allows Infinity, which some architectures' configurations have
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: {file.name} is not valid JSON ({one_line(error)}); {ADVICE}") from error
    if not isinstance(found, dict):
        raise InputError(f"{where}: {file.name} is not a JSON object; {ADVICE}")
    return found


def _check_weights(folder: Path, where: str) -> None:
    if (folder / INDEX).is_file():
        names = _object(folder / INDEX, where).get("weight_map")
        shards = sorted(set(map(str, names.values()))) if isinstance(names, dict) else []
        for name in shards:
            if not (folder / name).is_file():
                raise InputError(f"{where}: {name} is missing, but {INDEX} lists it; {ADVICE}")
    for file in sorted(folder.glob("*.safetensors")):
        problem = _weights_problem(file)
        if problem is not None:
            raise InputError(f"{where}: {file.name} {problem}; {ADVICE}")


def _weights_problem(file: Path) -> str | None:
    """Return what is wrong with a weight file, judging by its header and size, or None."""
    if not file.is_file():
        return "is a broken link"
    size = file.stat().st_size
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        if size < 8 or length > MAX_HEADER_BYTES:
            return "is not a safetensors file (perhaps a git-lfs pointer)"
        head = content.read(length)
    try:
        tensors = json.loads(head)
        ends = [tensor["data_offsets"][1] for name, tensor in tensors.items() if name != "__metadata__"]
    except (ValueError, LookupError, TypeError, AttributeError):
        return "is truncated" if len(head) < length else "is not a safetensors file"
    if size != 8 + length + max(ends, default=0):
        return f"is truncated: it has {size} bytes, expected {8 + length + max(ends, default=0)}"
    return None
