"""Log-probabilities that the engine has computed while it sampled: those of the reference, which need no second pass.

M_t samples the answers of its pairs, and M_t is DPO's reference. An engine in float32 gives the log-probabilities that
the trainer would compute, up to the rounding of the sums. Used only for answers that are trained on as they were
sampled, token by token, and only if the trainer's own log-probabilities of the first pairs agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from srlm.rows.records import Candidate, iter_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from srlm.rows.records import Pair

    Logps = tuple[float, float]  # of the chosen and the rejected answer, in nats

CHECKED_PAIRS = 2  # a wrong model or prompt changes every pair
# Maximum mean distance in nats per token; two implementations in float32 differ by a tenth of it (weight_check).
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class SampledAnswer:
    """An answer's token ids, and the sum of their log-probabilities in nats under the model that sampled it."""

    token_ids: list[int]
    logprob: float


def read_sampled(files: Iterable[Path], pairs: Sequence[Pair]) -> dict[str, SampledAnswer]:
    """Return the answers of the pairs by their ids, as far as M_t sampled them and the files have them."""
    wanted = {name for pair in pairs for name in (pair.chosen_id, pair.rejected_id)}
    return {
        row.id: SampledAnswer(row.token_ids, row.logprob)
        for file in files
        for row in iter_rows(file, Candidate)
        if row.id in wanted and row.source in ("own", "hot") and row.logprob is not None
    }


def known_logps(
    pairs: Sequence[Pair], rows: Sequence[Mapping[str, Sequence[int]]], sampled: Mapping[str, SampledAnswer]
) -> list[Logps | None]:
    """Return the log-probabilities of the pairs of which both answers are trained on as they were sampled; else None.

    `rows` are the pairs' token ids (`dpo.encode`).
    """
    sides = (("chosen_id", "chosen_ids"), ("rejected_id", "rejected_ids"))
    found: list[Logps | None] = []
    for pair, row in zip(pairs, rows, strict=True):
        answers = [(sampled.get(getattr(pair, name)), row[ids]) for name, ids in sides]
        logps = [answer.logprob for answer, ids in answers if answer is not None and answer.token_ids == list(ids)]
        found.append((logps[0], logps[1]) if len(logps) == len(sides) else None)
    return found


def distance_per_token(
    known: Sequence[Logps], read: Sequence[Sequence[float]], rows: Sequence[Mapping[str, Sequence[int]]]
) -> float:
    """Return the mean distance of log-probabilities [B, 2] of the same pairs, in nats per token."""
    distance = sum(abs(one - other) for pair in zip(known, read, strict=True) for one, other in zip(*pair, strict=True))
    return distance / sum(len(row[name]) for row in rows for name in ("chosen_ids", "rejected_ids"))
