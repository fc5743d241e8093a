"""Candidate answers: M_t samples N answers to each new prompt (paper, section 2.2).

An answer is what the model said: without its thoughts and before any further turn (`models.replies`).

There may be millions of them, so none is kept in memory: the answers still to generate are a boolean table of one byte
per answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from srlm.engines.base import Request, Sampling
from srlm.models import chat
from srlm.models.replies import ReplyReader
from srlm.rows.ids import IdIndex
from srlm.rows.records import Candidate, RowWriter, content_id, derived_seed
from srlm.rows.resume import resume_iter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from srlm.config import CandidatesSection
    from srlm.engines.base import Completion, Engine
    from srlm.models.replies import Said
    from srlm.reporter import Reporter
    from srlm.rows.records import Prompt


def write_candidates(
    engine: Engine,
    prompts: Sequence[Prompt],
    file: Path,
    *,
    candidates: CandidatesSection,
    seed: int,
    report: Reporter,
    stage: str = "candidates",
) -> None:
    """Append the answers that `file` still lacks, each as soon as it finishes.

    `prompts` is iterated twice and not kept in memory.
    """
    rows, missing = _missing(prompts, resume_iter(file, Candidate, report), candidates.per_prompt)
    report.start(stage, missing.size, missing.size - int(missing.sum()))
    sampling = Sampling(candidates.temperature, candidates.top_p, candidates.max_tokens)
    requests = (
        Request(f"{prompt.id}.{index}", prompt_ids, sampling, derived_seed(seed, "candidate", prompt.id, index))
        for prompt, row_missing in zip(prompts, missing, strict=True)
        if row_missing.any()
        for prompt_ids in [chat.prompt_ids(engine.tokenizer, chat.user(prompt.text))]
        for index in np.flatnonzero(row_missing).tolist()
    )
    reader = ReplyReader(engine.tokenizer)
    with RowWriter(file, rows) as writer:
        for completion in engine.generate(requests):
            writer.write(_candidate(completion, reader.read(completion), seed))
            report.advance()


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
