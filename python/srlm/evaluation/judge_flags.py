"""What a reader should know before believing how well a model judges, each with what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import Counter

    from srlm.evaluation.estimates import Estimate

FEW_PROMPTS = 30
CONSTANT = 0.9  # a larger share of one written score is told
TIED = 0.5  # a larger share of tied pairs is told
READABLE = 0.9  # a smaller share of scored verdicts is told


def flags(
    *, written: Counter[float], tied: Estimate, parse_rate: Estimate, ahead: Estimate, prompts: int, expected: bool
) -> list[str]:
    """Return a sentence for everything that speaks against the figures; [] where nothing does.

    Args:
        written: how often each score was written.
        tied: the share of pairs that the judge ties.
        parse_rate: the share of verdicts with a readable score.
        ahead: accuracy less that of "the longer answer is better", on the same pairs.
        prompts: how many prompts have a pair to compare.
        expected: whether answers are ordered by expected scores (judge.score).
    """
    found = [
        _constant(written, expected=expected),
        _ties(tied, expected=expected),
        _unread(parse_rate),
        _only_length(ahead),
        _few(prompts),
    ]
    return [flag for flag in found if flag is not None]


def _constant(written: Counter[float], *, expected: bool) -> str | None:
    for score, count in written.most_common(1):
        if count > CONSTANT * written.total():
            instead = (
                "what tells them apart is the distribution of one token (judge.score=expected); to mend it, "
                if expected
                else "take judge.score=expected, or "
            )
            return (
                f"The judge wrote {score:g} in {count / written.total():.0%} of its scores, so it hardly tells "
                f"answers apart: {instead}teach it more evenly spread scores (eft.max_share)."
            )
    return None


def _ties(tied: Estimate, *, expected: bool) -> str | None:
    if tied.value is None or tied.value <= TIED:
        return None
    advice = (
        "teach it more ranked answers (seed_data.eft)"
        if expected
        else "raise judge.samples, or take judge.score=expected"
    )
    return f"The judge ties {tied.value:.0%} of the pairs, each of which counts one half: {advice}."


def _unread(rate: Estimate) -> str | None:
    if rate.value is None or rate.value >= READABLE:
        return None
    return (
        f"Only {rate.value:.0%} of the verdicts hold a readable score: look at the texts of the others, then mend the "
        "judge prompt or judge.score_pattern, or raise judge.max_tokens."
    )


def _only_length(ahead: Estimate) -> str | None:
    if ahead.low is None or ahead.high is None or ahead.low > 0:
        return None
    return (
        f'Not shown to be better than "the longer answer is better" (difference {100 * ahead.low:+.0f} to '
        f"{100 * ahead.high:+.0f} points on the same pairs): measure more held-out prompts (evaluate.judge_prompts), "
        "or train the judge on more ranked answers (seed_data.eft)."
    )


def _few(prompts: int) -> str | None:
    if prompts >= FEW_PROMPTS:
        return None
    return (
        f"Prompts with a pair to compare: {prompts}, too few for the intervals to be trusted; hold out more "
        "(seed_data.valid_fraction), or add a set (evaluate.preferences)."
    )
