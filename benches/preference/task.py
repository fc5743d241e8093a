"""The task: lengths, rows, padded batches, and the truth in float64, computed in blocks of the vocabulary."""

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
SIGMA = 0.8  # of the log-normal answer lengths
MIN_LENGTH = 4  # tokens of an answer
REFERENCE_NOISE = 5.0  # standard deviation of the reference's log-probabilities around the policy's, in nats
VOCABULARY_BLOCK = 8192  # columns of the float64 logits at a time


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of the output projection."""

    hidden: int
    vocabulary: int

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Parse a shape such as `896x151936`."""
        hidden, _, vocabulary = text.partition("x")
        return cls(int(hidden), int(vocabulary))


@dataclass(frozen=True, slots=True)
class Rows:
    """Only the completion rows, pair after pair, chosen then rejected: the same for every prompt length."""

    hidden: torch.Tensor  # [N, D]
    weight: torch.Tensor  # [V, D]
    labels: torch.Tensor  # [N]
    lengths: list[int]  # [2P]

    @property
    def cu_seqlens(self) -> list[int]:
        """Return the cumulative lengths of the answers: [2P + 1]."""
        return [0, *torch.tensor(self.lengths).cumsum(0).tolist()]

    @property
    def segments(self) -> torch.Tensor:
        """Return the index of each row's answer: [N]."""
        numbers = torch.arange(len(self.lengths))
        return numbers.repeat_interleave(torch.tensor(self.lengths)).to(self.hidden.device)


@dataclass(frozen=True, slots=True)
class Truth:
    """Results in float64, from the same rounded hidden states and weight."""

    logps: torch.Tensor  # [P, 2]
    loss: float
    grad_hidden: torch.Tensor  # [N, D]
    grad_weight: torch.Tensor  # [V, D]


@dataclass(frozen=True, slots=True)
class Batch:
    """A micro-batch as in a trainer after the backbone; `hidden` and `weight` are leaves that require gradients."""

    hidden: torch.Tensor  # [2P, T, D], chosen rows, then rejected rows
    weight: torch.Tensor  # [V, D]
    token_labels: torch.Tensor  # [2P, T], each position's own token, -100 outside the completions
    positions: torch.Tensor  # [N], of the completion rows in the flattened hidden states, pair after pair
    labels: torch.Tensor  # [N]
    segments: torch.Tensor  # [N]
    cu_seqlens: list[int]  # [2P + 1]
    refs: torch.Tensor  # [P, 2] float32

    @property
    def pairs(self) -> int:
        """Return P."""
        return self.refs.shape[0]

    @property
    def projected(self) -> int:
        """Return the number of rows including prompts and padding, which some implementations project too."""
        return self.hidden.shape[0] * (self.hidden.shape[1] - 1)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of an implementation."""

    loss: torch.Tensor
    logps: torch.Tensor  # [P, 2]


def sample_lengths(rows: int, median: int) -> list[int]:
    """Sample log-normal answer lengths of pairs until they sum to `rows`; the last pair gets the remainder."""
    generator = torch.Generator().manual_seed(0)
    lengths: list[int] = []
    while True:
        sample = (median * torch.exp(SIGMA * torch.randn(2, generator=generator))).clamp(MIN_LENGTH, 8 * median)
        pair = [int(length) for length in sample]
        remaining = rows - sum(lengths)
        if sum(pair) + 2 * MIN_LENGTH > remaining:
            first = min(max(MIN_LENGTH, remaining * pair[0] // sum(pair)), remaining - MIN_LENGTH)
            return [*lengths, first, remaining - first]
        lengths += pair


def make_rows(shape: Shape, lengths: list[int], dtype: torch.dtype, device: str) -> Rows:
    """Sample rows with a logit distribution like a language model's: most labels likely, some unlikely.

    Logits of other tokens are normal with standard deviation 2, and those of labels are near the logsumexp, so that the
    loss is about 1.5 nats per token. With plain random logits every probability would be near 1 / V, and an
    implementation that skips small gradients would have nothing to compute.
    """
    generator = torch.Generator(device).manual_seed(1)
    normal = functools.partial(torch.randn, generator=generator, device=device)
    weight = normal(shape.vocabulary, shape.hidden) / math.sqrt(shape.hidden)
    labels = torch.randint(shape.vocabulary, (sum(lengths),), generator=generator, device=device)
    label_scale = math.log(shape.vocabulary) + 3.0 + 4.0 * normal(len(labels), 1)
    hidden = 2.0 * normal(len(labels), shape.hidden) + label_scale * weight[labels]
    return Rows(hidden.to(dtype), weight.to(dtype), labels, lengths)


def make_batch(rows: Rows, truth: Truth, ratio: float) -> Batch:
    """Prepend prompts of `ratio` times the pair's mean answer length, and pad as TRL's collator does."""
    device, dtype, size = rows.hidden.device, rows.hidden.dtype, rows.hidden.shape[1]
    pairs = len(rows.lengths) // 2
    prompts = [max(1, round(ratio * (a + b) / 2)) for a, b in zip(rows.lengths[::2], rows.lengths[1::2], strict=True)]
    width = max(prompts[i // 2] + length for i, length in enumerate(rows.lengths))
    token_labels = torch.full((2 * pairs, width), IGNORED)
    positions, labels, cu_seqlens = [], rows.labels.cpu(), rows.cu_seqlens
    for i, length in enumerate(rows.lengths):
        pair, rejected = divmod(i, 2)
        line = pair + pairs * rejected
        start = prompts[pair]
        token_labels[line, start : start + length] = labels[cu_seqlens[i] : cu_seqlens[i + 1]]
        positions.append(line * width + torch.arange(start - 1, start + length - 1))  # a row predicts the next token
    at = torch.cat(positions).to(device)
    hidden = torch.randn(
        2 * pairs * width, size, generator=torch.Generator(device).manual_seed(2), device=device, dtype=dtype
    )
    hidden[at] = rows.hidden
    return Batch(
        hidden=hidden.view(2 * pairs, width, size).requires_grad_(),
        weight=rows.weight.detach().requires_grad_(),
        token_labels=token_labels.to(device),
        positions=at,
        labels=rows.labels,
        segments=rows.segments,
        cu_seqlens=cu_seqlens,
        refs=references(truth.logps).float(),
    )


def references(logps: torch.Tensor) -> torch.Tensor:
    """Return log-probabilities of a reference near the policy: [P, 2]."""
    noise = torch.randn(logps.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return (logps + REFERENCE_NOISE * noise.to(logps.device)).float().double()


def dpo(logps: torch.Tensor, refs: torch.Tensor) -> torch.Tensor:
    """Return the DPO loss (arXiv 2305.18290, eq. 7), mean over pairs; both inputs are [P, 2]."""
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
    """Compute the truth in float64; gradients from the formula, not by autograd."""
    hidden = rows.hidden.double()
    lse = torch.full((len(hidden),), -math.inf, dtype=torch.float64, device=hidden.device)
    for _, _, logits in float64_logits(rows):
        lse = torch.logaddexp(lse, logits.logsumexp(1))
    label_logits = (hidden * rows.weight[rows.labels].double()).sum(1)
    logps = sum_by_answer(label_logits - lse, rows.segments, len(rows.lengths)).requires_grad_()
    loss = dpo(logps, references(logps.detach()))
    (grad_logps,) = torch.autograd.grad(loss, logps)
    upstream = grad_logps.view(-1)[rows.segments][:, None]  # [N, 1] dL / d log p

    grad_hidden = torch.zeros_like(hidden)
    grad_weight = torch.empty(rows.weight.shape, dtype=torch.float64, device=hidden.device)
    for block, weight, logits in float64_logits(rows):
        grad_logits = -upstream * torch.exp(logits - lse[:, None])  # [N, B]
        inside = (rows.labels >= block.start) & (rows.labels < block.stop)
        grad_logits[inside, rows.labels[inside] - block.start] += upstream[inside, 0]
        grad_hidden += grad_logits @ weight
        torch.mm(grad_logits.t(), hidden, out=grad_weight[block])
    return Truth(logps.detach(), float(loss.detach()), grad_hidden, grad_weight)


def sum_by_answer(token_logps: torch.Tensor, segments: torch.Tensor, answers: int) -> torch.Tensor:
    """Sum token log-probabilities [N] into [P, 2]."""
    return token_logps.new_zeros(answers).index_add(0, segments, token_logps).view(-1, 2)
