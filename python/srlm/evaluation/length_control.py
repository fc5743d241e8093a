"""When a length-controlled win rate may be shown, and when it may be claimed.

The fit of `win_rates` predicts the result at equal lengths. Where nearly all answers of one model are longer, that is
an extrapolation: a judge that only likes length and a better model give the same data. The rate is then withheld.

Even with enough overlap, the fit assumes that the preference follows the tanh of the length difference. A judge that
only likes length in another way (a step at zero, say) makes its interval too narrow around a biased value. So a claim
needs a second, exact test that assumes no curve: prompts are matched in which the length differences are of equal size
and opposite sign. If the judge follows nothing but length, a win at +d is as likely as a loss at -d, so the sum of both
results is symmetric around even. `docs/evaluation.md` states how this differs from AlpacaEval 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from srlm.evaluation.claims import sign_test

if TYPE_CHECKING:
    from collections.abc import Sequence

# The rate is shown only if at least so many prompts, and so large a share, are on either side of equal length.
MIN_PROMPTS = 10
MIN_SHARE = 0.2
MAX_RATIO = 1.2  # of the two length differences of a match
EVEN = 0.5


@dataclass(frozen=True, slots=True)
class LengthControl:
    """Why a length-controlled rate is withheld, if it is, and the matches in which model a does better or worse."""

    withheld: str | None
    better: int
    worse: int

    def p_value(self, rate: float | None) -> float | None:
        """Return the p-value of the test; 1 if the matches contradict the fitted `rate`, None without a rate."""
        if rate is None:
            return None
        return sign_test(self.better, self.worse) if (rate > EVEN) == (self.better > self.worse) else 1.0


def length_control(results: Sequence[float], differences: Sequence[float]) -> LengthControl:
    """Check the overlap of the lengths, and test the results at matched length differences.

    Args:
        results: 1, 0.5 or 0 per prompt for a win, tie or loss of model a, [P].
        differences: length of a's answer minus that of b's, [P].
    """
    sums = matched_sums(results, differences)
    better, worse = sum(value > 0 for value in sums), sum(value < 0 for value in sums)
    return LengthControl(_withheld(results, differences), better, worse)


def matched_sums(results: Sequence[float], differences: Sequence[float]) -> list[float]:
    """Return the results relative to even, summed over matches: > 0 where model a does better than its lengths explain.

    A prompt with answers of equal length is a match of its own. Every other prompt is used at most once: the sides are
    merged in the order of their length differences, and two prompts match if these differ by at most MAX_RATIO.
    """
    rows = list(zip(differences, results, strict=True))
    equal = [result - EVEN for difference, result in rows if difference == 0]
    longer = sorted((difference, result) for difference, result in rows if difference > 0)
    shorter = sorted((-difference, result) for difference, result in rows if difference < 0)
    found, i, j = equal, 0, 0
    while i < len(longer) and j < len(shorter):
        (above, won), (below, other) = longer[i], shorter[j]
        if max(above, below) <= MAX_RATIO * min(above, below):
            found.append(won + other - 2 * EVEN)
            i, j = i + 1, j + 1
        elif above < below:
            i += 1
        else:
            j += 1
    return found


def _withheld(results: Sequence[float], differences: Sequence[float]) -> str | None:
    prompts = len(results)
    if not prompts:
        return None
    not_longer = sum(difference <= 0 for difference in differences)
    not_shorter = sum(difference >= 0 for difference in differences)
    fewer = min(not_longer, not_shorter)
    if fewer < MIN_PROMPTS or fewer < MIN_SHARE * prompts:
        word = "longer" if not_longer <= not_shorter else "shorter"
        return f"{word} answers in {prompts - fewer} of {prompts} prompts"
    if _separated(results, differences):
        return "length alone separates the prompts won from those lost"
    return None


def _separated(results: Sequence[float], differences: Sequence[float]) -> bool:
    """Return whether the length difference separates wins from losses; the fit is then decided by its penalty."""
    won = [difference for result, difference in zip(results, differences, strict=True) if result > EVEN]
    lost = [difference for result, difference in zip(results, differences, strict=True) if result < EVEN]
    return bool(won and lost) and (min(won) > max(lost) or max(won) < min(lost))
