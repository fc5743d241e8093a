"""The output projection a chunk of rows at a time: log-probabilities forward, both gradients backward.

A chunk is as many rows as a fixed budget of memory holds over the whole vocabulary. Its products are taken in tiles of
columns, folded into statistics (`fold_logits`) and kept as exponentials, which become the gradient of the products in
place (`grad_logits`) and then, by two more matrix products, the gradients of hidden states and weight. With N rows, D
hidden dimensions and V words that is 2NDV operations forward and 4NDV backward. The products are cuBLAS's (or the
CPU's); nothing of the size N x V is ever allocated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from srlm.kernels.fold_logits import fold_logits
from srlm.kernels.grad_logits import grad_logits
from srlm.kernels.segments import IGNORED, check_labels
from srlm.kernels.triton_support import use_triton

if TYPE_CHECKING:
    from collections.abc import Iterator

    from srlm.kernels.logit_transform import LogitTransform

# Large chunks, because each rewrites the weight's float32 gradient (2.1 GB for a vocabulary of 128,256 at 4,096).
GPU_BUDGET = 5 << 28  # bytes: 1.25 GiB, 4,600 rows of a vocabulary of 128,256 in bfloat16
CPU_BUDGET = 1 << 28  # bytes: 256 MiB, 1,365 rows of a vocabulary of 49,152 in float32
TILE = 8192  # columns of one tile; a row of it fits a GPU program's registers
# float16 gradients are kept times what puts the largest of them here, far from underflow.
FLOAT16_LARGEST = 256.0


@dataclass(frozen=True, slots=True)
class Gradients:
    """Where a chunk's gradients go; None where none is asked for. Written to in place."""

    hidden: torch.Tensor | None  # [N, D], the gradient of each row is written once
    weight: torch.Tensor | None  # [V, D] float32, added to
    bias: torch.Tensor | None  # [V] float32, added to


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is known of a chunk's rows after the forward pass, in float32 (float64 for float64 inputs)."""

    logps: torch.Tensor  # [R] float64, log p(label), 0 where the label is -100: hundreds of them will be summed
    label_logit: torch.Tensor  # [R]
    maximum: torch.Tensor  # [T, R], of each tile
    factor: torch.Tensor  # [T, R], exp(that maximum) / sum_v exp(z_v) over the whole vocabulary
    top1: torch.Tensor  # [R] bool, whether no word is likelier than the label


class OutputHead:
    """The projection with its workspace, which is made once and used for every chunk.

    Args:
        weight: [V, D].
        bias: [V] or None.
        transform: from products to the softmax's input.
        dtype: the type of the products' inputs; products are accumulated in float32 (float64 for float64).
        rows: the most rows that will come, so that no more is allocated.
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
        self.wide = torch.float64 if dtype == torch.float64 else torch.float32
        vocabulary = weight.shape[0]
        self._in_place = dtype == self.wide  # products are kept where they are taken
        whole = self._in_place and weight.dtype == dtype and not use_triton(weight)
        self._tile = vocabulary if whole else min(TILE, vocabulary)
        row_bytes = vocabulary * dtype.itemsize + (0 if self._in_place else self._tile * self.wide.itemsize)
        limit = budget if budget is not None else (GPU_BUDGET if weight.is_cuda else CPU_BUDGET)
        self.chunk_rows = max(1, limit // row_bytes)
        held = min(rows, self.chunk_rows)
        self._kept = torch.empty(held * vocabulary, dtype=dtype, device=weight.device)
        self._products = self._kept if self._in_place else self._kept.new_empty(held * self._tile, dtype=self.wide)

    def forward(self, hidden: torch.Tensor, labels: torch.Tensor) -> Statistics:
        """Return the statistics of a chunk, whose exponentials stay in the workspace until the next chunk.

        Args:
            hidden: [R, D], R at most `chunk_rows`.
            labels: [R] int64, each in [0, V) or -100.
        """
        rows = hidden.shape[0]
        count = -(-self.weight.shape[0] // self._tile)
        maximum = torch.empty(count, rows, dtype=self.wide, device=hidden.device)
        total = torch.empty_like(maximum)
        label_logit = torch.full_like(maximum[0], torch.nan)  # a label out of range shows
        cast = self._cast(hidden)
        kept = self._kept_of(rows)
        for index, (start, end) in enumerate(self._tiles()):
            product = self._multiply(cast, start, end)
            bias = None if self.bias is None else self.bias[start:end]
            tile = kept[:, start:end]
            fold_logits(product, bias, labels - start, tile, maximum[index], total[index], label_logit, self.transform)
        # Differences of logits first: a large maximum would swallow the logarithm of the sum.
        most = maximum.amax(0)  # [R]
        parts = (maximum - most).exp()  # [T, R]
        whole = (total * parts).sum(0)  # [R]
        return Statistics(
            logps=(label_logit.double() - most.double() - whole.double().log()).masked_fill(labels == IGNORED, 0.0),
            label_logit=label_logit,
            maximum=maximum,
            factor=parts / whole,
            top1=label_logit >= most,
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
            hidden, labels: what `forward` was given, and `statistics` what it returned.
            upstream: [R] in the statistics' type, dL / d log p.
            gradients: where to write (hidden) and to add (weight, bias).
            rows: the chunk's place among the rows of `gradients.hidden`.
        """
        upstream = upstream.masked_fill(labels == IGNORED, 0.0)
        upstream, scale = self._scaled(upstream)
        kept = self._kept_of(hidden.shape[0])
        label_logps = statistics.logps.to(self.wide)
        for index, (start, end) in enumerate(self._tiles()):
            grad_logits(
                kept[:, start:end],
                labels - start,
                statistics.maximum[index],
                statistics.factor[index],
                statistics.label_logit,
                label_logps,
                upstream,
                self.transform,
            )
        if gradients.hidden is not None:
            gradients.hidden[rows] = self._grad_hidden(kept).mul_(scale)
        if gradients.weight is not None:
            self._add_grad_weight(gradients.weight, kept, self._cast(hidden), scale)
        if gradients.bias is not None:
            gradients.bias.add_(kept.sum(0, dtype=gradients.bias.dtype), alpha=scale)

    def chunks(self, start: int, end: int) -> Iterator[slice]:
        """Cut a range of rows into slices that the workspace holds."""
        for first in range(start, end, self.chunk_rows):
            yield slice(first, min(first + self.chunk_rows, end))

    def forward_rows(
        self, hidden: torch.Tensor, labels: torch.Tensor, start: int, end: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log-probability and top-1 flag of each row from `start` to `end`, whatever their number."""
        found = [self.forward(hidden[rows], labels[rows]) for rows in self.chunks(start, end)]
        logps = [hidden.new_empty(0, dtype=torch.float64), *(some.logps for some in found)]
        top1 = [labels.new_empty(0, dtype=torch.bool), *(some.top1 for some in found)]
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
        """Take the logits of rows `start` to `end` again and add up their gradients; `upstream` [end - start]."""
        for rows in self.chunks(start, end):
            statistics = self.forward(hidden[rows], labels[rows])
            some = upstream[rows.start - start : rows.stop - start]
            self.backward(hidden[rows], labels[rows], statistics, some, gradients, rows)

    def _scaled(self, upstream: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Scale gradients that will be kept in float16; the factor to undo it is a number, which waits for the GPU."""
        if self.dtype != torch.float16 or upstream.numel() == 0:
            return upstream, 1.0
        largest = float(upstream.abs().max()) * abs(self.transform.slope)
        if largest == 0.0 or not math.isfinite(largest):
            return upstream, 1.0
        scale = largest / FLOAT16_LARGEST
        return upstream / scale, scale

    def _tiles(self) -> Iterator[tuple[int, int]]:
        vocabulary = self.weight.shape[0]
        for start in range(0, vocabulary, self._tile):
            yield start, min(start + self._tile, vocabulary)

    def _kept_of(self, rows: int) -> torch.Tensor:
        vocabulary = self.weight.shape[0]
        return self._kept[: rows * vocabulary].view(rows, vocabulary)

    @property
    def _native_low(self) -> bool:
        """Whether the device multiplies low precision into float32; the CPU widens the inputs first."""
        return not self._in_place and self.weight.is_cuda

    def _cast(self, hidden: torch.Tensor) -> torch.Tensor:
        rounded = hidden.to(self.dtype)
        return rounded if self._native_low else rounded.to(self.wide)

    def _weight(self, start: int, end: int) -> torch.Tensor:
        rounded = self.weight[start:end].to(self.dtype)
        return rounded if self._native_low else rounded.to(self.wide)

    def _multiply(self, hidden: torch.Tensor, start: int, end: int) -> torch.Tensor:
        rows, columns = hidden.shape[0], end - start
        weight = self._weight(start, end).t()  # [D, C]
        if self._in_place:
            return torch.mm(hidden, weight, out=self._kept_of(rows)[:, start:end])
        out = self._products[: rows * columns].view(rows, columns)
        if self._native_low:
            return torch.mm(hidden, weight, self.wide, out=out)
        return torch.mm(hidden, weight, out=out)

    def _grad_hidden(self, grad: torch.Tensor) -> torch.Tensor:
        """Return grad [R, V] @ weight [V, D] in float32."""
        if self.weight.dtype == self.dtype and (self._native_low or self._in_place):
            return torch.mm(grad, self.weight, self.wide) if self._native_low else torch.mm(grad, self.weight)
        out = torch.zeros(grad.shape[0], self.weight.shape[1], dtype=self.wide, device=grad.device)
        for start, end in self._tiles():
            self._add_product(out, grad[:, start:end], self._weight(start, end), 1.0)
        return out

    def _add_grad_weight(self, total: torch.Tensor, grad: torch.Tensor, hidden: torch.Tensor, scale: float) -> None:
        """Add scale * grad.T [V, R] @ hidden [R, D] to `total` [V, D] float32."""
        if self._native_low or self._in_place:
            self._add_product(total, grad.t(), hidden, scale)
            return
        for start, end in self._tiles():
            self._add_product(total[start:end], grad[:, start:end].t(), hidden, scale)

    def _add_product(self, total: torch.Tensor, left: torch.Tensor, right: torch.Tensor, scale: float) -> None:
        if self._native_low:
            torch.addmm(total, left, right, out_dtype=self.wide, alpha=scale, out=total)
        else:
            total.addmm_(left.to(self.wide), right, alpha=scale)


def new_gradients(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    needed: tuple[bool, ...],
    wide: torch.dtype,
) -> Gradients:
    """Return zeros for those of hidden, weight and bias that need a gradient, sums over rows in `wide`.

    The hidden states' gradient is in their own type, but for float16, which it might leave before it is scaled.
    """

    def zeros(like: torch.Tensor | None, dtype: torch.dtype, *, wanted: bool) -> torch.Tensor | None:
        return torch.zeros_like(like, dtype=dtype) if wanted and like is not None else None

    of_hidden = wide if hidden.dtype == torch.float16 else hidden.dtype
    return Gradients(
        zeros(hidden, of_hidden, wanted=needed[0]),
        zeros(weight, wide, wanted=needed[1]),
        zeros(bias, wide, wanted=needed[2]),
    )


def compute_dtype(hidden: torch.Tensor) -> torch.dtype:
    """Return the type that the products' inputs have: autocast's where it is on, else the hidden states' own."""
    device = hidden.device.type
    if hidden.dtype != torch.float64 and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return hidden.dtype


def check_inputs(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, bias: torch.Tensor | None) -> None:
    """Refuse shapes and types that do not fit together.

    Raises:
        ValueError: what does not fit, with the shapes found.
    """
    found = f"hidden {tuple(hidden.shape)}, weight {tuple(weight.shape)}, labels {tuple(labels.shape)}"
    if hidden.ndim != 2 or weight.ndim != 2 or hidden.shape[1] != weight.shape[1] or labels.shape != hidden.shape[:1]:
        raise ValueError(f"expected hidden [N, D], weight [V, D] and labels [N], found {found}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"expected bias [V], found {tuple(bias.shape)} with {found}")
    if not (hidden.is_floating_point() and weight.is_floating_point()):
        raise ValueError(f"expected hidden and weight of a floating type, found {hidden.dtype} and {weight.dtype}")
    check_labels(labels, weight.shape[0])
