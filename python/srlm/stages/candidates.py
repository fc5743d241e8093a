"""Candidate answers: M_t samples N answers to each new prompt (paper, section 2.2).

An answer is what the model said: without its thoughts and before any further turn (`models.replies`).

There may be millions of them, so none is kept in memory: the answers still to generate are a boolean table of one byte
per answer.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from srlm.engines.base import Request, Sampling
from srlm.models import chat
from srlm.models.replies import ReplyReader
from srlm.rows.growing_file import written
from srlm.rows.ids import IdIndex
from srlm.rows.records import Candidate, RowWriter, content_id, derived_seed
from srlm.rows.resume import resume_iter
from srlm.stages import generation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from srlm.config import CandidatesSection
    from srlm.engines.base import Completion, Engine
    from srlm.models.replies import Said
    from srlm.reporter import Reporter
    from srlm.rows.records import Prompt


def write_candidates(
    engine: Engine,
    prompts: Iterable[Prompt],
    file: Path,
    *,
    candidates: CandidatesSection,
    seed: int,
    report: Reporter,
    stage: str = "candidates",
) -> None:
    """Append the answers that `file` still lacks, each as soon as it finishes; see `CandidatesStage`."""
    settings: Any = {"candidates": candidates, "seed": seed, "report": report, "stage": stage}
    generation.run(engine, CandidatesStage(engine, prompts, file, **settings))


class CandidatesStage:
    """Appends the answers that `file` still lacks.

    `prompts` is iterated twice and not kept in memory. It may still grow, to `expected` prompts (see `GrowingFile`).
    """

    def __init__(
        self,
        engine: Engine,
        prompts: Iterable[Prompt | None],
        file: Path,
        *,
        candidates: CandidatesSection,
        seed: int,
        report: Reporter,
        stage: str = "candidates",
        expected: int = 0,
    ) -> None:
        """Find what an interrupted stage has left to do."""
        self._engine, self._prompts, self._file, self._seed, self._report = engine, prompts, file, seed, report
        self._per_prompt = candidates.per_prompt
        self._sampling = Sampling(candidates.temperature, candidates.top_p, candidates.max_tokens)
        self._reader, self._files = ReplyReader(engine.tokenizer), contextlib.ExitStack()
        rows = resume_iter(file, Candidate, report)
        self._rows, self._missing = _missing(written(prompts), rows, self._per_prompt)
        total = max(self._missing.size, expected * self._per_prompt)
        report.start(stage, total, self._missing.size - int(self._missing.sum()))

    @property
    def is_complete(self) -> bool:
        """See `GenerationStage.is_complete`."""
        return False

    def __enter__(self) -> Self:
        """See `GenerationStage`."""
        self._writer = self._files.enter_context(RowWriter(self._file, self._rows))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `GenerationStage`."""
        self._files.__exit__(kind, error, trace)

    def requests(self) -> Iterator[Request | None]:
        """See `GenerationStage.requests`."""
        numbers = itertools.count()
        for prompt in self._prompts:
            if prompt is None:
                yield None
                continue
            number = next(numbers)
            is_new = number >= len(self._missing)
            indices = range(self._per_prompt) if is_new else np.flatnonzero(self._missing[number]).tolist()
            prompt_ids = chat.prompt_ids(self._engine.tokenizer, chat.user(prompt.text)) if indices else ()
            for index in indices:
                seed = derived_seed(self._seed, "candidate", prompt.id, index)
                yield Request(f"{prompt.id}.{index}", prompt_ids, self._sampling, seed)

    def receive(self, completion: Completion) -> None:
        """See `GenerationStage.receive`."""
        self._writer.write(_candidate(completion, self._reader.read(completion), self._seed))
        self._report.advance()


def _missing(prompts: Iterable[Prompt], done: Iterable[Candidate], per_prompt: int) -> tuple[int, NDArray[np.bool_]]:
    """Return the number of existing rows, and a mask of the missing answers: [P, N]."""
    ids, rows = IdIndex.of(prompt.id for prompt in prompts), 0
    missing = np.repeat(ids.is_first[:, None], per_prompt, axis=1)  # [P, N] a repeated prompt is answered once
    for row in done:
        rows += 1
        index = ids.index(row.prompt_id)
        if index is not None and 0 <= row.index < per_prompt:
            missing[index, row.index] = False
    return rows, missing


def _candidate(completion: Completion, said: Said, seed: int) -> Candidate:
    prompt_id, _, index = completion.key.rpartition(".")
    return Candidate(
        id=content_id("candidate", prompt_id, int(index), said.text),
        prompt_id=prompt_id,
        index=int(index),
        text=said.text,
        token_ids=completion.token_ids,
        logprob=completion.logprob,
        finish_reason=said.finish_reason,
        seed=derived_seed(seed, "candidate", prompt_id, int(index)),
        thought=said.thought,
        answer_tokens=said.tokens,
    )
