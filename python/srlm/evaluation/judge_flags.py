"""Caveats on a judge's metrics, each with advice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from srlm.evaluation.claims import claim

if TYPE_CHECKING:
    from collections import Counter

    from srlm.evaluation.estimates import Estimate

# Thresholds beyond which a caveat is shown.
MIN_PROMPTS = 30
MAX_SCORE_SHARE = 0.9  # of the most frequent score among all sampled scores
MAX_TIED_SHARE = 0.5  # of the pairs
MIN_PARSE_RATE = 0.9  # of the verdicts


def flags(
    *,
    written: Counter[float],
    tied: Estimate,
    parse_rate: Estimate,
    gain_over_length: Estimate,
    prompts: int,
    expected: bool,
    gain_p: float | None = None,
) -> list[str]:
    """Return one sentence per caveat.

    Args:
        written: counts of the sampled scores.
        tied: the share of pairs that the judge ties.
        parse_rate: the share of verdicts with a parseable score.
        gain_over_length: pairwise accuracy minus that of "the longer answer is better", on the same pairs.
        prompts: the number of prompts with a pair.
        gain_p: the p-value of the exact test of `gain_over_length`.
        expected: whether answers are ordered by expected scores (judge.score).
    """
    found = [
        _one_score(written, expected=expected),
        _ties(tied, expected=expected),
        _unparseable(parse_rate),
        _length_baseline(gain_over_length, gain_p),
        _few_prompts(prompts),
    ]
    return [flag for flag in found if flag is not None]


def _one_score(written: Counter[float], *, expected: bool) -> str | None:
    for score, count in written.most_common(1):
        if count > MAX_SCORE_SHARE * written.total():
            instead = (
                "only the expected scores (judge.score=expected) rank them; to fix this, "
                if expected
                else "set judge.score=expected, or "
            )
            return (
                f"{count / written.total():.0%} of the judge's scores are {score:g}, so it hardly distinguishes "
                f"answers: {instead}train it on more evenly distributed scores (eft.max_share)."
            )
    return None


def _ties(tied: Estimate, *, expected: bool) -> str | None:
    if tied.value is None or tied.value <= MAX_TIED_SHARE:
        return None
    advice = (
        "train it on more ranked answers (seed_data.eft)"
        if expected
        else "raise judge.samples, or set judge.score=expected"
    )
    return f"The judge ties {tied.value:.0%} of the pairs, each of which counts as half correct: {advice}."


def _unparseable(rate: Estimate) -> str | None:
    if rate.value is None or rate.value >= MIN_PARSE_RATE:
        return None
    return (
        f"Only {rate.value:.0%} of the verdicts have a parseable score: read some of the others, then fix the judge "
        "prompt or judge.score_pattern, or raise judge.max_tokens."
    )


def _length_baseline(gain: Estimate, p_value: float | None) -> str | None:
    if gain.low is None or gain.high is None or claim(gain, p_value) == "better":
        return None
    return (
        f'Not significantly better than "the longer answer is better" (difference {100 * gain.low:+.0f} to '
        f"{100 * gain.high:+.0f} points on the same pairs): evaluate on more held-out prompts "
        "(seed_data.valid_fraction, evaluate.judge_prompts) or train the judge on more ranked answers (seed_data.eft)."
    )


def _few_prompts(prompts: int) -> str | None:
    if prompts >= MIN_PROMPTS:
        return None
    return (
        f"Prompts with a pair: {prompts}, too few for reliable intervals; hold out more (seed_data.valid_fraction), or "
        "add a preference set (evaluate.preferences)."
    )
