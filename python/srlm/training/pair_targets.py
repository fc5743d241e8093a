"""What a pair brings to its loss besides its answers: a weight, a confidence, and the scores of the two answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from srlm import losses
from srlm.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from srlm.rows.records import Pair

COLUMNS = ("weight", "confidence", "chosen_score", "rejected_score")


def columns(pair: Pair) -> dict[str, float]:
    """Return the columns that a pair's row of token ids gets."""
    return {name: float(getattr(pair, name)) for name in COLUMNS}


def tensors(rows: Sequence[Mapping[str, Any]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the weights [B], the confidences [B] and the scores [B, 2] of rows, float32; 1, 1 and 0 by default."""
    defaults = (1.0, 1.0, 0.0, 0.0)
    values = [[row.get(name, value) for name, value in zip(COLUMNS, defaults, strict=True)] for row in rows]
    found = torch.tensor(values, device=device).view(-1, len(COLUMNS))  # [B, 4]
    return found[:, 0], found[:, 1], found[:, 2:]


def check(pairs: Sequence[Pair], loss_types: Sequence[str], *, is_fused: bool) -> None:
    """Check that the losses can take the pairs' weights, confidences and scores.

    Args:
        pairs: all pairs of the training.
        loss_types: `dpo.loss_type`.
        is_fused: whether `srlm.losses` computes the losses, not TRL.

    Raises:
        InputError: they cannot; names the first such pair.
    """
    weighted = next((pair for pair in pairs if pair.weight != 1), None)
    doubtful = next((pair for pair in pairs if pair.confidence != 1), None)
    if not is_fused and (pair := weighted or doubtful) is not None:
        what = "weight" if pair is weighted else "confidence"
        raise InputError(
            f"dpo: {_name(pair)} has the {what} {getattr(pair, what):g}, but TRL's own implementation computes this "
            "loss (one that srlm does not fuse, or of a mixture of experts) and takes none; use "
            "dpo.loss_type=[sigmoid] and a model without experts, or remove the field"
        )
    if doubtful is not None and (hard := set(loss_types) - losses.SOFT - losses.LIKELIHOODS):
        raise InputError(
            f"dpo: {_name(doubtful)} has the confidence {doubtful.confidence:g}, which the loss {min(hard)} does not "
            f"take; use one of {', '.join(sorted(losses.SOFT))}, or remove the field"
        )
    if "sppo" in loss_types:
        for pair in pairs:
            if not (0 <= pair.chosen_score <= 1 and 0 <= pair.rejected_score <= 1):
                raise InputError(
                    f"dpo: the loss sppo takes scores that are win rates, from 0 to 1; {_name(pair)} has "
                    f"{pair.chosen_score:g} and {pair.rejected_score:g}; use another dpo.loss_type, or other scores"
                )


def _name(pair: Pair) -> str:
    return f"the pair {pair.chosen_id} against {pair.rejected_id}"
