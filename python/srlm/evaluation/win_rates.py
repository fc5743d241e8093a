"""Win rates with intervals, and the win rate that is left once length is accounted for.

The length-controlled rate is AlpacaEval 2's idea (Dubois et al. 2024, arXiv 2404.04475, section 3): a logistic model of
who wins, with one term for the models and one for the difference of their answers' lengths; the rate is what the model
says at equal lengths. Left out: the paper's third term, how hard each instruction is, which it takes from a fit to
many models on its own 805 instructions. Ours is fitted to the two models' answers alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from srlm.evaluation.estimates import NONE, Estimate, bootstrap, mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

WIN, TIE, LOSS = 1.0, 0.5, 0.0
# A weak pull of both coefficients towards zero, near it as strong as one further prompt that was a tie: without it, a
# model that wins everywhere would have an infinite one. It is felt with few prompts: 3 wins of 3 are 85 %, 100 of 100
# are 99 %.
PENALTY = 0.25
STEPS = 25


@dataclass(frozen=True, slots=True)
class WinRates:
    """How model a fares against model b: prompts won, tied and lost, and rates in which a tie counts one half."""

    wins: int
    ties: int
    losses: int
    win_rate: Estimate
    length_controlled: Estimate


def win_rates(results: Sequence[float], lengths_a: Sequence[int], lengths_b: Sequence[int]) -> WinRates:
    """Return the rates of model a over prompts.

    Args:
        results: WIN, TIE or LOSS of each prompt, [P].
        lengths_a: lengths of a's answers in characters, [P].
        lengths_b: lengths of b's answers, [P].
    """
    return WinRates(
        wins=sum(result == WIN for result in results),
        ties=sum(result == TIE for result in results),
        losses=sum(result == LOSS for result in results),
        win_rate=mean(results),
        length_controlled=length_controlled(results, lengths_a, lengths_b),
    )


def length_controlled(results: Sequence[float], lengths_a: Sequence[int], lengths_b: Sequence[int]) -> Estimate:
    """Estimate the win rate at equal lengths; without any difference in length, it is near the plain one."""
    if not results:
        return NONE
    won = np.array(results, dtype=np.float64)  # [P]
    length = length_feature(np.array(lengths_a, dtype=np.float64) - np.array(lengths_b, dtype=np.float64))  # [P]
    return bootstrap(len(won), lambda rows: _at_equal_length(won[rows], length[rows]))


def length_feature(difference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return tanh of the difference in lengths over its standard deviation, [P] (paper, equation 2)."""
    spread = difference.std()
    return np.tanh(difference / spread) if spread > 0 else np.zeros_like(difference)


def _at_equal_length(won: NDArray[np.float64], length: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit P(win) = sigmoid(model + weight * length) to each resample [R, P] by Newton steps; return sigmoid(model)."""
    model, weight = np.zeros(len(won)), np.zeros(len(won))  # [R]
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-(model[:, None] + weight[:, None] * length)))  # [R, P]
        residual, curvature = won - chance, chance * (1 - chance)  # [R, P]
        slope_model = residual.sum(-1) - PENALTY * model  # [R]
        slope_weight = (residual * length).sum(-1) - PENALTY * weight
        mm, mw = curvature.sum(-1) + PENALTY, (curvature * length).sum(-1)
        ww = (curvature * length**2).sum(-1) + PENALTY
        determinant = mm * ww - mw**2
        model = model + (ww * slope_model - mw * slope_weight) / determinant
        weight = weight + (mm * slope_weight - mw * slope_model) / determinant
    return 1 / (1 + np.exp(-model))
