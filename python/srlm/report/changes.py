"""The outcomes of comparisons: win rates, and the changes of a metric between models on the same cases.

Every outcome follows `evaluation.claims`: an interval and an exact test. Where neither model is shown to be better, the
texts say "not shown", as the data do not show that they are equal either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from srlm.evaluation.claims import Outcome, claim, decided_text, win_rate_claim
from srlm.evaluation.paired import Change, paired_change
from srlm.report.text import signed, with_interval

if TYPE_CHECKING:
    from srlm.evaluation.estimates import Estimate
    from srlm.report.collect import Match, ModelData
    from srlm.report.text import NumberFormat

# With fewer prompts on either side, separate intervals that do not overlap are no evidence.
MIN_UNPAIRED = 10


def match_outcome(match: Match) -> Outcome:
    """Return whether the model is shown to answer better or worse than the other, by its win rate."""
    return win_rate_claim(match.win_rate, _count(match, "wins"), _count(match, "losses"))


def length_outcome(match: Match) -> Outcome:
    """Return the same by the length-controlled win rate; "unmeasured" where that is withheld."""
    p_value = match.entry.get("length_controlled_p")
    return claim(match.length_controlled, p_value if isinstance(p_value, int | float) else None, even=0.5)


def withheld(match: Match) -> str | None:
    """Return why the length-controlled win rate is withheld, if it is."""
    reason = match.entry.get("length_controlled_withheld")
    return reason if isinstance(reason, str) else None


def length_controlled_text(match: Match) -> str:
    """Return the length-controlled win rate with its interval, or why it is withheld."""
    reason = withheld(match)
    return f"withheld: {reason}" if reason else with_interval(match.length_controlled)


def decided(match: Match) -> str:
    """Return how many prompts are decided, in words; empty if the counts are unknown."""
    wins, ties, losses = (_count(match, name) for name in ("wins", "ties", "losses"))
    return "" if wins is None or ties is None or losses is None else decided_text(wins, ties, losses)


def model_change(later: ModelData | None, earlier: ModelData | None, stage: str, metric: str) -> Change | None:
    """Return the change of a metric between two models on the cases of both; None without enough of these."""
    if later is None or earlier is None:
        return None
    rows = [model.cases.get(stage, {}).get(metric, []) for model in (later, earlier)]
    return paired_change(rows[0], rows[1])


def change_sentence(change: Change | None, earlier: str) -> str:
    """Return a change in words: `better than M1 (+4.7 points, +3.2 to +6.1)`, or `change from M1 not shown (…)`."""
    if change is None:
        return f"not compared with {earlier} on the same prompts"
    found = f"({change_text(change.difference)})"
    if change.outcome in ("better", "worse"):
        return f"{change.outcome} than {earlier} {found}"
    return f"change from {earlier} not shown {found}"


def change_text(difference: Estimate, fmt: NumberFormat = "percent") -> str:
    """Return a difference with its interval: `+4.7 points, +3.2 to +6.1`."""
    if difference.value is None:
        return "no cases"
    if difference.low is None or difference.high is None or difference.low == difference.high == 0:
        return signed(difference.value, fmt)
    bounds = (signed(bound, fmt).removesuffix(" points") for bound in (difference.low, difference.high))
    return f"{signed(difference.value, fmt)}, {' to '.join(bounds)}"


def compare_intervals(one: Estimate, other: Estimate, *, prompts: int) -> Outcome:
    """Return whether one estimate is above (better) or below (worse) another, by their separate intervals.

    For estimates without common cases. `prompts` is the smaller number of prompts behind them: with less than
    MIN_UNPAIRED, intervals are too narrow to show anything.
    """
    bounds = (one.low, one.high, other.low, other.high)
    if any(bound is None for bound in bounds):
        return "unmeasured"
    low, high, other_low, other_high = (float(bound or 0.0) for bound in bounds)
    if prompts < MIN_UNPAIRED:
        return "same"
    return "better" if low > other_high else "worse" if high < other_low else "same"


def _count(match: Match, name: str) -> int | None:
    found = match.entry.get(name)
    return found if isinstance(found, int) else None
