"""What the fused head computes from a batch's hidden states: a preference loss, a token loss, or log-probabilities.

Requests are no dataclasses, so that no wrapper of the model casts or moves what they hold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from srlm.kernels.cross_entropy import TokenMetrics, cross_entropy
from srlm.kernels.preference_loss import PreferenceMetrics, preference_loss
from srlm.kernels.sequence_logps import sequence_logps, sequence_statistics
from srlm.training.ranking import ranking_loss

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from srlm.kernels.preference_loss import PairLogps
    from srlm.training.preference_layout import PairLayout
    from srlm.training.ranking import Ranked, ScoreTokens
    from srlm.training.token_targets import Targets


class HeadRequest(Protocol):
    """A computation on the rows of the hidden states."""

    width: int  # L, the tokens of a row of the batch

    def run(self, hidden: torch.Tensor, weight: torch.Tensor, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        """Return the results.

        `hidden` is [B L, D], the flattened hidden states; `weight` [V, D] is the head's; `options` are those of the
        kernels (`bias`, `softcap`, `logit_scale`).
        """


class OpaqueMetrics:
    """Hides metrics from the wrappers of a forward pass, which search its output for tensors to hook or cast."""

    def __init__(self, metrics: PreferenceMetrics | TokenMetrics | tuple[torch.Tensor, torch.Tensor]) -> None:
        self.metrics: Any = metrics


class PreferenceRequest:
    """A loss of pairs: `ref_logps` [B, 2], `weights` [B], `confidences` [B], `scores` [B, 2] and `mean_chosen_length`
    are those of `preference_loss`."""

    def __init__(
        self,
        layout: PairLayout,
        loss_fn: Callable[[PairLogps], torch.Tensor],
        ref_logps: torch.Tensor,
        *,
        weights: torch.Tensor | None = None,
        confidences: torch.Tensor | None = None,
        scores: torch.Tensor | None = None,
        mean_chosen_length: torch.Tensor | None = None,
    ) -> None:
        """See the class."""
        self.layout, self.loss_fn, self.ref_logps, self.width = layout, loss_fn, ref_logps, layout.width
        self.weights, self.confidences, self.scores = weights, confidences, scores
        self.mean_chosen_length = mean_chosen_length

    def run(self, hidden: torch.Tensor, weight: torch.Tensor, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        """Return `loss`, a float32 scalar, and `metrics`, `OpaqueMetrics` of `PreferenceMetrics`."""
        layout = self.layout.to(weight.device)  # the head may be on another device than the batch
        prefix_logps, prefix_top1 = None, None
        if len(layout.shared_rows):
            prefix_logps, prefix_top1 = sequence_statistics(
                hidden[layout.shared_rows], weight, layout.shared_labels, layout.shared_cu_seqlens, **options
            )
        loss, metrics = preference_loss(
            hidden[layout.rows],
            weight,
            layout.labels,
            layout.cu_seqlens,
            self.ref_logps,
            self.loss_fn,
            weights=self.weights,
            confidences=self.confidences,
            scores=self.scores,
            extra_logps=prefix_logps,
            lengths=layout.lengths,
            mean_chosen_length=self.mean_chosen_length,
            **options,
        )
        if prefix_top1 is not None:
            metrics = replace(metrics, chosen_top1=metrics.chosen_top1 + prefix_top1)
        return {"loss": loss, "metrics": OpaqueMetrics(metrics)}


@dataclass(frozen=True, slots=True)
class RankingPart:
    """The ranking loss of the judge examples among a pass's rows, times `scale`."""

    ranked: Ranked
    tokens: ScoreTokens
    scale: torch.Tensor | float


class TokenLossRequest:
    """The negative log-likelihood of targets, times `scale`, a scalar."""

    def __init__(self, targets: Targets, scale: torch.Tensor | float, ranking: RankingPart | None = None) -> None:
        """`ranking` adds a ranking loss of judge examples."""
        self.targets, self.scale, self.width, self.ranking = targets, scale, targets.width, ranking

    def run(self, hidden: torch.Tensor, weight: torch.Tensor, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        """Return `loss`, a float32 scalar, and `metrics`, `OpaqueMetrics` of `TokenMetrics` [N].

        With a ranking: also `ranking`, `OpaqueMetrics` of its loss, not scaled, and its number of pairs in order.
        """
        targets = self.targets.to(weight.device)
        loss, metrics = cross_entropy(
            hidden[targets.rows], weight, targets.labels, targets.counts * self.scale, **options
        )
        if self.ranking is None:
            return {"loss": loss, "metrics": OpaqueMetrics(metrics)}
        part = self.ranking
        own, right = ranking_loss(hidden, weight, part.ranked.to(weight.device), part.tokens, **options)
        scaled = (own * part.scale).to(loss)
        return {
            "loss": loss + scaled,
            "metrics": OpaqueMetrics(metrics),
            "ranking": OpaqueMetrics((own.detach(), right)),
        }


class SequenceRequest:
    """The log-probabilities of sequences of targets."""

    def __init__(self, targets: Targets) -> None:
        """Request those of the sequences given by `targets.cu_seqlens`."""
        self.targets, self.width = targets, targets.width

    def run(self, hidden: torch.Tensor, weight: torch.Tensor, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        """Return `logps` [S] float32, in nats."""
        targets = self.targets.to(weight.device)
        logps = sequence_logps(hidden[targets.rows], weight, targets.labels, targets.cu_seqlens, **options)
        return {"logps": logps}
