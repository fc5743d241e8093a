"""What is computed from what: lengths, rows, padded batches, and the truth in float64, in blocks of the vocabulary."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import logsigmoid

if TYPE_CHECKING:
    from collections.abc import Iterator


BETA = 0.1
IGNORED = -100
SIGMA = 0.8  # of the log-normal lengths
SHORTEST = 4  # tokens of an answer
REFERENCE_NOISE = 5.0  # nats between the policy's log-probability and the reference's
VOCABULARY_BLOCK = 8192  # columns of the float64 logits at a time


@dataclass(frozen=True, slots=True)
class Shape:
    """The output projection's."""

    hidden: int
    vocabulary: int

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Read `896x151936`."""
        hidden, _, vocabulary = text.partition("x")
        return cls(int(hidden), int(vocabulary))


@dataclass(frozen=True, slots=True)
class Rows:
    """The completions' rows alone, pair after pair, chosen then rejected: the same for every prompt length."""

    hidden: torch.Tensor  # [N, D]
    weight: torch.Tensor  # [V, D]
    labels: torch.Tensor  # [N]
    lengths: list[int]  # [2P]

    @property
    def cuts(self) -> list[int]:
        """Return where the answers begin and end among the rows: [2P + 1]."""
        return [0, *torch.tensor(self.lengths).cumsum(0).tolist()]

    @property
    def segments(self) -> torch.Tensor:
        """Return the number of each row's answer: [N]."""
        numbers = torch.arange(len(self.lengths))
        return numbers.repeat_interleave(torch.tensor(self.lengths)).to(self.hidden.device)


@dataclass(frozen=True, slots=True)
class Truth:
    """In float64, from the same rounded hidden states and weight."""

    logps: torch.Tensor  # [P, 2]
    loss: float
    grad_hidden: torch.Tensor  # [N, D]
    grad_weight: torch.Tensor  # [V, D]


@dataclass(frozen=True, slots=True)
class Batch:
    """A micro batch as a trainer has it after the backbone; `hidden` and `weight` are leaves that want gradients."""

    hidden: torch.Tensor  # [2P, T, D], chosen rows, then rejected rows
    weight: torch.Tensor  # [V, D]
    token_labels: torch.Tensor  # [2P, T], each position's own token, -100 outside the completions
    places: torch.Tensor  # [N] of the completions' rows in the flattened hidden states, pair after pair
    labels: torch.Tensor  # [N]
    segments: torch.Tensor  # [N]
    cuts: list[int]  # [2P + 1]
    refs: torch.Tensor  # [P, 2] float32

    @property
    def pairs(self) -> int:
        """Return P."""
        return self.refs.shape[0]

    @property
    def projected(self) -> int:
        """Return how many rows there are with prompts and padding, which some project, too."""
        return self.hidden.shape[0] * (self.hidden.shape[1] - 1)


@dataclass(frozen=True, slots=True)
class Result:
    """What a contestant returns."""

    loss: torch.Tensor
    logps: torch.Tensor  # [P, 2]


def draw_lengths(rows: int, median: int) -> list[int]:
    """Draw log-normal lengths of pairs' answers until they have `rows` tokens; the last pair takes what is left."""
    generator = torch.Generator().manual_seed(0)
    lengths: list[int] = []
    while True:
        drawn = (median * torch.exp(SIGMA * torch.randn(2, generator=generator))).clamp(SHORTEST, 8 * median)
        pair = [int(length) for length in drawn]
        left = rows - sum(lengths)
        if sum(pair) + 2 * SHORTEST > left:
            cut = min(max(SHORTEST, left * pair[0] // sum(pair)), left - SHORTEST)
            return [*lengths, cut, left - cut]
        lengths += pair


def make_rows(shape: Shape, lengths: list[int], dtype: torch.dtype, device: str) -> Rows:
    """Draw rows whose logits are spread as a language model's: most labels likely, some not, the rest normal.

    Logits of other words have the standard deviation 2 and those of labels lie around the log-sum-exp, so that a token
    costs about 1.5 nats. With plain random logits every probability would be near 1 / V, where a contestant that skips
    small gradients has nothing left to do.
    """
    generator = torch.Generator(device).manual_seed(1)
    draw = functools.partial(torch.randn, generator=generator, device=device)
    weight = draw(shape.vocabulary, shape.hidden) / math.sqrt(shape.hidden)
    labels = torch.randint(shape.vocabulary, (sum(lengths),), generator=generator, device=device)
    certainty = math.log(shape.vocabulary) + 3.0 + 4.0 * draw(len(labels), 1)
    hidden = 2.0 * draw(len(labels), shape.hidden) + certainty * weight[labels]
    return Rows(hidden.to(dtype), weight.to(dtype), labels, lengths)


def make_batch(rows: Rows, truth: Truth, ratio: float) -> Batch:
    """Put prompts of `ratio` times the mean answer before the answers, and pad as TRL's collator does."""
    device, dtype, size = rows.hidden.device, rows.hidden.dtype, rows.hidden.shape[1]
    pairs = len(rows.lengths) // 2
    prompts = [max(1, round(ratio * (a + b) / 2)) for a, b in zip(rows.lengths[::2], rows.lengths[1::2], strict=True)]
    longest = max(prompts[i // 2] + length for i, length in enumerate(rows.lengths))
    token_labels = torch.full((2 * pairs, longest), IGNORED)
    places, labels, cuts = [], rows.labels.cpu(), rows.cuts
    for i, length in enumerate(rows.lengths):
        pair, rejected = divmod(i, 2)
        line = pair + pairs * rejected
        start = prompts[pair]
        token_labels[line, start : start + length] = labels[cuts[i] : cuts[i + 1]]
        places.append(line * longest + torch.arange(start - 1, start + length - 1))  # a row predicts the next token
    at = torch.cat(places).to(device)
    hidden = torch.randn(
        2 * pairs * longest, size, generator=torch.Generator(device).manual_seed(2), device=device, dtype=dtype
    )
    hidden[at] = rows.hidden
    return Batch(
        hidden=hidden.view(2 * pairs, longest, size).requires_grad_(),
        weight=rows.weight.detach().requires_grad_(),
        token_labels=token_labels.to(device),
        places=at,
        labels=rows.labels,
        segments=rows.segments,
        cuts=cuts,
        refs=references(truth.logps).float(),
    )


def references(logps: torch.Tensor) -> torch.Tensor:
    """Return the given log-probabilities of a reference near the policy: [P, 2]."""
    noise = torch.randn(logps.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return (logps + REFERENCE_NOISE * noise.to(logps.device)).float().double()


def dpo(logps: torch.Tensor, refs: torch.Tensor) -> torch.Tensor:
    """Return DPO's loss (arXiv 2305.18290, eq. 7), the mean over pairs; both [P, 2]."""
    ratios = logps - refs
    return -logsigmoid(BETA * (ratios[:, 0] - ratios[:, 1])).mean()


def float64_logits(rows: Rows) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Yield blocks of the vocabulary with their weight [B, D] and logits [N, B]."""
    hidden = rows.hidden.double()
    for start in range(0, len(rows.weight), VOCABULARY_BLOCK):
        block = slice(start, min(start + VOCABULARY_BLOCK, len(rows.weight)))
        weight = rows.weight[block].double()
        yield block, weight, hidden @ weight.t()


def make_truth(rows: Rows) -> Truth:
    """Compute everything in float64; gradients by the formula, not by autograd."""
    hidden = rows.hidden.double()
    lse = torch.full((len(hidden),), -math.inf, dtype=torch.float64, device=hidden.device)
    for _, _, logits in float64_logits(rows):
        lse = torch.logaddexp(lse, logits.logsumexp(1))
    label_logits = (hidden * rows.weight[rows.labels].double()).sum(1)
    logps = sum_by_answer(label_logits - lse, rows.segments, len(rows.lengths)).requires_grad_()
    loss = dpo(logps, references(logps.detach()))
    (slopes,) = torch.autograd.grad(loss, logps)
    upstream = slopes.view(-1)[rows.segments][:, None]  # [N, 1] dL / d log p

    grad_hidden = torch.zeros_like(hidden)
    grad_weight = torch.empty(rows.weight.shape, dtype=torch.float64, device=hidden.device)
    for block, weight, logits in float64_logits(rows):
        slope = -upstream * torch.exp(logits - lse[:, None])  # [N, B]
        inside = (rows.labels >= block.start) & (rows.labels < block.stop)
        slope[inside, rows.labels[inside] - block.start] += upstream[inside, 0]
        grad_hidden += slope @ weight
        torch.mm(slope.t(), hidden, out=grad_weight[block])
    return Truth(logps.detach(), float(loss.detach()), grad_hidden, grad_weight)


def sum_by_answer(token_logps: torch.Tensor, segments: torch.Tensor, answers: int) -> torch.Tensor:
    """Sum [N] into [P, 2]."""
    return token_logps.new_zeros(answers).index_add(0, segments, token_logps).view(-1, 2)
