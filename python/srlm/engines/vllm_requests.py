"""Requests to vLLM and its replies, without vLLM's work per token that a `Completion` does not need.

vLLM decodes the text of each token, and of each log-probability, at the step in which it is sampled. Without stop
strings nothing reads the text before the end, so it is decoded then, by vLLM's own detokenizer.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.detokenizer import IncrementalDetokenizer

from srlm.engines.base import Completion, Request

if TYPE_CHECKING:
    from vllm.outputs import CompletionOutput


TOP_P = "srlm_top_p"  # the key of top-p in `SamplingParams.extra_args`, read by `nucleus.NucleusProcessor`


def sampling_params(request: Request, *, own_top_p: bool) -> SamplingParams:
    """Return a request's parameters; with `own_top_p`, top-p is left to `nucleus.NucleusProcessor`."""
    sampling = request.sampling
    top_p = sampling.top_p if sampling.temperature > 0 else 1.0
    ours = own_top_p and top_p < 1
    return SamplingParams(
        temperature=sampling.temperature,
        top_p=1.0 if ours else top_p,
        extra_args={TOP_P: top_p} if ours else None,
        max_tokens=sampling.max_tokens,
        seed=request.seed,
        stop=list(sampling.stop),
        detokenize=bool(sampling.stop),
        logprobs=None if sampling.logprob_token_ids else 0,
        logprob_token_ids=list(sampling.logprob_token_ids) or None,
        flat_logprobs=True,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def completion(request: Request, output: CompletionOutput, tokenizer: object) -> Completion:
    """Return a finished request's completion; `tokenizer` is vLLM's."""
    token_ids = list(output.token_ids)
    flat: Any = output.logprobs  # vllm.logprobs.FlatLogprobs: the chosen token's, then those asked for
    rows = [flat.logprobs[start:end] for start, end in zip(flat.start_indices, flat.end_indices, strict=True)]
    asked = len(request.sampling.logprob_token_ids)
    return Completion(
        key=request.key,
        token_ids=token_ids,
        text=output.text if request.sampling.stop else _text(request, output, tokenizer),
        logprob=sum(row[0] for row in rows),
        finish_reason="length" if output.finish_reason == "length" else "stop",
        requested_logprobs=[row[1 : 1 + asked] for row in rows],
    )


def _text(request: Request, output: CompletionOutput, tokenizer: Any) -> str:  # noqa: ANN401  vLLM's tokenizer
    """Decode a finished answer as vLLM does: behind its prompt, without the end token or the bytes of half a letter."""
    whole = SimpleNamespace(
        request_id=request.key,
        prompt_token_ids=list(request.prompt_ids),
        prompt_embeds=None,
        sampling_params=SamplingParams(),
    )
    decoder = IncrementalDetokenizer.from_new_request(tokenizer, whole)
    decoder.update(list(output.token_ids), output.finish_reason == "stop")
    return str(decoder.get_next_output_text(finished=True, delta=False))
