"""The preference losses as functions from a pair's log-probabilities to its loss.

`srlm.kernels.preference_loss` differentiates them inside a chunk, so a custom loss is a function with the same
signature. Names and values match TRL's DPO losses, except `simpo`, `nll`, `dpop` and `sppo`, which TRL's DPO does not
have. With c and r the log-probabilities of the chosen and the rejected answer under the policy, c0 and r0 those under
the reference, s and t the scores of the two answers, and the margin d = (c - c0) - (r - r0):

| name | loss of a pair | source |
|---|---|---|
| `sigmoid` | -log sigmoid(beta d) | DPO: Rafailov et al. 2023, arXiv 2305.18290, eq. 7 |
| `hinge` | max(0, 1 - beta d) | SLiC: Zhao et al. 2023, arXiv 2305.10425 |
| `robust` | (-(1 - e) log sigmoid(beta d) + e log sigmoid(-beta d)) / (1 - 2e) | Chowdhury et al. 2024, arXiv 2403.00409 |
| `ipo` | ((c - c0) / len c - (r - r0) / len r - 1 / (2 beta))^2 | Azar et al. 2023, arXiv 2310.12036, eq. 17, per token |
| `sigmoid_norm` | -log sigmoid(beta ((c - c0) / len c - (r - r0) / len r)) | length-normalised DPO: Lambert et al. 2024, arXiv 2411.15124 |
| `simpo` | -log sigmoid(beta (c / len c - r / len r) - gamma) | SimPO: Meng et al. 2024, arXiv 2405.14734, eq. 6 |
| `dpop` | -log sigmoid(beta (d - lambda max(0, c0 - c))) | DPO-Positive: Pal et al. 2024, arXiv 2402.13228 |
| `sppo` | (((c - c0) - (s - 1/2) / beta)^2 + ((r - r0) - (t - 1/2) / beta)^2) / 2, where s and t are win rates | SPPO: Wu et al. 2024, arXiv 2405.00675 |
| `nll` | -c / len c | negative log-likelihood per token of each chosen answer, as an additional term: Iterative RPO, Pang et al. 2024, arXiv 2404.19733 |
| `sft` | -c / (mean of len c over the optimizer step) | negative log-likelihood per token of the chosen answers, as an additional term |

A pair has a weight, by which its losses are multiplied, and a confidence C: the probability that the chosen answer is
the better one. The losses in `SOFT` become their expectation under C, with the answers' roles exchanged in the second
term, as in CREAM (Wang et al. 2024, arXiv 2410.12735): `sigmoid` is -C log sigmoid(beta d) - (1 - C) log sigmoid(-beta
d). `nll` and `sft` do not compare answers, so C does not change them.
"""  # noqa: E501  a table

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import logsigmoid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from srlm.kernels.preference_loss import PairLogps


@dataclass(frozen=True, slots=True)
class LossSettings:
    """Hyperparameters of the losses."""

    beta: float = 0.1  # strength of the constraint to the reference
    label_smoothing: float = 0.0  # e, the assumed label-flip rate
    simpo_gamma: float = 0.5  # SimPO's target reward margin
    dpop_lambda: float = 50.0  # DPO-Positive's penalty on a chosen answer less likely than under the reference


def sigmoid(pairs: PairLogps, settings: LossSettings) -> torch.Tensor:
    """DPO: [p]."""
    return -logsigmoid(settings.beta * _margin(pairs))


def hinge(pairs: PairLogps, settings: LossSettings) -> torch.Tensor:
    """SLiC's hinge loss: [p]."""
    return torch.relu(1 - settings.beta * _margin(pairs))


def robust(pairs: PairLogps, settings: LossSettings) -> torch.Tensor:
    """DPO with a known label-flip rate: [p]."""
    scaled, smoothing = settings.beta * _margin(pairs), settings.label_smoothing
    return (smoothing * logsigmoid(-scaled) - (1 - smoothing) * logsigmoid(scaled)) / (1 - 2 * smoothing)


def ipo(pairs: PairLogps, settings: LossSettings) -> torch.Tensor:
    """Identity preference optimisation on per-token means: [p]."""
    return (_mean_margin(pairs) - 1 / (2 * settings.beta)) ** 2


def sigmoid_norm(pairs: PairLogps, settings: LossSettings) -> torch.Tensor:
    """DPO on per-token means: [p]."""
    return -logsigmoid(settings.beta * _mean_margin(pairs))


def simpo(pairs: PairLogps, settings: LossSettings) -> torch.Tensor:
    """SimPO, which uses no reference: [p]."""
    chosen = pairs.chosen / pairs.chosen_lengths.clamp(min=1)
    rejected = pairs.rejected / pairs.rejected_lengths.clamp(min=1)
    return -logsigmoid(settings.beta * (chosen - rejected) - settings.simpo_gamma)


def dpop(pairs: PairLogps, settings: LossSettings) -> torch.Tensor:
    """DPO-Positive: [p]."""
    penalty = torch.relu(pairs.ref_chosen - pairs.chosen)
    return -logsigmoid(settings.beta * (_margin(pairs) - settings.dpop_lambda * penalty))


def sppo(pairs: PairLogps, settings: LossSettings) -> torch.Tensor:
    """Self-play preference optimisation, with win rates as scores: [p]."""
    chosen = pairs.chosen - pairs.ref_chosen - (pairs.chosen_scores - 0.5) / settings.beta
    rejected = pairs.rejected - pairs.ref_rejected - (pairs.rejected_scores - 0.5) / settings.beta
    return (chosen**2 + rejected**2) / 2


def nll(pairs: PairLogps, settings: LossSettings) -> torch.Tensor:
    """Negative log-likelihood per token of each chosen answer: [p]."""
    return -pairs.chosen / pairs.chosen_lengths.clamp(min=1)


def sft(pairs: PairLogps, settings: LossSettings) -> torch.Tensor:
    """Negative log-likelihood of the chosen answers; its mean over the step is the mean over their tokens: [p]."""
    return -pairs.chosen / pairs.mean_chosen_length.clamp(min=torch.finfo(pairs.chosen.dtype).tiny)


def _margin(pairs: PairLogps) -> torch.Tensor:
    return (pairs.chosen - pairs.ref_chosen) - (pairs.rejected - pairs.ref_rejected)


def _mean_margin(pairs: PairLogps) -> torch.Tensor:
    chosen = (pairs.chosen - pairs.ref_chosen) / pairs.chosen_lengths.clamp(min=1)
    return chosen - (pairs.rejected - pairs.ref_rejected) / pairs.rejected_lengths.clamp(min=1)


FUSED: dict[str, Callable[[PairLogps, LossSettings], torch.Tensor]] = {
    "sigmoid": sigmoid,
    "hinge": hinge,
    "robust": robust,
    "ipo": ipo,
    "sigmoid_norm": sigmoid_norm,
    "simpo": simpo,
    "dpop": dpop,
    "sppo": sppo,
    "nll": nll,
    "sft": sft,
}
# Losses that depend on the margin only: a prefix that both answers share cancels in them.
MARGIN_ONLY = frozenset({"sigmoid", "hinge", "robust"})
# Losses whose expectation under a pair's confidence is taken, and terms that no confidence concerns.
SOFT = frozenset({"sigmoid", "hinge", "ipo", "sigmoid_norm", "simpo"})
LIKELIHOODS = frozenset({"nll", "sft"})


def combine(
    names: Sequence[str], weights: Sequence[float], settings: LossSettings
) -> Callable[[PairLogps], torch.Tensor]:
    """Return the weighted sum of losses as a function of the pairs only."""
    terms = list(zip(names, weights, strict=True))

    def loss(pairs: PairLogps) -> torch.Tensor:
        total = torch.zeros_like(pairs.chosen)
        for name, weight in terms:
            term = FUSED[name](pairs, settings)
            if name in SOFT:
                confidences = pairs.confidences
                term = confidences * term + (1 - confidences) * FUSED[name](_exchanged(pairs), settings)
            total = total + weight * term
        return total

    return loss


def _exchanged(pairs: PairLogps) -> PairLogps:
    """Return the pairs with each rejected answer as the chosen one."""
    return replace(
        pairs,
        chosen=pairs.rejected,
        rejected=pairs.chosen,
        ref_chosen=pairs.ref_rejected,
        ref_rejected=pairs.ref_chosen,
        chosen_lengths=pairs.rejected_lengths,
        rejected_lengths=pairs.chosen_lengths,
    )
