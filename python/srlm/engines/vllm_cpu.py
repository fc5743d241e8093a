"""vLLM's settings on a CPU, where some of its defaults do not suit many short requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from srlm.config import EngineSection

BLOCK_SIZE = 32  # tokens; the smallest that vLLM's CPU attention takes. vLLM's own default there is 128
MAX_NUM_SEQS = 256
PROCESSOR = "srlm.engines.nucleus:NucleusProcessor"


def is_cpu() -> bool:
    """Tell whether vLLM runs on the CPU."""
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def arguments(engine: EngineSection) -> dict[str, Any]:
    """Return the arguments of `vllm.LLM` for a CPU.

    Small cache blocks let requests share more of a common prefix. Chunked prefill is off because it fails for seeded
    requests: vLLM 0.32 reverts the sample of an unfinished chunk through the generator's offset, which torch's CPU
    generator lacks.
    """
    return {
        "block_size": BLOCK_SIZE,
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(engine.length, 4096),
        "logits_processors": [PROCESSOR],
    }
