"""A penalty per token with which the best answers are as long as the worst ones, as in DICE (arXiv 2406.09760).

DICE chooses alpha in the score r - alpha * length such that the chosen and the rejected answers of its pairs have the
same mean length, so that preference training does not learn length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEPS = 60  # halvings of the interval, down to the precision of a float


def balanced_penalty(prompt: NDArray[np.int64], score: NDArray[np.float64], length: NDArray[np.float64]) -> float:
    """Return alpha >= 0 for which the best answers by `score - alpha * length` are on average no longer than the worst.

    The smallest such alpha, up to rounding: 0 if the best answers are not longer as it is. The mean difference in
    length does not grow with alpha, so it is found by bisection.

    Args:
        prompt: [C] int64, the prompt of each answer, ascending.
        score: [C], NaN for answers without a score.
        length: [C], in tokens.
    """
    known = ~np.isnan(score)
    prompt, score, length = prompt[known], score[known], length[known]
    if not len(score) or _excess(prompt, score, length, 0.0) <= 0:
        return 0.0
    low, high = 0.0, 1.0
    while _excess(prompt, score, length, high) > 0:
        low, high = high, 2 * high
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _excess(prompt, score, length, middle) > 0 else (low, middle)
    return high


def _excess(prompt: NDArray[np.int64], score: NDArray[np.float64], length: NDArray[np.float64], alpha: float) -> float:
    """Return by how many tokens the best answers are longer than the worst, on average over prompts."""
    order = np.lexsort((length, score - alpha * length, prompt))  # within a prompt from worst to best
    starts = np.flatnonzero(np.diff(prompt[order], prepend=-1))
    ends = np.append(starts[1:], len(order)) - 1
    return float((length[order[ends]] - length[order[starts]]).mean())
