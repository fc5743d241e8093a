"""How far M_t has moved from M1: M1 reads answers that M_t wrote.

The mean of log p_Mt - log p_M1 over their tokens estimates the Kullback-Leibler divergence KL(M_t || M1) a token. The
answers are drawn at `candidates.temperature` and `top_p`, not at 1 as the divergence would have it, so it is an
estimate on what M_t is likely to write, not on all it could.
"""

from __future__ import annotations

import random
from array import array
from typing import TYPE_CHECKING

import torch

from srlm.errors import InputError
from srlm.kernels.logits_logps import logits_logps
from srlm.models import chat, registry
from srlm.rows.records import Reading, RowWriter, derived_seed, resume_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from srlm.config import ModelSection
    from srlm.reporter import Reporter
    from srlm.rows.records import Candidate, Prompt

MOST = 512  # answers read: the mean over some 10^5 tokens is sharp enough to see a drift


def write_readings(
    folder: str,
    model: ModelSection,
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    file: Path,
    *,
    seed: int,
    report: Reporter,
) -> None:
    """Append M1's log-probabilities of at most `MOST` answers, drawn by the seed, that `file` still lacks.

    No more of the candidates is held than those.
    """
    drawn = _draw(candidates, seed)
    asked = {row.prompt_id for row in drawn}
    texts = {row.id: row.text for row in prompts if row.id in asked}
    if missing := asked - texts.keys():
        raise InputError(f"{file}: prompt {min(missing)} of a candidate is not in the file of prompts; restore it")
    done = {row.candidate_id for row in resume_rows(file, Reading, report)}
    report.start("M1 reads the answers", len(drawn), len(done))
    tokenizer = registry.load_tokenizer(folder, model)
    cuda = torch.cuda.is_available()
    dtype = torch.bfloat16 if cuda and torch.cuda.is_bf16_supported() else torch.float32
    reader = registry.load_model(folder, dtype=dtype, trust_remote_code=model.trust_remote_code)
    reader.to("cuda" if cuda else "cpu").eval()
    with RowWriter(file) as writer:
        for row in drawn:
            if row.id not in done:
                before = chat.prompt_ids(tokenizer, chat.user(texts[row.prompt_id]))
                writer.write(Reading(row.id, len(row.token_ids), row.logprob, log_probability(reader, before, row)))
                report.advance()


@torch.inference_mode()
def log_probability(model: torch.nn.Module, before: Sequence[int], answer: Candidate) -> float:
    """Return the sum of the log-probabilities of an answer's tokens after `before`, in nats."""
    ids = torch.tensor([[*before, *answer.token_ids]], device=next(model.parameters()).device)  # [1, T]
    count = len(answer.token_ids)
    logits = model(input_ids=ids, logits_to_keep=count + 1).logits[0, :-1]  # [N, V]
    return float(logits_logps(logits, ids[0, -count:], [0, count]).item())


def kl_from_m1(readings: Sequence[Reading]) -> float | None:
    """Return the mean of log p_Mt - log p_M1 over all tokens, in nats a token; None without any."""
    tokens = sum(row.tokens for row in readings)
    return sum(row.logprob - row.logprob_m1 for row in readings) / tokens if tokens else None


def _draw(candidates: Sequence[Candidate], seed: int) -> list[Candidate]:
    places = array("q", (place for place, row in enumerate(candidates) if row.token_ids))
    if len(places) > MOST:
        places = array("q", random.Random(derived_seed(seed, "readings")).sample(places, MOST))
    return [candidates[place] for place in places]
