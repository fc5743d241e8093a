"""vLLM's settings on a CPU."""

import subprocess
import sys

from srlm.config import EngineSection
from srlm.engines import vllm_cpu

FAULTS = """
import resource, sys, torch
from srlm.engines import vllm_cpu
if sys.argv[1] == "kept":
    assert vllm_cpu.keep_freed_memory()
def touch():
    torch.ones(64 << 18)  # 64 MiB
for _ in range(3):
    touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_prompts_of_any_allowed_length_fit_into_a_step():
    assert vllm_cpu.arguments(EngineSection(max_model_len=300))["max_num_batched_tokens"] == 4096
    assert vllm_cpu.arguments(EngineSection(max_model_len=9000))["max_num_batched_tokens"] == 9000


def test_freed_memory_is_reused_without_page_faults():
    assert 4 * faults("kept") < faults("returned")
