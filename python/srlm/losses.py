"""The mathematics of the preference losses, once: functions from a pair's log-probabilities to its loss.

The kernels differentiate them inside a chunk (`srlm.kernels.preference_loss`), so a loss of one's own is a function
like these. Names are TRL's, whose values they give; `simpo` is not among TRL's DPO losses. With c and r the
log-probabilities of chosen and rejected answer, c0 and r0 the reference's, and d = (c - c0) - (r - r0):

| name | loss of a pair | source |
|---|---|---|
| `sigmoid` | -log sigmoid(beta d) | DPO: Rafailov et al. 2023, arXiv 2305.18290, eq. 7 |
| `hinge` | max(0, 1 - beta d) | SLiC: Zhao et al. 2023, arXiv 2305.10425 |
| `robust` | (-(1 - e) log sigmoid(beta d) + e log sigmoid(-beta d)) / (1 - 2e) | Chowdhury et al. 2024, arXiv 2403.00409 |
| `ipo` | ((c - c0) / len c - (r - r0) / len r - 1 / (2 beta))^2 | Azar et al. 2023, arXiv 2310.12036, eq. 17, per token |
| `sigmoid_norm` | -log sigmoid(beta ((c - c0) / len c - (r - r0) / len r)) | length-normalised DPO: Lambert et al. 2024, arXiv 2411.15124 |
| `simpo` | -log sigmoid(beta (c / len c - r / len r) - gamma) | SimPO: Meng et al. 2024, arXiv 2405.14734, eq. 6 |
| `sft` | -c / (mean of len c over the batch) | the negative log-likelihood per token of the chosen answers, as a term beside another |
"""  # noqa: E501  a table

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import logsigmoid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from srlm.kernels.preference_loss import PairLogps


@dataclass(frozen=True, slots=True)
class LossSettings:
    """The numbers that losses depend on."""

    beta: float = 0.1  # how strongly the policy is held to the reference
    label_smoothing: float = 0.0  # e, the share of pairs taken to be labelled the wrong way round
    simpo_gamma: float = 0.5  # the margin that SimPO asks for


def sigmoid(pairs: PairLogps, settings: LossSettings) -> torch.Tensor:
    """DPO: [p]."""
    return -logsigmoid(settings.beta * _difference(pairs))


def hinge(pairs: PairLogps, settings: LossSettings) -> torch.Tensor:
    """SLiC's hinge: [p]."""
    return torch.relu(1 - settings.beta * _difference(pairs))


def robust(pairs: PairLogps, settings: LossSettings) -> torch.Tensor:
    """DPO that expects a known share of wrong labels: [p]."""
    scaled, smoothing = settings.beta * _difference(pairs), settings.label_smoothing
    return (smoothing * logsigmoid(-scaled) - (1 - smoothing) * logsigmoid(scaled)) / (1 - 2 * smoothing)


def ipo(pairs: PairLogps, settings: LossSettings) -> torch.Tensor:
    """Identity preference optimisation on means per token: [p]."""
    return (_mean_difference(pairs) - 1 / (2 * settings.beta)) ** 2


def sigmoid_norm(pairs: PairLogps, settings: LossSettings) -> torch.Tensor:
    """DPO on means per token: [p]."""
    return -logsigmoid(settings.beta * _mean_difference(pairs))


def simpo(pairs: PairLogps, settings: LossSettings) -> torch.Tensor:
    """SimPO, which has no reference: [p]."""
    chosen = pairs.chosen / pairs.chosen_lengths.clamp(min=1)
    rejected = pairs.rejected / pairs.rejected_lengths.clamp(min=1)
    return -logsigmoid(settings.beta * (chosen - rejected) - settings.simpo_gamma)


def sft(pairs: PairLogps, settings: LossSettings) -> torch.Tensor:
    """The chosen answers' negative log-likelihood; its mean over the batch is that over the batch's tokens: [p]."""
    return -pairs.chosen / pairs.mean_chosen_length.clamp(min=torch.finfo(pairs.chosen.dtype).tiny)


def _difference(pairs: PairLogps) -> torch.Tensor:
    return (pairs.chosen - pairs.ref_chosen) - (pairs.rejected - pairs.ref_rejected)


def _mean_difference(pairs: PairLogps) -> torch.Tensor:
    chosen = (pairs.chosen - pairs.ref_chosen) / pairs.chosen_lengths.clamp(min=1)
    return chosen - (pairs.rejected - pairs.ref_rejected) / pairs.rejected_lengths.clamp(min=1)


FUSED: dict[str, Callable[[PairLogps, LossSettings], torch.Tensor]] = {
    "sigmoid": sigmoid,
    "hinge": hinge,
    "robust": robust,
    "ipo": ipo,
    "sigmoid_norm": sigmoid_norm,
    "simpo": simpo,
    "sft": sft,
}
# Functions of the difference alone: what both answers begin with cancels in them.
OF_THE_DIFFERENCE = frozenset({"sigmoid", "hinge", "robust"})


def combine(
    names: Sequence[str], weights: Sequence[float], settings: LossSettings
) -> Callable[[PairLogps], torch.Tensor]:
    """Return the weighted sum of losses as a function of pairs alone."""
    terms = [(FUSED[name], weight) for name, weight in zip(names, weights, strict=True)]

    def loss(pairs: PairLogps) -> torch.Tensor:
        total = torch.zeros_like(pairs.chosen)
        for term, weight in terms:
            total = total + weight * term(pairs, settings)
        return total

    return loss
