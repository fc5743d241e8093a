"""Candidate answers: M_t samples N answers to each new prompt (paper, section 2.2).

An answer is what the model said: without its thoughts and before any further turn (`models.replies`). Answers of others
(`stages.suppliers`) get their rows in the same file.

There may be millions of them, so none is kept in memory: the answers still to generate are a boolean table of one byte
per answer.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace
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
from srlm.stages.supplied_answers import human_row
from srlm.stages.suppliers import slots

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from srlm.config import CandidatesSection, SuppliersSection
    from srlm.engines.base import Completion, Engine
    from srlm.models.replies import Said
    from srlm.reporter import Reporter
    from srlm.rows.records import Prompt, Source
    from srlm.stages.supplied_answers import SuppliedAnswers


def write_candidates(
    engine: Engine,
    prompts: Iterable[Prompt],
    file: Path,
    *,
    candidates: CandidatesSection,
    seed: int,
    report: Reporter,
    stage: str = "candidates",
    source: Source = "own",
) -> None:
    """Append the answers that `file` still lacks, each as soon as it finishes; see `CandidatesStage`."""
    settings: Any = {"candidates": candidates, "seed": seed, "report": report, "stage": stage, "source": source}
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
        suppliers: SuppliersSection | None = None,
        supplied: SuppliedAnswers | None = None,
        source: Source = "own",
    ) -> None:
        """Find what an interrupted stage has left to do.

        `suppliers` (of one iteration) adds hotter samples and human answers, `supplied` another model's answers.
        `source` marks what the engine samples with the settings of `candidates`.
        """
        self._engine, self._prompts, self._file, self._seed, self._report = engine, prompts, file, seed, report
        found = slots(candidates, suppliers)
        self._slots = found if supplied is not None else replace(found, model=0)
        sampling = Sampling(candidates.temperature, candidates.top_p, candidates.max_tokens)
        hot = sampling if suppliers is None else replace(sampling, temperature=suppliers.hot_temperature)
        self._samplings = [sampling] * self._slots.own + [hot] * self._slots.hot
        self._supplied, self._source = supplied, source
        self._reader, self._files = ReplyReader(engine.tokenizer), contextlib.ExitStack()
        rows, sampled = resume_iter(file, Candidate, report), self._slots.sampled
        self._rows, self._missing = _missing(written(prompts), rows, self._slots.total)
        asked = self._missing[:, :sampled]  # the others are copied at once
        report.start(stage, max(asked.size, expected * sampled), asked.size - int(asked.sum()))

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
            missing = range(self._slots.total) if is_new else np.flatnonzero(self._missing[number]).tolist()
            indices = [index for index in missing if index < self._slots.sampled]
            self._copy(prompt, [index for index in missing if index >= self._slots.sampled])
            prompt_ids = chat.prompt_ids(self._engine.tokenizer, chat.user(prompt.text)) if indices else ()
            for index in indices:
                seed = derived_seed(self._seed, "candidate", prompt.id, index)
                yield Request(f"{prompt.id}.{index}", prompt_ids, self._samplings[index], seed)

    def receive(self, completion: Completion) -> None:
        """See `GenerationStage.receive`."""
        said, index = self._reader.read(completion), int(completion.key.rpartition(".")[2])
        source: Source = self._source if index < self._slots.own else "hot"
        self._writer.write(_candidate(completion, said, self._seed, source))
        self._report.advance()

    def _copy(self, prompt: Prompt, indices: Sequence[int]) -> None:
        """Write the answers that this engine does not sample."""
        for index in indices:
            place = index - self._slots.sampled
            if place < self._slots.model and self._supplied is not None:
                row = self._supplied.row(prompt, index, place, self._engine.tokenizer)
            else:
                row = human_row(prompt, index, self._engine.tokenizer)
            if row is not None:
                self._writer.write(row)


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


def _candidate(completion: Completion, said: Said, seed: int, source: Source) -> Candidate:
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
        source=source,
    )
