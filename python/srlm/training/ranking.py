"""A ranking loss for judge examples: of two answers to a question the better one gets the higher expected score.

For answers b, w to one question that humans ordered, the loss is -log sigmoid(beta (E_b - E_w)) with beta = SHARPNESS
(Bradley-Terry; for reward models Ouyang et al. 2022, arXiv 2203.02155, eq. 1). E is the mean of the score token's
distribution over the digits, which `judge.score: expected` reads. Cross-entropy on the digit alone first learns how
often each score occurs, whatever the answer; this loss is the same for all scores that are shifted together.

Humans often prefer the longer answer, so a judge may learn to measure length. `LengthFactors` give the pairs in which
the better answer is the longer one, and those in which it is the shorter, the same total weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import linear, logsigmoid

from srlm.errors import InputError
from srlm.kernels.logit_transform import LogitTransform
from srlm.stages.judge import SCORE_PREFIX, digits_behind
from srlm.training.step_order import NO_GROUP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from srlm.rows.records import Example
    from srlm.training.passes import Example as Row
    from srlm.training.passes import Pass

SHARPNESS = 2.0  # of a difference of one point
GROUP = "group"
COLUMNS = (GROUP, "human_score", "score_at")


@dataclass(frozen=True, slots=True)
class ScoreTokens:
    """The tokens of the scores, and the scores: M of each."""

    ids: tuple[int, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LengthFactors:
    """Factors of the loss of pairs whose better answer is longer, and shorter; of equal lengths: 1."""

    longer: float = 1.0
    shorter: float = 1.0

    def of(self, better: Row, worse: Row) -> float:
        """Return the factor of a pair. Up to the score, its rows differ in the answer alone."""
        difference = better["score_at"] - worse["score_at"]
        return self.longer if difference > 0 else self.shorter if difference < 0 else 1.0


@dataclass(frozen=True, slots=True)
class Ranked:
    """The ranked answers of a forward pass."""

    rows: torch.Tensor  # [R] int64, the positions in the flattened hidden states that predict the scores
    better: torch.Tensor  # [K] int64, of each pair the index of the better answer's row
    worse: torch.Tensor  # [K] int64
    factors: torch.Tensor  # [K] float32, of each pair's loss

    def to(self, device: torch.device) -> Ranked:
        """Return it on a device."""
        return Ranked(*(column.to(device) for column in (self.rows, self.better, self.worse, self.factors)))


def score_tokens(tokenizer: PreTrainedTokenizerBase, max_score: float) -> ScoreTokens:
    """Return the tokens of the scores from 0 to `max_score`, as the judge's reply has them.

    Raises:
        InputError: they are not single tokens.
    """
    found = digits_behind(tokenizer, SCORE_PREFIX, int(max_score)) if max_score <= 9 else {}
    if not found:
        raise InputError(
            "sft.ranking_weight needs a tokenizer with a single token for each score, and judge.max_score up to 9 "
            f"(it is {max_score:g}); set sft.ranking_weight=0"
        )
    return ScoreTokens(tuple(found), tuple(map(float, found.values())))


def columns(examples: Sequence[Example], rows: Sequence[Row], tokens: ScoreTokens) -> list[dict[str, float]]:
    """Return the columns `COLUMNS` of encoded examples: the number of the question, the score, and where it is.

    Raises:
        InputError: the completion of a judge example has no score token.
    """
    numbers: dict[str, int] = {}
    found: list[dict[str, float]] = []
    for example, row in zip(examples, rows, strict=True):
        if example.group is None or example.human_score is None:
            found.append(dict(zip(COLUMNS, (NO_GROUP, 0.0, 0), strict=True)))
            continue
        places = [at for at, one in enumerate(row["input_ids"]) if row["completion_mask"][at] and one in tokens.ids]
        if not places:
            raise InputError(
                f"sft: the judge example {example.id} has no score token; set sft.ranking_weight=0, or remove its "
                "'group'"
            )
        number = numbers.setdefault(example.group, len(numbers))
        found.append(dict(zip(COLUMNS, (number, example.human_score, places[-1]), strict=True)))
    return found


def group_of(row: Row) -> int | None:
    """Return the number of a row's question, or None if it is no judge example."""
    number: int = row[GROUP]
    return None if number == NO_GROUP else number


def pairs_of(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Return the indices (better, worse) of the answers to one question that humans ordered."""
    groups: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        if row.get(GROUP, NO_GROUP) != NO_GROUP:
            groups.setdefault(row[GROUP], []).append(index)
    return [
        (one, other) if rows[one]["human_score"] > rows[other]["human_score"] else (other, one)
        for members in groups.values()
        for one, other in combinations(members, 2)
        if rows[one]["human_score"] != rows[other]["human_score"]
    ]


def length_factors(rows: Sequence[Row]) -> LengthFactors:
    """Return the factors with which both kinds of the pairs of all rows weigh the same, and as much as before together.

    They are 1 if all pairs are of one kind.
    """
    differences = [rows[better]["score_at"] - rows[worse]["score_at"] for better, worse in pairs_of(rows)]
    longer, shorter = sum(one > 0 for one in differences), sum(one < 0 for one in differences)
    if not longer or not shorter:
        return LengthFactors()
    half = (longer + shorter) / 2
    return LengthFactors(half / longer, half / shorter)


def ranked_in(one: Pass, factors: LengthFactors) -> Ranked | None:
    """Return the ranked answers of a pass, or None if it has no two that humans ordered."""
    pairs = pairs_of(one.examples)
    if not pairs:
        return None
    members = sorted({index for pair in pairs for index in pair})
    place = {index: number for number, index in enumerate(members)}
    rows = [int(one.layout.nodes[index][one.examples[index]["score_at"] - 1]) for index in members]
    better, worse = ([place[pair[side]] for pair in pairs] for side in (0, 1))
    weights = [factors.of(one.examples[pair[0]], one.examples[pair[1]]) for pair in pairs]
    return Ranked(torch.tensor(rows), torch.tensor(better), torch.tensor(worse), torch.tensor(weights))


def ranking_loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    ranked: Ranked,
    tokens: ScoreTokens,
    *,
    bias: torch.Tensor | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss, summed over the pairs with their factors, and the number of pairs in order; a tie counts half.

    Args:
        hidden: [N, D], the flattened hidden states of the pass.
        weight: [V, D], the output projection.
        ranked: the pairs.
        tokens: the M score tokens.
        bias: [V] of the projection, or None.
        softcap: see `LogitTransform`.
        logit_scale: see `LogitTransform`.

    Returns:
        Two scalars of the dtype of the hidden states, at least float32; the second without gradient.
    """
    ids = torch.tensor(tokens.ids, device=weight.device)
    own = linear(hidden[ranked.rows], weight[ids], None if bias is None else bias[ids])  # [R, M]
    logits = LogitTransform(softcap, logit_scale).apply(own if own.dtype == torch.float64 else own.float())
    expected = logits.softmax(-1) @ logits.new_tensor(tokens.scores)  # [R]
    gap = expected[ranked.better] - expected[ranked.worse]  # [K]
    right = (gap.detach() > 0).to(gap) + 0.5 * (gap.detach() == 0).to(gap)
    return -(logsigmoid(SHARPNESS * gap) * ranked.factors.to(gap)).sum(), right.sum()
