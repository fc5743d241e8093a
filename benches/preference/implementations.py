"""The compared implementations: srlm's, and other libraries' in their intended use."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from preference.task import BETA, Batch, Result, dpo, sum_by_answer

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Implementation:
    """A forward pass; the backward pass is `loss.backward()` for all implementations."""

    name: str
    run: Callable[[Batch], Result]
    note: str = ""
    float32_weight_grad: bool = False  # whether the weight's gradient is accumulated in a float32 buffer of its size
    own_reference: bool = False  # whether the reference is the policy itself, projected a second time
    devices: tuple[str, ...] = ("cpu", "cuda")


class UnsupportedError(Exception):
    """An implementation does not support this benchmark; the message has the reason."""


def completion_rows(batch: Batch) -> torch.Tensor:
    """Return the hidden states that predict completion tokens: [N, D]."""
    return batch.hidden.flatten(0, 1).index_select(0, batch.positions)


def result_of_tokens(token_logps: torch.Tensor, batch: Batch) -> Result:
    """Return the result for token log-probabilities [N]."""
    logps = sum_by_answer(token_logps.float(), batch.segments, 2 * batch.pairs)
    return Result(dpo(logps, batch.refs), logps.detach())


def ours_fused(batch: Batch) -> Result:
    """`preference_loss`: gradients computed in the forward pass."""
    from srlm.kernels.preference_loss import preference_loss
    from srlm.losses import LossSettings, combine

    loss_fn = combine(["sigmoid"], [1.0], LossSettings(beta=BETA))
    loss, metrics = preference_loss(
        completion_rows(batch), batch.weight, batch.labels, batch.cu_seqlens, batch.refs, loss_fn
    )
    return Result(loss, torch.stack([metrics.chosen_logps, metrics.rejected_logps], 1).detach())


def ours_sequences(batch: Batch) -> Result:
    """`sequence_logps`, with the loss in torch."""
    from srlm.kernels.sequence_logps import sequence_logps

    logps = sequence_logps(completion_rows(batch), batch.weight, batch.labels, batch.cu_seqlens).view(-1, 2)
    return Result(dpo(logps, batch.refs), logps.detach())


def eager(batch: Batch) -> Result:
    """Plain torch with all logits of the completion rows."""
    logits = completion_rows(batch) @ batch.weight.t()  # [N, V]
    return result_of_tokens(logits.float().log_softmax(-1).gather(1, batch.labels[:, None])[:, 0], batch)


class HeadOnly(torch.nn.Module):
    """A causal language model whose backbone returns its input; TRL's fused head is added to it."""

    def __init__(self, batch: Batch) -> None:
        super().__init__()
        text_config = SimpleNamespace()
        self.config = SimpleNamespace(get_text_config=lambda: text_config)
        self.head = SimpleNamespace(weight=batch.weight, bias=None)

    def base_model(self, hidden: torch.Tensor, **_: object) -> SimpleNamespace:
        """Stand in for the backbone."""
        return SimpleNamespace(last_hidden_state=hidden)

    def get_output_embeddings(self) -> SimpleNamespace:
        """Return the head."""
        return self.head

    def forward(self, hidden: torch.Tensor) -> None:
        """TRL replaces this method."""


def trl_head(batch: Batch, *outputs: str) -> Result:
    """TRL's own forward pass over its `ChunkedLogProbFunction`, chosen rows first."""
    from trl.trainer.utils import add_fused_lm_head

    model: Any = HeadOnly(batch)
    add_fused_lm_head(model, outputs=outputs)
    sums = model(batch.hidden, labels=batch.token_labels, fused_lm_head=True).log_probs.sum(1)  # [2P]
    logps = torch.stack(sums.chunk(2), 1)
    return Result(dpo(logps, batch.refs), logps.detach())


@functools.cache
def liger_with_given_reference() -> type:
    """Import Liger's loss, patched to accept given reference log-probabilities.

    Liger only takes the reference as hidden states and weight, which it projects like the policy's. With the patch, if
    the reference weight is None, the first element of each sequence's `ref_input` is its log-probability.
    """
    from liger_kernel.chunked_loss import LigerFusedLinearDPOLoss
    from liger_kernel.chunked_loss.fused_linear_preference import LigerFusedLinearPreferenceBase as Base

    project = Base.chunk_forward

    def chunk_forward(hidden: torch.Tensor, weight: torch.Tensor | None, *args: object, **kwargs: object) -> object:
        if weight is not None:
            return project(hidden, weight, *args, **kwargs)
        given = hidden[:, 0, 0]
        chosen, rejected = given.chunk(2)
        return chosen, rejected, chosen, rejected, 0.0

    Base.chunk_forward = staticmethod(chunk_forward)
    return LigerFusedLinearDPOLoss


def liger(batch: Batch, *, own_reference: bool) -> Result:
    """Liger's loss in chunks of one pair, over all positions including padding."""
    loss_class = liger_with_given_reference()
    hidden, targets = batch.hidden[:, :-1], batch.token_labels[:, 1:]
    if own_reference:
        reference: tuple[torch.Tensor, torch.Tensor | None] = hidden.detach(), batch.weight.detach()
    else:
        by_side = batch.refs.t().flatten()[:, None, None]  # [2P, 1, 1], chosen first
        reference = by_side.expand(-1, hidden.shape[1], -1), None
    fused = loss_class(beta=BETA, compiled=hidden.is_cuda, use_ref_model=True)
    loss, (chosen, rejected, *_) = fused(batch.weight, hidden, targets, ref_input=reference[0], ref_weight=reference[1])
    return Result(loss, torch.stack([chosen, rejected], 1).detach())


def cut_cross_entropy(batch: Batch, impl: str) -> Result:
    """Apple's cut cross-entropy per token; releases without `cce_exact` have it as `cce` without a gradient filter."""
    from cut_cross_entropy import LinearCrossEntropyImpl, linear_cross_entropy

    options: dict[str, Any] = {"impl": impl}
    if impl.upper() not in LinearCrossEntropyImpl.__members__:
        options = {"impl": "cce", "filter_eps": None}
    losses = linear_cross_entropy(completion_rows(batch), batch.weight, batch.labels, reduction="none", **options)
    return result_of_tokens(-losses, batch)


def torch_chunked(batch: Batch) -> Result:
    """Torch's own fused head, with the default chunk size."""
    if not hasattr(functional, "linear_cross_entropy"):
        raise UnsupportedError(f"torch {torch.__version__} has no linear_cross_entropy")
    options = torch.nn.LinearCrossEntropyOptions()
    losses = functional.linear_cross_entropy(
        completion_rows(batch), batch.weight, batch.labels, reduction="none", options=options
    )
    return result_of_tokens(-losses, batch)


IMPLEMENTATIONS = [
    Implementation("srlm preference_loss", ours_fused, "6NDV", float32_weight_grad=True),
    Implementation("srlm sequence_logps", ours_sequences, "8NDV", float32_weight_grad=True),
    Implementation("eager torch", eager, "all logits of the N rows"),
    Implementation(
        "TRL, as its DPOTrainer",
        lambda batch: trl_head(batch, "log_probs", "entropy", "mean_logits", "is_top1"),
        "including the outputs for its metrics; all positions on a CPU",
        float32_weight_grad=True,
    ),
    Implementation(
        "TRL, log_probs only",
        lambda batch: trl_head(batch, "log_probs"),
        "without the metrics; all positions on a CPU",
        float32_weight_grad=True,
    ),
    Implementation(
        "Liger, reference given",
        lambda batch: liger(batch, own_reference=False),
        "patched: its API takes no reference log-probabilities; all positions",
    ),
    Implementation(
        "Liger, as its API",
        lambda batch: liger(batch, own_reference=True),
        "projects the reference too (here the policy itself: another loss, gradients not compared); all positions",
        own_reference=True,
    ),
    Implementation("cut-cross-entropy cce", lambda batch: cut_cross_entropy(batch, "cce"), devices=("cuda",)),
    Implementation(
        "cut-cross-entropy cce_exact", lambda batch: cut_cross_entropy(batch, "cce_exact"), devices=("cuda",)
    ),
    Implementation(
        "cut-cross-entropy torch_compile",
        lambda batch: cut_cross_entropy(batch, "torch_compile"),
        "all logits of the N rows",
    ),
    Implementation("torch linear_cross_entropy", torch_chunked, "8NDV, chunks and policy `auto`"),
]
