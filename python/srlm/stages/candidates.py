"""Candidate answers: M_t answers each new prompt N times (paper, section 2.2).

There may be millions of them, so none is held: what is left to ask for is a table of marks, a byte an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from srlm.engines.base import Request, Sampling
from srlm.models import chat
from srlm.rows.ids import Ids
from srlm.rows.records import Candidate, RowWriter, content_id, derived_seed, resume_iter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from srlm.config import CandidatesSection
    from srlm.engines.base import Completion, Engine
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
    """Append the answers that `file` still lacks; one row each, written as it finishes.

    `prompts` are gone through twice, and not held.
    """
    rows, wanted = _wanted(prompts, resume_iter(file, Candidate, report), candidates.per_prompt)
    report.start(stage, wanted.size, wanted.size - int(wanted.sum()))
    sampling = Sampling(candidates.temperature, candidates.top_p, candidates.max_tokens)
    requests = (
        Request(f"{prompt.id}.{index}", asked, sampling, derived_seed(seed, "candidate", prompt.id, index))
        for prompt, marks in zip(prompts, wanted, strict=True)
        if marks.any()
        for asked in [chat.prompt_ids(engine.tokenizer, chat.user(prompt.text))]
        for index in np.flatnonzero(marks).tolist()
    )
    with RowWriter(file, rows) as writer:
        for completion in engine.generate(requests):
            writer.write(_candidate(completion, seed))
            report.advance()


def _wanted(prompts: Iterable[Prompt], done: Iterable[Candidate], per_prompt: int) -> tuple[int, NDArray[np.bool_]]:
    """Return how many rows are there, and which answers are not: [P, N]."""
    ids, rows = Ids.of(prompt.id for prompt in prompts), 0
    wanted = np.repeat(ids.first[:, None], per_prompt, axis=1)  # [P, N] a prompt that is there twice is answered once
    for row in done:
        rows += 1
        place = ids.place(row.prompt_id)
        if place is not None and 0 <= row.index < per_prompt:
            wanted[place, row.index] = False
    return rows, wanted


def _candidate(completion: Completion, seed: int) -> Candidate:
    prompt_id, _, index = completion.key.rpartition(".")
    return Candidate(
        id=content_id("candidate", prompt_id, int(index), completion.text),
        prompt_id=prompt_id,
        index=int(index),
        text=completion.text,
        token_ids=completion.token_ids,
        logprob=completion.logprob,
        finish_reason=completion.finish_reason,
        seed=derived_seed(seed, "candidate", prompt_id, int(index)),
    )
