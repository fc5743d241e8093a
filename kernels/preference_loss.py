"""Losses of preference pairs from hidden states, their gradients finished in the forward pass.

Once a chunk of whole pairs has its log-sum-exps, both sums of every pair in it are known; with the reference's
log-probabilities given, the loss's gradient is one number per sequence, so the chunk's logits turn into the gradients
of hidden states and weight at once: 2NDV operations for the logits and 4NDV for the gradients. Taking the logits again
in a backward pass, as a function of token log-probabilities must, costs 8NDV. The backward pass here only scales.

DPO's loss (Rafailov et al. 2023, arXiv 2305.18290, eq. 7) and others are plain functions of `PairLogps`; see
`srlm.losses`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from srlm.kernels.logit_transform import LogitTransform
from srlm.kernels.output_head import Gradients, OutputHead, check_inputs, compute_dtype, new_gradients
from srlm.kernels.segments import IGNORED, boundaries, spread, sum_rows
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch.autograd.function import FunctionCtx


@dataclass(frozen=True, slots=True)
class PairLogps:
    """What a loss of preference pairs is a function of; tensors [p] of the pairs at hand, float32, nats."""

    chosen: torch.Tensor  # log p(chosen), differentiable
    rejected: torch.Tensor  # log p(rejected), differentiable
    ref_chosen: torch.Tensor  # the reference's, zeros where none was given
    ref_rejected: torch.Tensor
    chosen_lengths: torch.Tensor  # tokens
    rejected_lengths: torch.Tensor
    mean_chosen_length: torch.Tensor  # scalar, over all pairs of the call, not only those at hand


@dataclass(frozen=True, slots=True)
class PreferenceMetrics:
    """What was seen on the way, per pair [P], without gradient."""

    losses: torch.Tensor  # before weighting
    chosen_logps: torch.Tensor
    rejected_logps: torch.Tensor
    chosen_top1: torch.Tensor  # rows of the chosen answer whose label is the likeliest word


@dataclass(frozen=True, slots=True)
class _Call:
    """Everything of one call that is not differentiated."""

    labels: torch.Tensor
    cuts: list[int]  # 2P + 1
    refs: torch.Tensor  # [P, 2]
    weights: torch.Tensor  # [P], with the mean's 1 / P
    extra: torch.Tensor  # [P]
    lengths: torch.Tensor  # [P, 2]
    mean_chosen_length: torch.Tensor
    loss_fn: Callable[[PairLogps], torch.Tensor]
    transform: LogitTransform
    budget: int | None
    needed: tuple[bool, bool, bool]  # hidden, weight, bias


def preference_loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    pair_cu_seqlens: torch.Tensor | Sequence[int],
    ref_logps: torch.Tensor | None,
    loss_fn: Callable[[PairLogps], torch.Tensor],
    *,
    weights: torch.Tensor | None = None,
    extra_logps: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
    budget: int | None = None,
) -> tuple[torch.Tensor, PreferenceMetrics]:
    """Return the mean loss over pairs; differentiable once in hidden, weight and bias.

    Chunks hold whole pairs; a pair that is longer than a chunk has its logits taken twice, as in `sequence_logps`.
    Without gradients (`torch.no_grad`, or nothing that requires one) only the logits are taken.

    Args:
        hidden: [N, D], float32, bfloat16, float16 or float64: the rows that predict a completion's tokens only, pair
            after pair, each the chosen answer's rows, then the rejected one's.
        weight: [V, D], the output projection. Under autocast, products take its type. Its gradient is accumulated in
            float32.
        labels: [N] int64, the token that each row predicts; a row labelled -100 counts as nothing.
        pair_cu_seqlens: [2P + 1], where answers begin and end among the rows: chosen, rejected, chosen, ...
        ref_logps: [P, 2] log-probabilities of chosen and rejected under the reference; None: zeros.
        loss_fn: from `PairLogps` of some pairs to their losses [p]; each pair's loss may depend on that pair alone. It
            is differentiated by autograd, in `chosen` and `rejected` only: what else it closes over gets no gradient.
        weights: [P] factors of the pairs' losses (the mean is still over P), or None.
        extra_logps: [P] added to both log-probabilities before the loss, without gradient: what the beginning that
            both answers share has, where its rows are left out because they cancel.
        lengths: [P, 2] tokens of the answers, where rows were left out; by default the rows that count.
        bias: [V] of the projection, or None.
        softcap: cap * tanh(logit / cap), as in Gemma 2 (arXiv 2408.00118), or None.
        logit_scale: factor of the logits, before the cap.
        temperature: divisor of the logits, after the cap.
        budget: bytes of workspace; by default 1.25 GiB on a GPU and 256 MiB elsewhere.

    Returns:
        The loss, a float32 scalar (float64 for float64 hidden states), 0 for no pairs; and the metrics.

    Raises:
        ValueError: shapes, types, labels (checked on the CPU only; on a GPU a wrong one gives NaN) or boundaries that
            do not fit, or a `loss_fn` that does not return one loss a pair.
    """
    check_inputs(hidden, weight, labels, bias)
    cuts = boundaries(pair_cu_seqlens, hidden.shape[0])
    if len(cuts) % 2 == 0:
        raise ValueError(f"pair_cu_seqlens must hold 2P + 1 boundaries, found {len(cuts)}")
    pairs = len(cuts) // 2
    wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    rows = sum_rows(labels != IGNORED, cuts, wide).view(pairs, 2)  # those that count
    lengths = _given(rows if lengths is None else lengths, "lengths", (pairs, 2), 0.0, hidden, wide)
    grad = torch.is_grad_enabled()
    call = _Call(
        labels=labels,
        cuts=cuts,
        refs=_given(ref_logps, "ref_logps", (pairs, 2), 0.0, hidden, wide),
        weights=_given(weights, "weights", (pairs,), 1.0, hidden, wide) / max(pairs, 1),
        extra=_given(extra_logps, "extra_logps", (pairs,), 0.0, hidden, wide),
        lengths=lengths,
        mean_chosen_length=(rows if extra_logps is None else lengths)[:, 0].sum() / max(pairs, 1),
        loss_fn=loss_fn,
        transform=LogitTransform(softcap, logit_scale, temperature),
        budget=budget,
        needed=(
            grad and hidden.requires_grad,
            grad and weight.requires_grad,
            grad and bias is not None and bias.requires_grad,
        ),
    )
    loss, *metrics = _PreferenceLoss.apply(hidden, weight, bias, call)
    return loss, PreferenceMetrics(*metrics)


def _given(
    values: torch.Tensor | None,
    name: str,
    shape: tuple[int, ...],
    default: float,
    like: torch.Tensor,
    wide: torch.dtype,
) -> torch.Tensor:
    if values is None:
        return torch.full(shape, default, dtype=wide, device=like.device)
    if values.shape != shape:
        raise ValueError(f"expected {name} {list(shape)}, found {list(values.shape)}")
    return values.detach().to(like.device, wide)


class _PreferenceLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        call: _Call,
    ) -> tuple[torch.Tensor, ...]:
        dtype = compute_dtype(hidden)
        head = OutputHead(weight, bias, call.transform, dtype=dtype, rows=hidden.shape[0], budget=call.budget)
        gradients = new_gradients(hidden, weight, bias, call.needed, head.wide)
        pairs = len(call.weights)
        found = torch.zeros(4, pairs, dtype=head.wide, device=hidden.device)  # as PreferenceMetrics
        with torch.autocast(hidden.device.type, enabled=False):
            for some in _groups(call.cuts, head.chunk_rows):
                found[:, some] = _work_off(head, hidden, call, some, gradients)
            loss = (found[0] * call.weights).sum()
        ctx.dtypes = [None if some is None else some.dtype for some in (hidden, weight, bias)]
        ctx.save_for_backward(gradients.hidden, gradients.weight, gradients.bias)
        ctx.spent = False
        seen = found.unbind()
        ctx.mark_non_differentiable(*seen)
        return loss, *seen

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, upstream: torch.Tensor, *_: object) -> tuple[torch.Tensor | None, ...]:
        if ctx.spent:  # the gradients were scaled where they lie, to spare a copy of the weight's
            raise RuntimeError("preference_loss: its gradients can be taken once; call it again for another backward")
        ctx.spent = True
        found = [
            None if grad is None else grad.mul_(upstream).to(dtype)
            for grad, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return *found, None


def _groups(cuts: list[int], most: int) -> Iterator[slice]:
    """Group neighbouring pairs into slices of pairs of at most `most` rows; a longer pair is alone."""
    first, pairs = 0, len(cuts) // 2
    for pair in range(1, pairs + 1):
        if pair == pairs or cuts[2 * pair + 2] - cuts[2 * first] > most:
            yield slice(first, pair)
            first = pair


def _work_off(head: OutputHead, hidden: torch.Tensor, call: _Call, some: slice, gradients: Gradients) -> torch.Tensor:
    """Return the metrics [4, p] of some pairs, and add up their gradients."""
    cuts = call.cuts[2 * some.start : 2 * some.stop + 1]
    start, end = cuts[0], cuts[-1]
    rows, labels = slice(start, end), call.labels
    local = [cut - start for cut in cuts]
    if end - start > head.chunk_rows or end == start:
        logps, top1 = head.forward_rows(hidden, labels, start, end)
        statistics = None
    else:
        statistics = head.forward(hidden[rows], labels[rows])
        logps, top1 = statistics.logps, statistics.top1
    sums = sum_rows(logps, local, head.wide).view(-1, 2) + call.extra[some, None]  # [p, 2]
    losses, slopes = _differentiate(call, sums, some)
    if any(call.needed) and end > start:
        upstream = spread(slopes.reshape(-1), local)
        if statistics is None:
            head.backward_rows(hidden, labels, start, end, upstream, gradients)
        else:
            head.backward(hidden[rows], labels[rows], statistics, upstream, gradients, rows)
    hits = sum_rows(top1, local, head.wide).view(-1, 2)[:, 0]
    return torch.stack([losses, sums[:, 0], sums[:, 1], hits])


def _differentiate(call: _Call, sums: torch.Tensor, some: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the losses [p] of some pairs, and d loss / d log-probability [p, 2] with the pairs' weights."""
    differentiated = any(call.needed)
    with torch.set_grad_enabled(differentiated):
        leaf = sums.detach().requires_grad_(differentiated)
        losses = call.loss_fn(
            PairLogps(
                chosen=leaf[:, 0],
                rejected=leaf[:, 1],
                ref_chosen=call.refs[some, 0],
                ref_rejected=call.refs[some, 1],
                chosen_lengths=call.lengths[some, 0],
                rejected_lengths=call.lengths[some, 1],
                mean_chosen_length=call.mean_chosen_length,
            )
        )
        if losses.shape != leaf.shape[:1]:
            raise ValueError(f"loss_fn must return one loss a pair, [{len(leaf)}], found {list(losses.shape)}")
        if not losses.requires_grad:  # nobody asks, or the loss does not depend on the answers
            return losses.detach(), torch.zeros_like(sums)
        (slopes,) = torch.autograd.grad((losses * call.weights[some]).sum(), leaf)
    return losses.detach(), slopes
