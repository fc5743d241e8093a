"""The output projection in chunks of rows: log-probabilities forward, gradients of hidden states and weight backward.

A chunk is as many rows as fit a fixed memory budget over the whole vocabulary. Its product `hidden @ weight.T` is
computed in tiles of columns. Each tile is reduced to row statistics and saved as exponentials (`online_logsumexp`). In
backward the exponentials become the gradient of the product in place (`grad_logits`), and two more matmuls give the
gradients of hidden states and weight. With N rows, hidden size D and vocabulary size V this takes 2NDV operations
forward and 4NDV backward. The matmuls run in cuBLAS (or the CPU's library); no N x V tensor is ever allocated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from srlm.kernels.grad_logits import grad_logits
from srlm.kernels.online_logsumexp import online_logsumexp
from srlm.kernels.segments import IGNORED, check_labels
from srlm.kernels.triton_support import use_triton

if TYPE_CHECKING:
    from collections.abc import Iterator

    from srlm.kernels.logit_transform import LogitTransform

# Large chunks, because each one rewrites the weight's float32 gradient (2.1 GB for vocabulary 128,256, hidden 4,096).
GPU_BUDGET = 5 << 28  # bytes: 1.25 GiB, 4,600 rows of a vocabulary of 128,256 in bfloat16
CPU_BUDGET = 1 << 28  # bytes: 256 MiB, 1,365 rows of a vocabulary of 49,152 in float32
TILE = 8192  # columns per tile; a row of a tile fits the registers of one Triton program
# float16 gradients are scaled so that the largest upstream gradient times slope has this size, far from underflow.
FLOAT16_GRAD_MAX = 256.0


@dataclass(frozen=True, slots=True)
class Gradients:
    """Gradient buffers, written in place; None where no gradient is needed."""

    hidden: torch.Tensor | None  # [N, D], each row is written once
    weight: torch.Tensor | None  # [V, D] float32, accumulated
    bias: torch.Tensor | None  # [V] float32, accumulated


@dataclass(frozen=True, slots=True)
class Statistics:
    """Row statistics of a chunk after the forward pass, in float32 (float64 for float64 inputs)."""

    logps: torch.Tensor  # [R] float64 because hundreds of them are summed, log p(label), 0 where the label is -100
    label_logit: torch.Tensor  # [R]
    maximum: torch.Tensor  # [T, R], per tile
    factor: torch.Tensor  # [T, R], exp(maximum) / sum_v exp(z_v), the sum over the whole vocabulary
    top1: torch.Tensor  # [R] bool, whether no token has a higher logit than the label
    entropy: torch.Tensor | None  # [R] of the softmax, in nats, 0 where the label is -100; None if not asked for


class OutputHead:
    """The projection and its workspace, which is allocated once and reused for every chunk.

    Args:
        weight: [V, D].
        bias: [V] or None.
        transform: maps the product to the softmax input.
        dtype: dtype of the matmul inputs; the matmuls accumulate in float32 (float64 for float64).
        rows: maximum number of rows, so that the workspace is not larger than needed.
        budget: bytes of workspace; None for the device's default.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        transform: LogitTransform,
        *,
        dtype: torch.dtype,
        rows: int,
        budget: int | None = None,
    ) -> None:
        self.weight, self.transform, self.dtype = weight, transform, dtype
        self.bias = None if bias is None else bias.contiguous()
        self.acc_dtype = torch.float64 if dtype == torch.float64 else torch.float32
        vocabulary = weight.shape[0]
        self._in_place = dtype == self.acc_dtype  # exponentials overwrite the product
        single_tile = self._in_place and weight.dtype == dtype and not use_triton(weight)
        self._tile = vocabulary if single_tile else min(TILE, vocabulary)
        row_bytes = vocabulary * dtype.itemsize + (0 if self._in_place else self._tile * self.acc_dtype.itemsize)
        limit = budget if budget is not None else (GPU_BUDGET if weight.is_cuda else CPU_BUDGET)
        self.chunk_rows = max(1, limit // row_bytes)
        max_rows = min(rows, self.chunk_rows)
        self._exps = torch.empty(max_rows * vocabulary, dtype=dtype, device=weight.device)
        self._products = self._exps
        if not self._in_place:
            self._products = self._exps.new_empty(max_rows * self._tile, dtype=self.acc_dtype)

    def forward(self, hidden: torch.Tensor, labels: torch.Tensor, *, entropy: bool = False) -> Statistics:
        """Return the statistics of a chunk; its exponentials stay in the workspace until the next call.

        Args:
            hidden: [R, D], R at most `chunk_rows`.
            labels: [R] int64, each in [0, V) or -100.
            entropy: whether to compute it.
        """
        rows = hidden.shape[0]
        count = -(-self.weight.shape[0] // self._tile)
        maximum = torch.empty(count, rows, dtype=self.acc_dtype, device=hidden.device)
        total = torch.empty_like(maximum)
        weighted = torch.empty_like(maximum) if entropy else None
        label_logit = torch.full_like(maximum[0], torch.nan)  # an out-of-range label gives NaN
        cast = self._cast(hidden)
        exps = self._exps_view(rows)
        for index, (start, end) in enumerate(self._tiles()):
            product = self._multiply(cast, start, end)
            bias = None if self.bias is None else self.bias[start:end]
            online_logsumexp(
                product,
                bias,
                labels - start,
                exps[:, start:end],
                maximum[index],
                total[index],
                label_logit,
                self.transform,
                None if weighted is None else weighted[index],
            )
        # Subtract the maximum from the label logit first: added to a large maximum, the log of the sum is rounded away.
        row_max = maximum.amax(0)  # [R]
        rescale = (maximum - row_max).exp()  # [T, R]
        row_total = (total * rescale).sum(0)  # [R]
        logps = label_logit.double() - row_max.double() - row_total.double().log()
        masked, factor = labels == IGNORED, rescale / row_total
        return Statistics(
            logps=logps.masked_fill(masked, 0.0),
            label_logit=label_logit,
            maximum=maximum,
            factor=factor,
            top1=label_logit >= row_max,
            entropy=None if weighted is None else _entropy(factor, total, weighted).masked_fill(masked, 0.0),
        )

    def backward(
        self,
        hidden: torch.Tensor,
        labels: torch.Tensor,
        statistics: Statistics,
        upstream: torch.Tensor,
        gradients: Gradients,
        rows: slice,
    ) -> None:
        """Turn the workspace of the last `forward` into gradients.

        Args:
            hidden, labels: the inputs of `forward`; `statistics`: its result.
            upstream: [R] in the statistics' dtype, the upstream gradient dL / d log p(label).
            gradients: buffers to write to (hidden) and to accumulate in (weight, bias).
            rows: the chunk's rows in `gradients.hidden`.
        """
        upstream = upstream.masked_fill(labels == IGNORED, 0.0)
        upstream, scale = self._scaled(upstream)
        exps = self._exps_view(hidden.shape[0])
        label_logps = statistics.logps.to(self.acc_dtype)
        for index, (start, end) in enumerate(self._tiles()):
            grad_logits(
                exps[:, start:end],
                labels - start,
                statistics.maximum[index],
                statistics.factor[index],
                statistics.label_logit,
                label_logps,
                upstream,
                self.transform,
            )
        if gradients.hidden is not None:
            gradients.hidden[rows] = self._grad_hidden(exps).mul_(scale)
        if gradients.weight is not None:
            self._add_grad_weight(gradients.weight, exps, self._cast(hidden), scale)
        if gradients.bias is not None:
            gradients.bias.add_(exps.sum(0, dtype=gradients.bias.dtype), alpha=scale)

    def chunks(self, start: int, end: int) -> Iterator[slice]:
        """Split a range of rows into slices that fit the workspace."""
        for first in range(start, end, self.chunk_rows):
            yield slice(first, min(first + self.chunk_rows, end))

    def forward_rows(
        self, hidden: torch.Tensor, labels: torch.Tensor, start: int, end: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log-probability and top-1 flag of each row from `start` to `end`, in as many chunks as needed."""
        statistics = [self.forward(hidden[rows], labels[rows]) for rows in self.chunks(start, end)]
        logps = [hidden.new_empty(0, dtype=torch.float64), *(chunk.logps for chunk in statistics)]
        top1 = [labels.new_empty(0, dtype=torch.bool), *(chunk.top1 for chunk in statistics)]
        return torch.cat(logps), torch.cat(top1)

    def backward_rows(
        self,
        hidden: torch.Tensor,
        labels: torch.Tensor,
        start: int,
        end: int,
        upstream: torch.Tensor,
        gradients: Gradients,
    ) -> None:
        """Recompute the logits of rows `start` to `end` and accumulate their gradients; `upstream` [end - start]."""
        for rows in self.chunks(start, end):
            statistics = self.forward(hidden[rows], labels[rows])
            chunk_upstream = upstream[rows.start - start : rows.stop - start]
            self.backward(hidden[rows], labels[rows], statistics, chunk_upstream, gradients, rows)

    def _scaled(self, upstream: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Scale gradients for float16 storage; return the factor that undoes it, a Python float, which syncs a GPU."""
        if self.dtype != torch.float16 or upstream.numel() == 0:
            return upstream, 1.0
        largest = float(upstream.abs().max()) * abs(self.transform.slope)
        if largest == 0.0 or not math.isfinite(largest):
            return upstream, 1.0
        scale = largest / FLOAT16_GRAD_MAX
        return upstream / scale, scale

    def _tiles(self) -> Iterator[tuple[int, int]]:
        vocabulary = self.weight.shape[0]
        for start in range(0, vocabulary, self._tile):
            yield start, min(start + self._tile, vocabulary)

    def _exps_view(self, rows: int) -> torch.Tensor:
        vocabulary = self.weight.shape[0]
        return self._exps[: rows * vocabulary].view(rows, vocabulary)

    @property
    def _mixed_precision_matmul(self) -> bool:
        """Whether matmuls take low-precision inputs and return float32; on the CPU the inputs are upcast first."""
        return not self._in_place and self.weight.is_cuda

    def _cast(self, hidden: torch.Tensor) -> torch.Tensor:
        rounded = hidden.to(self.dtype)
        return rounded if self._mixed_precision_matmul else rounded.to(self.acc_dtype)

    def _weight(self, start: int, end: int) -> torch.Tensor:
        rounded = self.weight[start:end].to(self.dtype)
        return rounded if self._mixed_precision_matmul else rounded.to(self.acc_dtype)

    def _multiply(self, hidden: torch.Tensor, start: int, end: int) -> torch.Tensor:
        rows, columns = hidden.shape[0], end - start
        weight = self._weight(start, end).t()  # [D, C]
        if self._in_place:
            return torch.mm(hidden, weight, out=self._exps_view(rows)[:, start:end])
        out = self._products[: rows * columns].view(rows, columns)
        if self._mixed_precision_matmul:
            return torch.mm(hidden, weight, self.acc_dtype, out=out)
        return torch.mm(hidden, weight, out=out)

    def _grad_hidden(self, grad: torch.Tensor) -> torch.Tensor:
        """Return grad [R, V] @ weight [V, D] in float32."""
        if self.weight.dtype == self.dtype and self._mixed_precision_matmul:
            return torch.mm(grad, self.weight, self.acc_dtype)
        if self.weight.dtype == self.dtype and self._in_place:
            return torch.mm(grad, self.weight)
        out = torch.zeros(grad.shape[0], self.weight.shape[1], dtype=self.acc_dtype, device=grad.device)
        for start, end in self._tiles():
            self._add_product(out, grad[:, start:end], self._weight(start, end), 1.0)
        return out

    def _add_grad_weight(self, total: torch.Tensor, grad: torch.Tensor, hidden: torch.Tensor, scale: float) -> None:
        """Add scale * grad.T [V, R] @ hidden [R, D] to `total` [V, D] float32."""
        if self._mixed_precision_matmul or self._in_place:
            self._add_product(total, grad.t(), hidden, scale)
            return
        for start, end in self._tiles():
            self._add_product(total[start:end], grad[:, start:end].t(), hidden, scale)

    def _add_product(self, total: torch.Tensor, left: torch.Tensor, right: torch.Tensor, scale: float) -> None:
        if self._mixed_precision_matmul:
            torch.addmm(total, left, right, out_dtype=self.acc_dtype, alpha=scale, out=total)
        else:
            total.addmm_(left.to(self.acc_dtype), right, alpha=scale)


def _entropy(factor: torch.Tensor, total: torch.Tensor, weighted: torch.Tensor) -> torch.Tensor:
    """Return the entropy [R] of the softmax from the statistics [T, R] of its tiles.

    A probability is p = factor * e with e = exp(z - maximum), so that -p log p = e * entr(factor) - factor * e log e.
    Both terms are sums of positive numbers: nothing cancels.
    """
    return (torch.special.entr(factor) * total - factor * weighted).sum(0)


def new_gradients(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    needs_grad: tuple[bool, ...],
    acc_dtype: torch.dtype,
) -> Gradients:
    """Return zero gradient buffers for those of hidden, weight and bias that need one; weight and bias in `acc_dtype`.

    The hidden states' gradient has their dtype. For float16 it has `acc_dtype`: before it is scaled it could leave the
    range of float16.
    """

    def zeros(like: torch.Tensor | None, dtype: torch.dtype, *, wanted: bool) -> torch.Tensor | None:
        return torch.zeros_like(like, dtype=dtype) if wanted and like is not None else None

    hidden_dtype = acc_dtype if hidden.dtype == torch.float16 else hidden.dtype
    return Gradients(
        zeros(hidden, hidden_dtype, wanted=needs_grad[0]),
        zeros(weight, acc_dtype, wanted=needs_grad[1]),
        zeros(bias, acc_dtype, wanted=needs_grad[2]),
    )


def compute_dtype(hidden: torch.Tensor) -> torch.dtype:
    """Return the dtype of the matmul inputs: autocast's if enabled, otherwise the hidden states'."""
    device = hidden.device.type
    if hidden.dtype != torch.float64 and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return hidden.dtype


def check_inputs(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, bias: torch.Tensor | None) -> None:
    """Check that shapes and dtypes are consistent.

    Raises:
        ValueError: they are not; the message has the shapes found.
    """
    found = f"hidden {tuple(hidden.shape)}, weight {tuple(weight.shape)}, labels {tuple(labels.shape)}"
    if hidden.ndim != 2 or weight.ndim != 2 or hidden.shape[1] != weight.shape[1] or labels.shape != hidden.shape[:1]:
        raise ValueError(f"expected hidden [N, D], weight [V, D] and labels [N], found {found}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"expected bias [V], found {tuple(bias.shape)} with {found}")
    if not (hidden.is_floating_point() and weight.is_floating_point()):
        raise ValueError(f"expected hidden and weight of a floating dtype, found {hidden.dtype} and {weight.dtype}")
    check_labels(labels, weight.shape[0])
