"""An engine in a process of its own, which runs a workload on request."""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.workloads import WORKLOADS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from srlm.engines.base import Request

    Runner = Callable[[list[Request]], dict[str, "Answer"]]

OURS, VLLM = "srlm", "vllm.LLM"
LENGTH, CACHE_GIB = 2048, 2


@dataclass(frozen=True, slots=True)
class Answer:
    """What is compared of a completion."""

    text: str
    token_ids: list[int]
    logprob: float
    requested: list[list[float]]


@dataclass(frozen=True, slots=True)
class Round:
    """A workload run once: wall time, CPU time of the process, and the tokens that went through the model."""

    seconds: float
    cpu_seconds: float
    computed: int
    answers: dict[str, Answer]

    @property
    def generated(self) -> int:
        """The number of tokens in the answers."""
        return sum(len(answer.token_ids) for answer in self.answers.values())


class Process:
    """A process with an engine: srlm's, or `vllm.LLM` with the same settings."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(name, options, theirs))
        self._process.start()
        theirs.close()
        self.start_seconds: float = self._ours.recv()

    def run(self, workload: str, count: int) -> Round:
        """Run the first `count` requests of a workload, with an empty prefix cache."""
        self._ours.send((workload, count))
        result: Round = self._ours.recv()
        return result

    def close(self) -> None:
        """End the process."""
        self._ours.send(None)
        self._process.join()


def serve(name: str, options: argparse.Namespace, connection: Connection) -> None:
    """Load an engine, and run workloads until None arrives."""
    from srlm.config import ModelSection
    from srlm.models import registry

    started = time.perf_counter()
    tokenizer = registry.load_tokenizer(options.model, ModelSection(name=options.model))
    engine, run = load_srlm(options) if name == OURS else load_vllm(options)
    computed = count_computed(engine)
    connection.send(time.perf_counter() - started)
    while (work := connection.recv()) is not None:
        requests = WORKLOADS[work[0]](tokenizer, work[1])
        engine.reset_prefix_cache()
        computed.clear()
        wall, cpu = time.perf_counter(), time.process_time()
        answers = run(requests)
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        connection.send(Round(seconds, cpu_seconds, sum(computed), answers))
    engine.engine_core.shutdown()


def load_srlm(options: argparse.Namespace) -> tuple[Any, Runner]:
    """Return srlm's engine."""
    from srlm.config import EngineSection, ModelSection
    from srlm.engines import factory

    section = EngineSection(kind="vllm", max_model_len=LENGTH, enforce_eager=options.eager, cpu_cache_gib=CACHE_GIB)
    engine: Any = factory.load(options.model, ModelSection(name=options.model), section)

    def run(requests: list[Request]) -> dict[str, Answer]:
        return {
            done.key: Answer(done.text, done.token_ids, done.logprob, done.requested_logprobs)
            for done in engine.generate(requests)
        }

    return engine._engine, run


def load_vllm(options: argparse.Namespace) -> tuple[Any, Runner]:
    """Return `vllm.LLM`, in this process and with the same sizes, and otherwise with vLLM's defaults.

    Chunked prefill is off as in srlm, because vLLM's CPU runner fails with it for seeded requests.
    """
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": str(CACHE_GIB)}
    from vllm import LLM, SamplingParams

    llm = LLM(
        options.model,
        dtype="float32",
        max_model_len=LENGTH,
        max_num_seqs=256,
        max_num_batched_tokens=4096,
        enable_chunked_prefill=False,
        generation_config="vllm",
        enforce_eager=options.eager,
    )

    def run(requests: list[Request]) -> dict[str, Answer]:
        prompts = [{"prompt_token_ids": list(request.prompt_ids)} for request in requests]
        params = [
            SamplingParams(
                temperature=request.sampling.temperature,
                top_p=request.sampling.top_p,
                max_tokens=request.sampling.max_tokens,
                seed=request.seed,
                logprobs=None if request.sampling.logprob_token_ids else 0,
                logprob_token_ids=list(request.sampling.logprob_token_ids) or None,
            )
            for request in requests
        ]
        outputs = llm.generate(prompts, params, use_tqdm=False)
        return {
            request.key: vllm_answer(request, output.outputs[0])
            for request, output in zip(requests, outputs, strict=True)
        }

    return llm.llm_engine, run


def vllm_answer(request: Request, output: Any) -> Answer:
    """Return what is compared of vLLM's output."""
    ids, rows = list(output.token_ids), output.logprobs
    logprob = sum(row[token].logprob for row, token in zip(rows, ids, strict=True))
    requested = [[row[token].logprob for token in request.sampling.logprob_token_ids] for row in rows]
    return Answer(output.text, ids, logprob, requested)


def count_computed(engine: Any) -> list[int]:
    """Return a list to which the engine core adds the number of tokens of each forward pass."""
    computed: list[int] = []
    scheduler = engine.engine_core.engine_core.scheduler
    schedule = scheduler.schedule

    def counted(*args: object, **settings: object) -> Any:
        output = schedule(*args, **settings)
        computed.append(output.total_num_scheduled_tokens)
        return output

    scheduler.schedule = counted
    return computed
