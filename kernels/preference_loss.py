"""Preference losses from hidden states, with the gradients computed in the forward pass.

After the logsumexp of a chunk of whole pairs, the log-probabilities of both answers of each pair are known. With the
reference log-probabilities given, the gradient of the loss is one number per sequence, so the chunk's logits become the
gradients of hidden states and weight at once: 2NDV operations for the logits and 4NDV for the gradients. Recomputing
the logits in a backward pass, as a function of token log-probabilities must, costs 8NDV. The backward pass here only
multiplies by the upstream gradient.

The DPO loss (Rafailov et al. 2023, arXiv 2305.18290, eq. 7) and others are plain functions of `PairLogps`; see
`srlm.losses`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from srlm.kernels.finished_gradients import save_gradients, scale_gradients, wanted_gradients
from srlm.kernels.logit_transform import LogitTransform
from srlm.kernels.output_head import Gradients, OutputHead, check_inputs, compute_dtype, new_gradients
from srlm.kernels.segments import IGNORED, expand_to_rows, sum_rows, validate_cu_seqlens
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch.autograd.function import FunctionCtx


@dataclass(frozen=True, slots=True)
class PairLogps:
    """Inputs of a preference loss: tensors [p] of the pairs of one chunk, float32, nats."""

    chosen: torch.Tensor  # log p(chosen), differentiable
    rejected: torch.Tensor  # log p(rejected), differentiable
    ref_chosen: torch.Tensor  # under the reference; zeros if none was given
    ref_rejected: torch.Tensor
    chosen_lengths: torch.Tensor  # tokens
    rejected_lengths: torch.Tensor
    mean_chosen_length: torch.Tensor  # scalar, over all pairs of the call or as given, not only those of the chunk
    confidences: torch.Tensor  # probabilities that the chosen answer is the better one; ones if none were given
    chosen_scores: torch.Tensor  # what the pairs were selected by; zeros if none were given
    rejected_scores: torch.Tensor


@dataclass(frozen=True, slots=True)
class PreferenceMetrics:
    """Metrics per pair [P], without gradient."""

    losses: torch.Tensor  # before weighting
    chosen_logps: torch.Tensor
    rejected_logps: torch.Tensor
    chosen_top1: torch.Tensor  # rows of the chosen answer whose label is the top-1 token


@dataclass(frozen=True, slots=True)
class _Call:
    """The arguments of one call that get no gradient."""

    labels: torch.Tensor
    offsets: list[int]  # 2P + 1
    refs: torch.Tensor  # [P, 2]
    weights: torch.Tensor  # [P], including the 1 / P of the mean
    extra: torch.Tensor  # [P]
    lengths: torch.Tensor  # [P, 2]
    mean_chosen_length: torch.Tensor
    confidences: torch.Tensor  # [P]
    scores: torch.Tensor  # [P, 2]
    loss_fn: Callable[[PairLogps], torch.Tensor]
    transform: LogitTransform
    budget: int | None
    needs_grad: tuple[bool, ...]  # hidden, weight, bias


def preference_loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    pair_cu_seqlens: torch.Tensor | Sequence[int],
    ref_logps: torch.Tensor | None,
    loss_fn: Callable[[PairLogps], torch.Tensor],
    *,
    weights: torch.Tensor | None = None,
    confidences: torch.Tensor | None = None,
    scores: torch.Tensor | None = None,
    extra_logps: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    mean_chosen_length: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
    budget: int | None = None,
) -> tuple[torch.Tensor, PreferenceMetrics]:
    """Return the mean loss over pairs; differentiable once in hidden, weight and bias.

    Chunks hold whole pairs. The logits of a pair longer than a chunk are computed twice, as in `sequence_logps`.
    Without gradients (`torch.no_grad`, or no input that requires one) only the logits are computed.

    Args:
        hidden: [N, D], float32, bfloat16, float16 or float64: only the rows that predict completion tokens, pair after
            pair, each pair's chosen rows first, then its rejected rows.
        weight: [V, D], the output projection. Under autocast, the matmuls use autocast's dtype. Its gradient is
            accumulated in float32.
        labels: [N] int64, the token that each row predicts; a row labelled -100 is masked.
        pair_cu_seqlens: [2P + 1], cumulative lengths of the answers over the rows: chosen, rejected, chosen, ...
        ref_logps: [P, 2] log-probabilities of chosen and rejected under the reference; None: zeros.
        loss_fn: maps the `PairLogps` of a group of pairs to their losses [p]; the loss of a pair may depend on that
            pair only. Autograd differentiates it in `chosen` and `rejected` only: tensors that it closes over get no
            gradient.
        weights: [P] factors of the pairs' losses (the mean is still over P), or None.
        confidences: [P] for `PairLogps`: probabilities that the chosen answer is the better one, or None: ones.
        scores: [P, 2] for `PairLogps`: those of the chosen and the rejected answer, or None: zeros.
        extra_logps: [P] added to both log-probabilities before the loss, without gradient: the log-probability of the
            prefix that both answers share, if its rows are left out because they cancel.
        lengths: [P, 2] tokens of the answers, if rows were left out; by default the number of rows not masked.
        mean_chosen_length: scalar for `PairLogps`, if this call has only a part of the pairs of an optimizer step; by
            default the mean over the pairs of the call.
        bias: [V] of the projection, or None.
        softcap: cap * tanh(logit / cap), as in Gemma 2 (arXiv 2408.00118), or None.
        logit_scale: factor of the logits, before the softcap.
        temperature: divisor of the logits, after the softcap.
        budget: bytes of workspace; by default 1.25 GiB on a GPU and 256 MiB elsewhere.

    Returns:
        The loss, a float32 scalar (float64 for float64 hidden states), 0 for no pairs; and the metrics.

    Raises:
        ValueError: shapes, dtypes, labels (checked on the CPU only; on a GPU an out-of-range label gives NaN) or
            cu_seqlens are inconsistent, or `loss_fn` does not return one loss per pair.
    """
    check_inputs(hidden, weight, labels, bias)
    offsets = validate_cu_seqlens(pair_cu_seqlens, hidden.shape[0])
    if len(offsets) % 2 == 0:
        raise ValueError(f"pair_cu_seqlens must have 2P + 1 entries, found {len(offsets)}")
    pairs = len(offsets) // 2
    acc_dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    rows = sum_rows(labels != IGNORED, offsets, acc_dtype).view(pairs, 2)  # not masked
    lengths = _pair_tensor(rows if lengths is None else lengths, "lengths", (pairs, 2), 0.0, hidden, acc_dtype)
    if mean_chosen_length is None:
        mean_chosen_length = (rows if extra_logps is None else lengths)[:, 0].sum() / max(pairs, 1)
    call = _Call(
        labels=labels,
        offsets=offsets,
        refs=_pair_tensor(ref_logps, "ref_logps", (pairs, 2), 0.0, hidden, acc_dtype),
        weights=_pair_tensor(weights, "weights", (pairs,), 1.0, hidden, acc_dtype) / max(pairs, 1),
        extra=_pair_tensor(extra_logps, "extra_logps", (pairs,), 0.0, hidden, acc_dtype),
        lengths=lengths,
        mean_chosen_length=mean_chosen_length.to(hidden.device, acc_dtype),
        confidences=_pair_tensor(confidences, "confidences", (pairs,), 1.0, hidden, acc_dtype),
        scores=_pair_tensor(scores, "scores", (pairs, 2), 0.0, hidden, acc_dtype),
        loss_fn=loss_fn,
        transform=LogitTransform(softcap, logit_scale, temperature),
        budget=budget,
        needs_grad=wanted_gradients(hidden, weight, bias),
    )
    loss, *metrics = _PreferenceLoss.apply(hidden, weight, bias, call)
    return loss, PreferenceMetrics(*metrics)


def _pair_tensor(
    values: torch.Tensor | None,
    name: str,
    shape: tuple[int, ...],
    default: float,
    like: torch.Tensor,
    acc_dtype: torch.dtype,
) -> torch.Tensor:
    """Return values per pair on the device and in the dtype of the computation, or the default in their shape."""
    if values is None:
        return torch.full(shape, default, dtype=acc_dtype, device=like.device)
    if values.shape != shape:
        raise ValueError(f"expected {name} {list(shape)}, found {list(values.shape)}")
    return values.detach().to(like.device, acc_dtype)


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
        gradients = new_gradients(hidden, weight, bias, call.needs_grad, head.acc_dtype)
        pairs = len(call.weights)
        pair_metrics = torch.zeros(4, pairs, dtype=head.acc_dtype, device=hidden.device)  # fields of PreferenceMetrics
        with torch.autocast(hidden.device.type, enabled=False):
            for group in _group_pairs(call.offsets, head.chunk_rows):
                pair_metrics[:, group] = _process_group(head, hidden, call, group, gradients)
            loss = (pair_metrics[0] * call.weights).sum()
        save_gradients(ctx, gradients, hidden, weight, bias)
        metrics = pair_metrics.unbind()
        ctx.mark_non_differentiable(*metrics)
        return loss, *metrics

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, upstream: torch.Tensor, *_: object) -> tuple[torch.Tensor | None, ...]:
        return *scale_gradients(ctx, upstream, "preference_loss"), None


def _group_pairs(offsets: list[int], max_rows: int) -> Iterator[slice]:
    """Group neighbouring pairs into slices of at most `max_rows` rows; a longer pair is a group of its own."""
    first, pairs = 0, len(offsets) // 2
    for pair in range(1, pairs + 1):
        if pair == pairs or offsets[2 * pair + 2] - offsets[2 * first] > max_rows:
            yield slice(first, pair)
            first = pair


def _process_group(
    head: OutputHead, hidden: torch.Tensor, call: _Call, group: slice, gradients: Gradients
) -> torch.Tensor:
    """Return the metrics [4, p] of a group of pairs, and accumulate their gradients."""
    offsets = call.offsets[2 * group.start : 2 * group.stop + 1]
    start, end = offsets[0], offsets[-1]
    rows, labels = slice(start, end), call.labels
    local_offsets = [offset - start for offset in offsets]
    if end - start > head.chunk_rows or end == start:
        logps, top1 = head.forward_rows(hidden, labels, start, end)
        statistics = None
    else:
        statistics = head.forward(hidden[rows], labels[rows])
        logps, top1 = statistics.logps, statistics.top1
    sums = sum_rows(logps, local_offsets, head.acc_dtype).view(-1, 2) + call.extra[group, None]  # [p, 2]
    losses, grad_logps = _loss_and_grad(call, sums, group)
    if any(call.needs_grad) and end > start:
        upstream = expand_to_rows(grad_logps.reshape(-1), local_offsets)
        if statistics is None:
            head.backward_rows(hidden, labels, start, end, upstream, gradients)
        else:
            head.backward(hidden[rows], labels[rows], statistics, upstream, gradients, rows)
    hits = sum_rows(top1, local_offsets, head.acc_dtype).view(-1, 2)[:, 0]
    return torch.stack([losses, sums[:, 0], sums[:, 1], hits])


def _loss_and_grad(call: _Call, sums: torch.Tensor, group: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the losses [p] of a group of pairs, and d loss / d log-probability [p, 2], multiplied by the weights."""
    needs_grad = any(call.needs_grad)
    with torch.set_grad_enabled(needs_grad):
        leaf = sums.detach().requires_grad_(needs_grad)
        losses = call.loss_fn(
            PairLogps(
                chosen=leaf[:, 0],
                rejected=leaf[:, 1],
                ref_chosen=call.refs[group, 0],
                ref_rejected=call.refs[group, 1],
                chosen_lengths=call.lengths[group, 0],
                rejected_lengths=call.lengths[group, 1],
                mean_chosen_length=call.mean_chosen_length,
                confidences=call.confidences[group],
                chosen_scores=call.scores[group, 0],
                rejected_scores=call.scores[group, 1],
            )
        )
        if losses.shape != leaf.shape[:1]:
            raise ValueError(f"loss_fn must return one loss per pair, [{len(leaf)}], found {list(losses.shape)}")
        if not losses.requires_grad:  # no gradient is needed, or the loss does not depend on the log-probabilities
            return losses.detach(), torch.zeros_like(sums)
        (grad_logps,) = torch.autograd.grad((losses * call.weights[group]).sum(), leaf)
    return losses.detach(), grad_logps
