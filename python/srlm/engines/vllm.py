"""The vLLM engine: continuous batching, prefix caching, tensor parallelism.

Prefix caching is on, so a common prefix of requests (the judge's rubric, the prompt of N answers) is computed once, in
whole cache blocks. On a CPU the engine core runs inside this process, which saves its start-up time; on a GPU it runs
in a process of its own, so that the GPU does not wait for this one's work per token. `vllm_cpu` and `nucleus` change
what is slow on a CPU.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlm.engines import vllm_cpu
from srlm.engines.base import Completion, Request, available, sqrt_batches
from srlm.models import generation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from transformers import GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

    from srlm.config import EngineSection


class VllmEngine:
    """A model in vLLM, with a bounded number of requests in flight."""

    name = "vllm"

    def __init__(
        self, folder: str, tokenizer: PreTrainedTokenizerBase, engine: EngineSection, *, dtype: str, trust: bool
    ) -> None:
        _set_environment(engine)
        import torch
        from transformers import AutoConfig
        from vllm import EngineArgs, envs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.llm_engine import LLMEngine

        on_cpu = vllm_cpu.is_cpu()
        if on_cpu and engine.tensor_parallel_size == 1:
            os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        if on_cpu and engine.enforce_eager:
            # vLLM compiles some small functions all the same, which takes longer at each start than they gain.
            torch.compiler.set_stance("force_eager")
        self.tokenizer = tokenizer
        self.sizes: dict[str, list[int]] = {}
        self.has_processes = envs.VLLM_ENABLE_V1_MULTIPROCESSING or engine.tensor_parallel_size > 1
        self._own_top_p = on_cpu  # vLLM's own is fast on a GPU
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust)
        end = generation.end_ids(generation.load(folder, config)[0], tokenizer)
        settings = settings_folder(generation.neutral(end, tokenizer.pad_token_id))
        # vLLM's own copy of the tokenizer takes a second to load. Only models that also take images need one.
        own_tokenizer = config.get_text_config() is not config
        arguments = EngineArgs(
            model=folder,
            dtype=dtype,
            trust_remote_code=trust,
            generation_config=settings,  # the model's end tokens, none of its sampling settings
            skip_tokenizer_init=not own_tokenizer,
            max_model_len=engine.length,
            max_num_seqs=engine.max_num_seqs or (vllm_cpu.MAX_NUM_SEQS if on_cpu else None),
            tensor_parallel_size=engine.tensor_parallel_size,
            gpu_memory_utilization=engine.gpu_memory_utilization,
            enforce_eager=engine.enforce_eager,
            enable_prefix_caching=True,
            disable_log_stats=True,
            hf_overrides=head_overrides(config, dtype),
            **(vllm_cpu.arguments(engine) if on_cpu else {}),
        )
        # `vllm.LLM` does no more than this, but also tries the chat template, which no request uses.
        self._engine: Any = LLMEngine.from_engine_args(arguments, usage_context=UsageContext.LLM_CLASS)
        self._in_flight = 4 * self._engine.vllm_config.scheduler_config.max_num_seqs
        if not own_tokenizer:
            self._engine.output_processor.tokenizer = tokenizer  # finds stop strings

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Completion]:
        """See `Engine.generate`."""
        from srlm.engines.vllm_requests import completion, sampling_params

        waiting = iter(requests)
        running: dict[str, Request] = {}
        try:
            while True:
                for request in available(waiting, self._in_flight - len(running), len(running)):
                    running[request.key] = request
                    prompt = {"prompt_token_ids": list(request.prompt_ids)}
                    self._engine.add_request(request.key, prompt, sampling_params(request, own_top_p=self._own_top_p))
                if not running:
                    return
                before = len(running)
                while len(running) == before:  # there is neither room nor a new request before one has finished
                    for output in self._engine.step():
                        if output.finished:
                            yield completion(running.pop(output.request_id), output.outputs[0], self.tokenizer)
        finally:  # a caller may stop early; its remaining requests must not appear in the next call
            self._engine.abort_request(list(running))

    def has_failed(self, _key: str) -> bool:
        """See `Engine.has_failed`."""
        return False

    def batches(self, requests: list[Request]) -> list[list[Request]]:
        """See `Engine.batches`; with continuous batching the composition of a batch always changes."""
        return sqrt_batches(requests)

    def logprobs(self, token_ids: list[int]) -> list[float]:
        """See `Engine.logprobs`."""
        from vllm import SamplingParams

        params = SamplingParams(max_tokens=1, prompt_logprobs=0, temperature=0.0)
        self._engine.add_request("logprobs", {"prompt_token_ids": token_ids}, params)
        outputs: list[Any] = []
        while not (outputs and outputs[-1].finished):
            outputs += self._engine.step()
        output = outputs[-1]
        positions = zip(token_ids[1:], output.prompt_logprobs[1:], strict=True)
        return [float(position[token].logprob) for token, position in positions]

    def close(self) -> None:
        """Shut the engine core down; without this the process would never exit."""
        self._engine.engine_core.shutdown()


def head_overrides(config: PretrainedConfig, dtype: str) -> dict[str, str]:
    """Return what makes vLLM compute logits in float32: expected scores and log-probabilities are read from them.

    In bfloat16, logits between 16 and 32 are multiples of 0.125. vLLM cannot do so for a quantized output layer.
    """
    quantized = getattr(config, "quantization_config", None) is not None
    return {} if dtype == "float32" or quantized else {"head_dtype": "float32"}


def settings_folder(config: GenerationConfig) -> str:
    """Save a generation configuration in a folder whose name depends on its content alone, and return the folder.

    vLLM's cache of compiled graphs has the name in its key: with a new name at each start, it would compile each time.
    The folder stays, because vLLM reads it again after its start.
    """
    root = Path(tempfile.gettempdir()) / f"srlm-vllm-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as new:
        config.save_pretrained(new)
        file = Path(new) / generation.FILE
        folder = root / hashlib.sha256(file.read_bytes()).hexdigest()
        folder.mkdir(exist_ok=True)
        file.replace(folder / generation.FILE)  # at once: another engine may be reading it
    return str(folder)


def _set_environment(engine: EngineSection) -> None:
    """Set the variables that vLLM reads at start-up; values set by the user take precedence."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(engine.cpu_cache_gib))
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", f"0-{(os.cpu_count() or 1) - 1}")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
