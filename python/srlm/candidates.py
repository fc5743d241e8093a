"""Candidate answers: M_t answers each new prompt N times (paper, section 2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from srlm import chat
from srlm.engines.base import Request, Sampling
from srlm.records import Candidate, RowWriter, content_id, derived_seed, resume_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from srlm.config import CandidatesSection
    from srlm.engines.base import Engine
    from srlm.records import Prompt
    from srlm.reporter import Reporter


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
    """Append the answers that `file` still lacks; one row each, written as it finishes."""
    done = {(row.prompt_id, row.index) for row in resume_rows(file, Candidate, report)}
    sampling = Sampling(candidates.temperature, candidates.top_p, candidates.max_tokens)
    wanted = [(prompt, index) for prompt in prompts for index in range(candidates.per_prompt)]
    missing = {f"{prompt.id}.{index}": (prompt, index) for prompt, index in wanted if (prompt.id, index) not in done}
    report.start(stage, len(wanted), len(wanted) - len(missing))
    requests = (
        Request(
            key,
            chat.prompt_ids(engine.tokenizer, chat.user(prompt.text)),
            sampling,
            derived_seed(seed, "candidate", prompt.id, index),
        )
        for key, (prompt, index) in missing.items()
    )
    with RowWriter(file) as writer:
        for completion in engine.generate(requests):
            prompt, index = missing[completion.key]
            writer.write(
                Candidate(
                    id=content_id("candidate", prompt.id, index, completion.text),
                    prompt_id=prompt.id,
                    index=index,
                    text=completion.text,
                    token_ids=completion.token_ids,
                    logprob=completion.logprob,
                    finish_reason=completion.finish_reason,
                    seed=derived_seed(seed, "candidate", prompt.id, index),
                )
            )
            report.advance()
