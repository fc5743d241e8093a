"""Elo scores of judgements from comparisons in both orders (Wu et al. 2024, arXiv 2407.19594, section 2.2).

    w1 = win_2nd / (win_1st + win_2nd), w2 = win_1st / (win_1st + win_2nd)
    B_mn = w1 1[m wins, shown first] + w2 1[m wins, shown second]
    e = argmax  sum B_mn log sigmoid(e_m - e_n)  -  RIDGE / 2 sum e_m^2

`win_1st` and `win_2nd` are how often the judgement shown first or second has won, in all comparisons of the iteration:
the weights cancel a preference for a position. Where a comparison gives the probability of the first judgement instead
of a verdict, which the paper does not have, each judgement wins by its probability. Without the ridge, which the paper
does not mention, a judgement that wins or loses every comparison would have no finite score; the ridge makes the
maximum unique and its mean 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

RIDGE = 1e-2  # of the order of a hundredth of a comparison
MAX_STEPS = 100
TOLERANCE = 1e-10  # of the gradient


@dataclass(frozen=True, slots=True)
class Win:
    """A win by the numbers of the two judgements. `is_first`: the winner was shown first; `amount`: its probability."""

    winner: int
    loser: int
    is_first: bool
    amount: float = 1.0


def position_weights(first_wins: float, second_wins: float) -> tuple[float, float]:
    """Return w1 and w2, the weights of a win in the first and in the second position; 1/2 each without a win."""
    total = first_wins + second_wins
    return (second_wins / total, first_wins / total) if total else (0.5, 0.5)


def battle_matrix(size: int, wins: Iterable[Win], weights: tuple[float, float]) -> NDArray[np.float64]:
    """Return B [M, M]."""
    battles = np.zeros((size, size))
    for win in wins:
        battles[win.winner, win.loser] += win.amount * (weights[0] if win.is_first else weights[1])
    return battles


def elo_scores(battles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return e [M] by Newton's method, in nats: sigmoid(e_m - e_n) is the probability that m beats n.

    The steps are halved until the objective, which is strictly concave, does not fall.
    """
    scores = np.zeros(len(battles))
    for _ in range(MAX_STEPS):
        gradient, curvature = _derivatives(battles, scores)
        if np.abs(gradient).max(initial=0.0) < TOLERANCE:
            break
        step = np.linalg.solve(curvature, gradient)
        before, scale = _objective(battles, scores), 1.0
        while _objective(battles, scores + scale * step) < before and scale > TOLERANCE:
            scale /= 2
        scores = scores + scale * step
    return scores


def _objective(battles: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    margins = scores[:, None] - scores[None, :]  # [M, M]
    return float(-(battles * np.logaddexp(0.0, -margins)).sum() - RIDGE / 2 * (scores**2).sum())


def _derivatives(
    battles: NDArray[np.float64], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the gradient [M] of the objective, and the negative of its Hessian [M, M]."""
    lost = np.exp(-np.logaddexp(0.0, scores[:, None] - scores[None, :]))  # [M, M] P(n beats m)
    pull = battles * lost
    gradient = pull.sum(axis=1) - pull.sum(axis=0) - RIDGE * scores
    weight = (battles + battles.T) * lost * lost.T
    return gradient, np.diag(weight.sum(axis=1) + RIDGE) - weight
