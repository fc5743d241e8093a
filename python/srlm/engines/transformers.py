"""The transformers engine: works on any device, generates in batches of similar length.

Every request samples from a generator with its own seed, so its text does not depend on the other requests of the batch
(up to the rounding of batched matrix products). The KV cache of a batch's common prefix (the judge's rubric) is
computed once and kept between batches. Finished rows wait for their batch; vLLM's continuous batching is faster.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from srlm.engines.base import Completion, Request, Sampling, available
from srlm.engines.float32_head import add_float32_head
from srlm.errors import EngineError, is_out_of_memory
from srlm.kernels.token_logps import token_logps
from srlm.models import generation
from srlm.reporter import SilentReporter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from srlm.config import EngineSection
    from srlm.reporter import Reporter

MIN_SHARED_PREFIX = 32  # tokens; for a shorter prefix a separate forward pass does not pay off
TOP_P_WIDTH = 1024  # top-p first tries this many of the likeliest tokens, and sorts the vocabulary if it needs more


class TransformersEngine:
    """A model in transformers, sampled with `generate`."""

    name = "transformers"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        engine: EngineSection,
        report: Reporter | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        add_float32_head(model)
        self._model: PreTrainedModel | None = model.eval()
        self._end_ids = generation.end_ids(model.generation_config, tokenizer)
        # `generate` reads whatever it is not given from here: penalties, beams, banned tokens, lengths, caches.
        model.generation_config = generation.neutral(self._end_ids, tokenizer.pad_token_id)
        self._batch_size = self._configured_batch_size = engine.batch_size
        self.sizes: dict[str, list[int]] = {}
        self.has_processes = False
        self._report = report or SilentReporter()
        self._prefix: tuple[tuple[int, ...], Any] = ((), None)  # token ids, their KV cache

    @property
    def _loaded(self) -> PreTrainedModel:
        if self._model is None:
            raise RuntimeError("the engine is closed")
        return self._model

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Completion]:
        """See `Engine.generate`."""
        waiting = iter(requests)
        # Sort by length within a window, so that the first completions do not wait for the last request.
        while window := list(available(waiting, 16 * self._batch_size, 0)):
            for sampling, group in _by_sampling(window).items():
                while group:
                    yield from self._next_batch(group, sampling)

    def has_failed(self, _key: str) -> bool:
        """See `Engine.has_failed`."""
        return False

    def batches(self, requests: list[Request]) -> list[list[Request]]:
        """See `Engine.batches`: the batches of `generate`, since rounding depends on the composition of a batch."""
        size, groups = self._batch_size, _by_sampling(requests).values()
        return [group[start : start + size] for group in groups for start in range(0, len(group), size)]

    @torch.inference_mode()
    def logprobs(self, token_ids: list[int]) -> list[float]:
        """See `Engine.logprobs`."""
        model = self._loaded
        ids = torch.tensor([token_ids], device=model.device)  # [1, T]
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1]  # [T - 1, V]
        logps: list[float] = token_logps(logits, ids[0, 1:]).tolist()
        return logps

    def _next_batch(self, group: list[Request], sampling: Sampling) -> list[Completion]:
        """Pop a batch from the front of `group` and generate it; on out-of-memory halve the batch size for good."""
        while True:
            requests = group[: self._batch_size]
            try:
                done = self._batch(requests, sampling)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if len(requests) == 1:
                    length = len(requests[0].prompt_ids)
                    raise EngineError(f"one request of {length} tokens does not fit in memory: {error}") from error
            else:
                del group[: len(requests)]
                return done
            self._halve_batch_size(len(requests))

    def _halve_batch_size(self, size: int) -> None:
        self._batch_size, self._prefix = size // 2, ((), None)
        self.sizes = {"engine.batch_size": [self._configured_batch_size, self._batch_size]}
        self._report.note(f"engine: a batch of {size} requests does not fit in memory; continuing with {size // 2}")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def close(self) -> None:
        """See `Engine.close`."""
        self._model, self._prefix = None, ((), None)

    @torch.inference_mode()
    def _batch(self, requests: list[Request], sampling: Sampling) -> list[Completion]:
        model = self._loaded
        shared = self._shared_prefix(requests)
        input_ids, mask = _pad(requests, len(shared), self.tokenizer.pad_token_id)  # [B, L], [B, L]
        sampler = _RequestSampler(requests, sampling, model.device)
        stopping = [_StopStrings(self.tokenizer, sampling.stop, input_ids.shape[1])] if sampling.stop else []
        settings = generation.neutral(self._end_ids, self.tokenizer.pad_token_id)  # greedy: `_RequestSampler` samples
        settings.max_new_tokens = sampling.max_tokens
        output = model.generate(
            input_ids=input_ids.to(model.device),
            attention_mask=mask.to(model.device),
            past_key_values=self._prefix_cache(shared, len(requests)),
            generation_config=settings,
            logits_processor=LogitsProcessorList([sampler]),
            stopping_criteria=StoppingCriteriaList(stopping),
        )  # [B, L + T]
        new = output[:, input_ids.shape[1] :].cpu()  # [B, T]
        return sampler.completions(new, self.tokenizer, set(self._end_ids))

    def _shared_prefix(self, requests: list[Request]) -> tuple[int, ...]:
        if len(requests) < 2:
            return ()
        low, high = (pick(request.prompt_ids for request in requests) for pick in (min, max))
        length = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
        # Every prompt keeps at least one token, for the first logits.
        length = min(length, min(len(request.prompt_ids) for request in requests) - 1)
        cached = self._prefix[0]
        if len(cached) >= MIN_SHARED_PREFIX and low[:length][: len(cached)] == cached:
            return cached  # possibly a little shorter, but already computed
        return low[:length] if length >= MIN_SHARED_PREFIX else ()

    def _prefix_cache(self, prefix: tuple[int, ...], rows: int) -> Any:  # noqa: ANN401  transformers' Cache
        if not prefix:
            return None
        if self._prefix[0] != prefix:
            ids = torch.tensor([prefix], device=self._loaded.device)  # [1, P]
            self._prefix = (prefix, self._loaded(input_ids=ids, use_cache=True).past_key_values)
        cache = copy.deepcopy(self._prefix[1])
        cache.batch_repeat_interleave(rows)
        return cache


def _by_sampling(requests: list[Request]) -> dict[Sampling, list[Request]]:
    """Group requests by their sampling parameters, longest prompt first."""
    groups: dict[Sampling, list[Request]] = defaultdict(list)
    for request in requests:
        groups[request.sampling].append(request)
    for group in groups.values():
        group.sort(key=lambda request: len(request.prompt_ids), reverse=True)
    return groups


def _pad(requests: list[Request], shared: int, pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Lay rows out as [shared prefix | padding | rest]: left-padded, with the prefix in front of the padding."""
    longest = max(len(request.prompt_ids) for request in requests)
    input_ids = torch.full((len(requests), longest), pad_id)  # [B, L]
    mask = torch.zeros_like(input_ids)
    for row, request in enumerate(requests):
        ids = torch.tensor(request.prompt_ids)
        input_ids[row, :shared], mask[row, :shared] = ids[:shared], 1
        rest = len(ids) - shared
        input_ids[row, longest - rest :], mask[row, longest - rest :] = ids[shared:], 1
    return input_ids, mask


class _RequestSampler(LogitsProcessor):
    """Samples each row's next token with that request's own seed, and records the log-probabilities."""

    def __init__(self, requests: list[Request], sampling: Sampling, device: torch.device) -> None:
        self._requests, self._sampling = requests, sampling
        self._requested_ids = torch.tensor(sampling.logprob_token_ids, dtype=torch.long, device=device)
        uniforms = [
            torch.rand(sampling.max_tokens, generator=torch.Generator().manual_seed(request.seed))
            for request in requests
        ]
        self._uniforms = torch.stack(uniforms).to(device)  # [B, T]
        self._logps: list[torch.Tensor] = []  # T x [B]
        self._requested: list[torch.Tensor] = []  # T x [B, W]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        step = len(self._logps)
        if self._sampling.temperature == 0:
            tokens = scores.argmax(-1)  # [B]
        else:
            tokens = _sample_top_p(scores / self._sampling.temperature, self._sampling.top_p, self._uniforms[:, step])
        self._logps.append(token_logps(scores, tokens))
        if len(self._requested_ids):
            self._requested.append(scores[:, self._requested_ids] - scores.logsumexp(-1, keepdim=True))
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None], 0.0)

    def completions(self, new: torch.Tensor, tokenizer: PreTrainedTokenizerBase, end_ids: set[int]) -> list[Completion]:
        logps = torch.stack(self._logps, 1).cpu()  # [B, T]
        requested = torch.stack(self._requested, 1).cpu() if self._requested else None  # [B, T, W]
        done = []
        for row, request in enumerate(self._requests):
            ids: list[int] = new[row].tolist()
            ended = next((i + 1 for i, token in enumerate(ids) if token in end_ids), None)
            text = tokenizer.decode(ids[:ended], skip_special_tokens=True)
            cut = min((at for stop in self._sampling.stop if (at := text.find(stop)) >= 0), default=None)
            count = _tokens_up_to(tokenizer, ids[:ended], cut) if cut is not None else len(ids[:ended])
            done.append(
                Completion(
                    key=request.key,
                    token_ids=ids[:count],
                    text=text[:cut],
                    logprob=float(logps[row, :count].sum()),
                    finish_reason="length" if ended is None and cut is None else "stop",
                    requested_logprobs=requested[row, :count].tolist() if requested is not None else [[]] * count,
                )
            )
        return done


def _tokens_up_to(tokenizer: PreTrainedTokenizerBase, ids: list[int], cut: int) -> int:
    """Return the number of tokens up to the one that passes character `cut` (the row continued with its batch)."""
    for count in range(1, len(ids) + 1):
        if len(tokenizer.decode(ids[:count], skip_special_tokens=True)) > cut:
            return count
    return len(ids)


def _sample_top_p(logits: torch.Tensor, top_p: float, uniforms: torch.Tensor) -> torch.Tensor:
    """Nucleus sampling: sample from the smallest set of tokens whose probability reaches `top_p` (arXiv 1904.09751).

    Args:
        logits: [B, V], already divided by the temperature.
        top_p: the probability mass to keep.
        uniforms: [B] random numbers in [0, 1), one per sample.

    Returns:
        [B] token ids.
    """
    probs = logits.softmax(-1)  # [B, V]
    values, tokens = probs.topk(min(TOP_P_WIDTH, probs.shape[-1]))  # [B, K], descending
    if bool((values.sum(-1) < top_p).any()):
        values, tokens = probs.sort(-1, descending=True)
    cumulative = values.cumsum(-1)
    kept = cumulative - values < top_p  # the first token is always kept
    cumulative = cumulative.where(kept, cumulative.new_tensor(torch.inf))
    mass = (values * kept).sum(-1)  # [B]
    index = (cumulative <= (uniforms * mass)[:, None]).sum(-1)  # [B]
    index = index.clamp(max=kept.sum(-1) - 1)
    return tokens.gather(1, index[:, None])[:, 0]


class _StopStrings(StoppingCriteria):
    """Ends a row when a stop string appears in its generated text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: tuple[str, ...], prompt_length: int) -> None:
        self._tokenizer, self._stop, self._prompt_length = tokenizer, stop, prompt_length
        self._window = 2 + max(len(text.encode()) for text in stop)  # in tokens, each of at least one byte

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:
        tails = input_ids[:, max(self._prompt_length, input_ids.shape[1] - self._window) :].tolist()
        texts = self._tokenizer.batch_decode(tails, skip_special_tokens=True)
        found = [any(stop in text for stop in self._stop) for text in texts]
        return torch.tensor(found, device=input_ids.device)
