"""Drift of M_t from M1: log-probabilities under M1 of answers that M_t generated.

The mean of log p_Mt - log p_M1 over their tokens estimates the Kullback-Leibler divergence KL(M_t || M1) per token. The
answers are sampled with `candidates.temperature` and `top_p`, not at temperature 1 from the full distribution as the
divergence requires, so the estimate covers likely answers of M_t, not all possible ones.

The answers to a prompt share it in a forward pass, if the model can (`prefix_sharing`).
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING

from srlm.errors import InputError
from srlm.models import chat, registry
from srlm.rows.records import RowWriter, SequenceLogprob, derived_seed
from srlm.rows.resume import resume_rows
from srlm.training.answer_readings import Answer, AnswerReader

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from srlm.config import ModelSection
    from srlm.reporter import Reporter
    from srlm.rows.records import Candidate, Prompt

MAX_ANSWERS = 512  # the mean over some 10^5 tokens is precise enough to detect drift


def write_logprobs(
    folder: str,
    model: ModelSection,
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    file: Path,
    *,
    seed: int,
    report: Reporter,
) -> None:
    """Append M1's log-probabilities of a seeded sample of at most `MAX_ANSWERS` answers, skipping those in `file`.

    Only the sampled candidates are held in memory. Neither the sample nor its order depends on the order of
    `candidates`, which is that of completion.
    """
    sample = _sample_answers(candidates, seed)
    needed = {row.prompt_id for row in sample}
    texts = {row.id: row.text for row in prompts if row.id in needed}
    position = {key: number for number, key in enumerate(texts)}
    if missing := needed - texts.keys():
        raise InputError(f"{file}: prompt {min(missing)} of a candidate is not in the file of prompts; restore it")
    sample.sort(key=lambda row: (position[row.prompt_id], row.index, row.id))
    done = {row.candidate_id for row in resume_rows(file, SequenceLogprob, report)}
    report.start("log-probabilities under M1", len(sample), len(done))
    tokenizer = registry.load_tokenizer(folder, model)
    prompt_ids = {key: chat.prompt_ids(tokenizer, chat.user(text)) for key, text in texts.items()}
    answers = [Answer(row.id, prompt_ids[row.prompt_id], row.token_ids) for row in sample]
    sampled = {row.id: row for row in sample}
    with RowWriter(file) as writer:
        for name, logp in AnswerReader(folder, model).read(answers, done):
            row = sampled[name]
            if row.logprob is not None:  # as of every answer of M_t
                writer.write(SequenceLogprob(name, len(row.token_ids), row.logprob, logp))
            report.advance()


def kl_from_m1(logprobs: Sequence[SequenceLogprob]) -> float | None:
    """Return the mean of log p_Mt - log p_M1 over all tokens, in nats per token; None for no tokens."""
    tokens = sum(row.tokens for row in logprobs)
    return math.fsum(row.logprob - row.logprob_m1 for row in logprobs) / tokens if tokens else None


def _sample_answers(candidates: Sequence[Candidate], seed: int) -> list[Candidate]:
    """Return M_t's answers whose hashes with the seed are the smallest: a sample that no order of rows changes."""
    keys = (
        (derived_seed(seed, "readings", row.id), row.id, index)
        for index, row in enumerate(candidates)
        if row.token_ids and row.source == "own"
    )
    return [candidates[index] for _, _, index in heapq.nsmallest(MAX_ANSWERS, keys)]
