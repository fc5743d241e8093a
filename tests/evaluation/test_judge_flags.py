"""Caveats on a judge's metrics."""

from collections import Counter

import pytest
from srlm.evaluation.estimates import NONE, Estimate
from srlm.evaluation.judge_flags import flags


@pytest.mark.parametrize("expected", [True, False])
def test_no_flag_advises_a_setting_that_is_set_already(expected):
    half = Estimate(0.8, 0.7, 0.9, 90)
    found = flags(
        written=Counter({3.0: 100}), tied=half, parse_rate=NONE, gain_over_length=NONE, prompts=90, expected=expected
    )
    assert len(found) == 2
    assert all(("set judge.score=expected" in flag) is not expected for flag in found)


@pytest.mark.parametrize(
    ("low", "p_value", "flagged"),
    [(0.01, 0.01, False), (0.01, 0.2, True), (0.01, None, True), (-0.1, 0.01, True), (None, 1.0, False)],
)
def test_a_judge_that_is_not_shown_to_beat_length_is_flagged(low, p_value, flagged):
    gain = Estimate(0.1, low, None if low is None else 0.3, 90)
    found = flags(
        written=Counter(), tied=NONE, parse_rate=NONE, gain_over_length=gain, prompts=90, expected=False, gain_p=p_value
    )
    assert any("the longer answer is better" in flag for flag in found) is flagged
