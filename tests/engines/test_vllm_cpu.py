"""vLLM's settings on a CPU."""

from srlm.config import EngineSection
from srlm.engines import vllm_cpu


def test_prompts_of_any_allowed_length_fit_into_a_step():
    assert vllm_cpu.arguments(EngineSection(max_model_len=300))["max_num_batched_tokens"] == 4096
    assert vllm_cpu.arguments(EngineSection(max_model_len=9000))["max_num_batched_tokens"] == 9000
