"""A folder of a model: is what has to be in it there, and whole? Found before anything heavy is imported.

Only the heads of files are read. What transformers alone can tell (an unknown architecture, weights of another shape)
is told by `models.load_model`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from srlm.errors import InputError, one_line
from srlm.rows.json_lines import read_bytes

if TYPE_CHECKING:
    from pathlib import Path

INDEX = "model.safetensors.index.json"
# One of these is in every folder that a tokenizer was saved to.
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt", "spiece.model")
LONGEST_HEADER = 100_000_000  # bytes; safetensors' own limit
ADVICE = "copy or save the model anew"


def checked(folder: Path) -> str:
    """Return a model's folder as text.

    Raises:
        InputError: a file is missing, cut off or none of what its name says.
    """
    where = f"model {str(folder)!r}"
    if not (folder / "config.json").is_file():
        raise InputError(f"{where}: the folder has no config.json; give one that save_pretrained wrote")
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"{where}: no .safetensors weights in the folder; only safetensors are loaded")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise InputError(f"{where}: no tokenizer in the folder (no tokenizer.json); save the model's tokenizer there")
    if not {"model_type", "auto_map"} & _object(folder / "config.json", where).keys():
        raise InputError(f"{where}: config.json names no model_type; {ADVICE}")
    if (folder / "tokenizer.json").is_file():
        _object(folder / "tokenizer.json", where)
    _check_weights(folder, where)
    return str(folder)


def _object(file: Path, where: str) -> dict[str, Any]:
    try:
        found = json.loads(read_bytes(file))  # with Infinity, which some architectures' settings have
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
                raise InputError(f"{where}: {name} is missing, which {INDEX} names; {ADVICE}")
    for file in sorted(folder.glob("*.safetensors")):
        problem = _weights_problem(file)
        if problem is not None:
            raise InputError(f"{where}: {file.name} {problem}; {ADVICE}")


def _weights_problem(file: Path) -> str | None:
    """Return what is wrong with a file of weights by its head and its size, or None."""
    if not file.is_file():
        return "is a link to what is not there"
    size = file.stat().st_size
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        if size < 8 or length > LONGEST_HEADER:
            return "is no safetensors file (a pointer of git-lfs, perhaps)"
        head = content.read(length)
    try:
        tensors = json.loads(head)
        ends = [tensor["data_offsets"][1] for name, tensor in tensors.items() if name != "__metadata__"]
    except (ValueError, LookupError, TypeError, AttributeError):
        return "is cut off" if len(head) < length else "is no safetensors file"
    if size != 8 + length + max(ends, default=0):
        return f"is cut off: it has {size} bytes of {8 + length + max(ends, default=0)}"
    return None
