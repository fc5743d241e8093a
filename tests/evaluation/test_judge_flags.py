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
