"""The vLLM engine: continuous batching, prefix caching, tensor parallelism.

Prefix caching is on, so a common prefix of requests (the judge's rubric, the prompt of N answers) is computed once, in
whole cache blocks. The engine core runs inside this process, which saves its start-up time on small machines; with
several GPUs vLLM starts its own workers.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

from srlm.engines.base import Completion, Request, available, sqrt_batches
from srlm.models import generation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from transformers import PreTrainedTokenizerBase

    from srlm.config import EngineSection


class VllmEngine:
    """A model in vLLM, with a bounded number of requests in flight."""

    name = "vllm"

    def __init__(
        self, folder: str, tokenizer: PreTrainedTokenizerBase, engine: EngineSection, *, dtype: str, trust: bool
    ) -> None:
        _set_environment(engine)
        from transformers import AutoConfig
        from vllm import LLM

        self.tokenizer = tokenizer
        self.sizes: dict[str, list[int]] = {}
        self._in_flight = 4 * engine.max_num_seqs
        self._settings = tempfile.TemporaryDirectory(prefix="srlm-vllm-")  # vLLM reads it again after its start
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust)
        end = generation.end_ids(generation.load(folder, config)[0], tokenizer)
        generation.neutral(end, tokenizer.pad_token_id).save_pretrained(self._settings.name)
        self._llm = LLM(
            model=folder,
            dtype=dtype,
            trust_remote_code=trust,
            generation_config=self._settings.name,  # the model's end tokens, none of its sampling settings
            max_model_len=engine.length,
            max_num_seqs=engine.max_num_seqs,
            tensor_parallel_size=engine.tensor_parallel_size,
            gpu_memory_utilization=engine.gpu_memory_utilization,
            enforce_eager=engine.enforce_eager,
            enable_prefix_caching=True,
            disable_log_stats=True,
            **_cpu_arguments(engine),
        )

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Completion]:
        """See `Engine.generate`."""
        core: Any = self._llm.llm_engine
        waiting = iter(requests)
        running: dict[str, Request] = {}
        try:
            while True:
                for request in available(waiting, self._in_flight - len(running), len(running)):
                    running[request.key] = request
                    prompt = {"prompt_token_ids": list(request.prompt_ids)}
                    core.add_request(request.key, prompt, _sampling_params(request))
                if not running:
                    return
                before = len(running)
                while len(running) == before:  # there is neither room nor a new request before one has finished
                    for output in core.step():
                        if output.finished:
                            yield _completion(running.pop(output.request_id), output.outputs[0])
        finally:  # a caller may stop early; its remaining requests must not appear in the next call
            core.abort_request(list(running))

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
        (output,) = self._llm.generate([{"prompt_token_ids": token_ids}], params, use_tqdm=False)
        positions = zip(token_ids[1:], output.prompt_logprobs[1:], strict=True)
        return [float(position[token].logprob) for token, position in positions]

    def close(self) -> None:
        """Shut the engine core down; without this the process would never exit."""
        self._llm.llm_engine.engine_core.shutdown()
        self._settings.cleanup()


def _cpu_arguments(engine: EngineSection) -> dict[str, Any]:
    """Disable chunked prefill on the CPU, where it fails for seeded requests.

    vLLM 0.32 reverts the sample of an unfinished chunk through the generator's offset, which torch's CPU generator
    lacks.
    """
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return {}
    return {"enable_chunked_prefill": False, "max_num_batched_tokens": max(engine.length, 4096)}


def _set_environment(engine: EngineSection) -> None:
    """Set the variables that vLLM reads at start-up; values set by the user take precedence."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(engine.cpu_cache_gib))
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", f"0-{(os.cpu_count() or 1) - 1}")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if engine.tensor_parallel_size == 1:
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")


def _sampling_params(request: Request) -> Any:  # noqa: ANN401  vllm.SamplingParams, imported late
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    sampling = request.sampling
    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p if sampling.temperature > 0 else 1.0,
        max_tokens=sampling.max_tokens,
        seed=request.seed,
        stop=list(sampling.stop),
        logprobs=None if sampling.logprob_token_ids else 0,
        logprob_token_ids=list(sampling.logprob_token_ids) or None,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _completion(request: Request, output: Any) -> Completion:  # noqa: ANN401  vllm's CompletionOutput
    token_ids = list(output.token_ids)
    per_token = [
        {token: entry.logprob for token, entry in position.items()} for position in output.logprobs
    ]  # [tokens]: id -> nats
    return Completion(
        key=request.key,
        token_ids=token_ids,
        text=output.text,
        logprob=sum(position[token] for token, position in zip(token_ids, per_token, strict=True)),
        finish_reason="length" if output.finish_reason == "length" else "stop",
        requested_logprobs=[
            [position[token] for token in request.sampling.logprob_token_ids] for position in per_token
        ],
    )
