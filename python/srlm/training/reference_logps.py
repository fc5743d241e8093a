"""The reference's log-probabilities of every answer, computed once an iteration and kept in the run directory.

They depend on the reference's weights and on the pairs alone, so a training that starts again, or another one on the
same pairs, reads them. A file that was made from other weights, other rows or in another way is computed anew.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from srlm.models.registry import weights_hash
from srlm.rows.records import write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FORMAT = "2"  # of the file and of what computes the numbers


@dataclass(frozen=True, slots=True)
class Reference:
    """Log-probabilities under the reference, a list each in the order of the pairs, nats."""

    chosen: list[float]
    rejected: list[float]


def key_of(model: str, rows: Sequence[Mapping[str, Sequence[int]]], *settings: object) -> str:
    """Return the key: a hash of the model's files, of the rows' token ids in order, and of any other settings.

    The model's files are its weights, configuration and code; the tokenizer's do not matter to ids.
    """
    digest = hashlib.sha256()
    digest.update(repr((FORMAT, *settings, weights_hash(model, text=False))).encode())
    for row in rows:
        for name in ("prompt_ids", "chosen_ids", "rejected_ids"):
            digest.update(f"{name}:{','.join(map(str, row[name]))};".encode())
    return digest.hexdigest()


def read(file: Path, key: str, count: int) -> Reference | None:
    """Return what the file holds, or None where it is missing, damaged, or made from something else."""
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as content:
            if (content.metadata() or {}).get("key") != key:
                return None
            found = Reference(*(content.get_tensor(name).tolist() for name in ("chosen", "rejected")))
    except SafetensorError:
        return None
    return found if len(found.chosen) == len(found.rejected) == count else None


def write(file: Path, key: str, reference: Reference) -> None:
    """Write the file, which appears complete or not at all; the same content gives the same bytes.

    Of several entries of metadata safetensors would choose the order at random.
    """
    tensors = {
        "chosen": torch.tensor(reference.chosen, dtype=torch.float32),
        "rejected": torch.tensor(reference.rejected, dtype=torch.float32),
    }
    write_bytes(file, save(tensors, metadata={"key": key}))
