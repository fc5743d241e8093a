"""Win rates and length-controlled win rates, with intervals.

The length-controlled win rate follows AlpacaEval 2 (Dubois et al. 2024, arXiv 2404.04475, section 3): a logistic
regression of the result with one term for the models and one for the length difference of their answers; the rate is
its prediction at equal lengths. It differs from AlpacaEval's model in three ways. It has no third term for the
difficulty of each instruction, which is fitted on many models' outputs for AlpacaEval's own 805 instructions: this fit
uses only the two models' answers. Its regularization is weak and fixed, theirs is cross-validated. And it is withheld
where the lengths hardly overlap (`length_control`), where theirs extrapolates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from srlm.evaluation.estimates import NONE, Estimate, bootstrap, mean
from srlm.evaluation.length_control import length_control

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

WIN, TIE, LOSS = 1.0, 0.5, 0.0
# Weak L2 regularization of both coefficients, near zero as strong as one additional tied prompt: without it, the
# coefficients of a model that wins every prompt would be infinite. It matters with few prompts: 3 wins of 3 give 85 %,
# 100 of 100 give 99 %.
L2_PENALTY = 0.25
NEWTON_STEPS = 25


@dataclass(frozen=True, slots=True)
class WinRates:
    """Results of model a against model b: wins, ties and losses, and win rates in which a tie counts as half a win.

    `length_controlled` is empty where it is withheld; `length_controlled_withheld` is the reason, in a clause such as
    `longer answers in 96 of 100 prompts` (of model a).
    `length_controlled_p` is the p-value of the exact test that a claim needs beside the interval (`length_control`).
    """

    wins: int
    ties: int
    losses: int
    win_rate: Estimate
    length_controlled: Estimate
    length_controlled_p: float | None
    length_controlled_withheld: str | None


def win_rates(results: Sequence[float], lengths_a: Sequence[int], lengths_b: Sequence[int]) -> WinRates:
    """Return the results of model a over prompts.

    Args:
        results: WIN, TIE or LOSS per prompt, [P].
        lengths_a: lengths of a's answers in characters, [P].
        lengths_b: lengths of b's answers, [P].
    """
    control = length_control(results, [a - b for a, b in zip(lengths_a, lengths_b, strict=True)])
    rate = NONE if control.withheld else length_controlled(results, lengths_a, lengths_b)
    return WinRates(
        wins=sum(result == WIN for result in results),
        ties=sum(result == TIE for result in results),
        losses=sum(result == LOSS for result in results),
        win_rate=mean(results),
        length_controlled=rate,
        length_controlled_p=control.p_value(rate.value),
        length_controlled_withheld=control.withheld,
    )


def length_controlled(results: Sequence[float], lengths_a: Sequence[int], lengths_b: Sequence[int]) -> Estimate:
    """Fit the length-controlled win rate; it is close to the raw one if all lengths are equal.

    The fit itself does not check whether the lengths overlap (see `length_control`).
    """
    if not results:
        return NONE
    won = np.array(results, dtype=np.float64)  # [P]
    length = length_feature(np.array(lengths_a, dtype=np.float64) - np.array(lengths_b, dtype=np.float64))  # [P]
    return bootstrap(len(won), lambda rows: _fit_at_equal_length(won[rows], length[rows]))


def length_feature(difference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return tanh of the length difference divided by its standard deviation, [P] (paper, equation 2)."""
    spread = difference.std()
    return np.tanh(difference / spread) if spread > 0 else np.zeros_like(difference)


def _fit_at_equal_length(won: NDArray[np.float64], length: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit P(win) = sigmoid(model + weight * length) to each resample [R, P] by Newton steps; return sigmoid(model)."""
    model, weight = np.zeros(len(won)), np.zeros(len(won))  # [R]
    for _ in range(NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-(model[:, None] + weight[:, None] * length)))  # [R, P]
        residual, curvature = won - chance, chance * (1 - chance)  # [R, P]
        slope_model = residual.sum(-1) - L2_PENALTY * model  # [R]
        slope_weight = (residual * length).sum(-1) - L2_PENALTY * weight
        mm, mw = curvature.sum(-1) + L2_PENALTY, (curvature * length).sum(-1)
        ww = (curvature * length**2).sum(-1) + L2_PENALTY
        determinant = mm * ww - mw**2
        model = model + (ww * slope_model - mw * slope_weight) / determinant
        weight = weight + (mm * slope_weight - mw * slope_model) / determinant
    return 1 / (1 + np.exp(-model))
