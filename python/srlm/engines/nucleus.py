"""Top-p for vLLM on a CPU: exactly the tokens that vLLM keeps, found without sorting the vocabulary.

vLLM's own top-p sorts all logits at each step, which takes longer than decoding with a small model does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from vllm.v1.sample.logits_processor import LogitsProcessor, process_dict_updates
from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p_pytorch

from srlm.engines.vllm_requests import TOP_P

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from vllm import SamplingParams
    from vllm.v1.sample.logits_processor import BatchUpdate

LEAST = 1e-5  # a token below this probability is looked at only if the others do not reach top-p
MARGIN = 5e-6  # of probability mass; float32 sums over 256,000 tokens err by a tenth of it


class NucleusProcessor(LogitsProcessor):
    """Applies each request's top-p, given as `extra_args[TOP_P]`, to logits that are already divided by temperature."""

    def __init__(self, vllm_config: object, device: torch.device, is_pin_memory: bool) -> None:
        self._top_p: dict[int, float] = {}  # row of the batch -> p

    def is_argmax_invariant(self) -> bool:
        """Tell vLLM that the likeliest token is never masked; it then calls `apply` after temperature."""
        return True

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow vLLM's changes of the batch."""
        process_dict_updates(self._top_p, batch_update, _top_p)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Mask with -inf what is outside the nuclei, in place: [B, V] float32."""
        return keep_nuclei(logits, self._top_p) if self._top_p else logits


def _top_p(params: SamplingParams, *_: Any) -> float | None:  # noqa: ANN401  prompt and output tokens
    top_p: float | None = (params.extra_args or {}).get(TOP_P)
    return top_p


def keep_nuclei(logits: torch.Tensor, top_p: dict[int, float]) -> torch.Tensor:
    """Mask with -inf what vLLM's `apply_top_k_top_p` masks, bit for bit.

    In a row, the likeliest tokens are kept until their mass reaches p. Rows in which rounding or a tie could decide
    about a token are left to vLLM's own function.

    Args:
        logits: [B, V] float32 on the CPU, divided by the temperature; changed in place.
        top_p: row -> p below 1; other rows stay as they are.

    Returns:
        `logits`.
    """
    probs = logits.softmax(-1)  # [B, V]
    least = {row: _least_kept(probs[row].numpy(), p) for row, p in top_p.items()}
    thresholds = [least.get(row) or 0.0 for row in range(len(logits))]  # 0: nothing is masked
    logits.masked_fill_(probs < torch.tensor(thresholds)[:, None], -torch.inf)
    unclear = [row for row, value in least.items() if value is None]
    if unclear:
        mass = torch.tensor([top_p[row] for row in unclear])
        logits[unclear] = apply_top_k_top_p_pytorch(logits[unclear], None, mass, allow_cpu_sync=True)
    return logits


def _least_kept(probs: NDArray[np.float32], top_p: float) -> float | None:
    """Return the smallest probability in the nucleus of a row [V], or None if rounding or a tie could decide on it."""
    for some in (probs[probs > LEAST], probs):
        falling = np.sort(some)[::-1]  # [S]
        mass = falling.cumsum(dtype=np.float64)
        kept = int(np.searchsorted(mass, top_p)) + 1  # without the last one, the mass is below p
        if kept < len(mass) and mass[kept - 1] - top_p > MARGIN:
            is_clear = kept == 1 or top_p - mass[kept - 2] > MARGIN
            return float(falling[kept - 1]) if is_clear and falling[kept] < falling[kept - 1] else None
    return None
