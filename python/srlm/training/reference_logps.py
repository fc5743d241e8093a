"""Cache of the reference log-probabilities, computed once per iteration and saved in the run directory.

They depend only on the reference's weights and the pairs, so a restarted training, or another one on the same pairs,
reads them from the file. For other weights, rows or settings they are recomputed.
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

FORMAT = "3"  # version of the file format, of the computation, and of the order in which trainings visit rows


@dataclass(frozen=True, slots=True)
class ReferenceLogps:
    """Log-probabilities of the answers under the reference, in the order of the pairs, in nats."""

    chosen: list[float]
    rejected: list[float]


def key_of(model: str, rows: Sequence[Mapping[str, Sequence[int]]], *settings: object) -> str:
    """Return the key: a hash of the model's files, the rows' token ids in order, and any other settings.

    The model's files are its weights, configuration and code; the tokenizer's are left out because rows are token ids.
    """
    digest = hashlib.sha256()
    digest.update(repr((FORMAT, *settings, weights_hash(model, text=False))).encode())
    for row in rows:
        for name in ("prompt_ids", "chosen_ids", "rejected_ids"):
            digest.update(f"{name}:{','.join(map(str, row[name]))};".encode())
    return digest.hexdigest()


def read(file: Path, key: str, count: int) -> ReferenceLogps | None:
    """Return the content of the file, or None if it is missing, damaged, or has another key or length."""
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as content:
            if (content.metadata() or {}).get("key") != key:
                return None
            reference = ReferenceLogps(*(content.get_tensor(name).tolist() for name in ("chosen", "rejected")))
    except SafetensorError:
        return None
    return reference if len(reference.chosen) == len(reference.rejected) == count else None


def write(file: Path, key: str, reference: ReferenceLogps) -> None:
    """Write the file atomically; the same content gives the same bytes.

    The metadata has a single entry, because safetensors writes several in random order.
    """
    tensors = {
        "chosen": torch.tensor(reference.chosen, dtype=torch.float32),
        "rejected": torch.tensor(reference.rejected, dtype=torch.float32),
    }
    write_bytes(file, save(tensors, metadata={"key": key}))
