"""Engines on a tiny model, and requests to them."""

import random

import torch
from srlm.config import EngineSection
from srlm.engines.base import Request, Sampling
from srlm.engines.transformers import TransformersEngine
from srlm.models.registry import load_model

ASCII = range(3, 97)  # the ids of whole characters
GREEDY = Sampling(0.0, 1.0, 12)
SAMPLED = Sampling(1.0, 0.9, 12)
VLLM = EngineSection(
    kind="vllm", max_model_len=512, max_num_seqs=8, cpu_cache_gib=1, enforce_eager=True, dtype="float32"
)


def make_engine(folder, tokenizer, report=None, **settings):
    model = load_model(folder, dtype=torch.float32)
    return TransformersEngine(model, tokenizer, EngineSection(max_model_len=512, **settings), report)


def requests(sampling, lengths=(9, 40, 17, 80, 33), *, shared=0):
    """Return requests with random prompts of these lengths and a common prefix of `shared` ids."""
    generator = random.Random(5)
    prefix = generator.choices(ASCII, k=shared)
    return [
        Request(f"r{number}", (*prefix, *generator.choices(ASCII, k=length)), sampling, seed=100 + number)
        for number, length in enumerate(lengths)
    ]


def by_key(engine, some):
    found = {done.key: done for done in engine.generate(some)}
    assert sorted(found) == sorted(request.key for request in some)
    return found


def log_probabilities(model, request, done):
    """Return log p of the vocabulary at each generated position, from one plain forward pass: [T, V]."""
    ids = torch.tensor([[*request.prompt_ids, *done.token_ids]])
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[0, len(request.prompt_ids) - 1 : -1]
    return logits.double().log_softmax(-1)


def watch_passes(engine):
    """Return a list that collects the input shape [B, L] of every forward pass."""
    passes = []
    engine._model.register_forward_pre_hook(
        lambda module, args, kwargs: passes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    return passes


def biased(folder, tokenizer, token, bias=12.0, **settings):
    """Return an engine whose model strongly prefers one token."""
    engine = make_engine(folder, tokenizer, **settings)
    head = torch.nn.Linear(64, len(tokenizer))
    with torch.no_grad():
        head.weight.copy_(engine._model.lm_head.weight)
        head.bias.zero_()[token] = bias
    engine._model.lm_head = head
    return engine
