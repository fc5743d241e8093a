"""Length control: where the rate is withheld, and the exact test with matched lengths."""

import numpy as np
import pytest
from srlm.evaluation.claims import claim
from srlm.evaluation.length_control import MIN_SHARE, length_control, matched_sums
from srlm.evaluation.win_rates import LOSS, TIE, WIN, win_rates


def claimed(results, differences):
    found = win_rates(results, list(differences), [0] * len(differences))
    return claim(found.length_controlled, found.length_controlled_p, even=0.5)


@pytest.mark.parametrize(
    ("differences", "results", "sums"),
    [
        ([], [], []),
        ([0, 0, 0], [WIN, TIE, LOSS], [0.5, 0, -0.5]),
        ([100, -100], [WIN, LOSS], [0]),  # a judge that follows length
        ([100, -110], [WIN, WIN], [1]),
        ([100, -121], [WIN, WIN], []),  # too different
        ([100, 100, -100], [WIN, LOSS, TIE], [-0.5]),  # each prompt at most once
        ([100, 10, -9, -300], [WIN, TIE, WIN, LOSS], [0.5]),
        ([100, 300], [WIN, WIN], []),
    ],
)
def test_matches_by_hand(differences, results, sums):
    assert sorted(matched_sums(results, differences)) == sorted(sums)


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ([100] * 96 + [-100] * 4, "longer answers in 96 of 100 prompts"),
        ([-100] * 96 + [100] * 4, "shorter answers in 96 of 100 prompts"),
        ([100] * 9 + [-100] * 9, "in 9 of 18 prompts"),  # too few on either side
        ([100] * 81 + [-100] * 19, "longer answers in 81 of 100 prompts"),
        ([100] * 80 + [-100] * 20, None),
        ([100] * 80 + [0] * 20, None),  # equal lengths are what the rate is about
        ([0] * 10, None),
    ],
)
def test_the_rate_is_withheld_without_overlap(differences, words):
    draw = np.random.default_rng(0)
    results = draw.choice([WIN, TIE, LOSS], len(differences)).tolist()
    withheld = length_control(results, differences).withheld
    assert (withheld is None) == (words is None)
    assert words is None or words in withheld
    found = win_rates(results, list(differences), [0] * len(differences))
    assert (found.length_controlled.value is None) == (words is not None)
    assert (found.length_controlled_p is None) == (words is not None)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_rate_is_withheld_if_length_decides_everything(sign):
    differences = [100, 50, 7, 0, -3, -80] * 20
    results = [WIN if sign * d > 0 else LOSS if sign * d < 0 else TIE for d in differences]
    assert "length alone separates" in length_control(results, differences).withheld
    assert length_control([WIN] * 120, differences).withheld is None  # whatever the lengths


def test_nothing_compared():
    found = length_control([], [])
    assert (found.withheld, found.p_value(None)) == (None, None)


def test_matches_that_contradict_the_fit_claim_nothing():
    found = length_control([WIN] * 20, [0] * 20)
    assert found.p_value(0.9) < 0.05
    assert found.p_value(0.4) == 1.0


JUDGES = {  # P(win) of a judge that only likes length, by the length difference
    "step": lambda d: (np.sign(d) + 1) / 2,
    "steep": lambda d: 1 / (1 + np.exp(-d / 20)),
    "soft": lambda d: 1 / (1 + np.exp(-d / 150)),
    "threshold": lambda d: np.where(np.abs(d) > 100, 0.5 + 0.45 * np.sign(d), 0.5),
}


@pytest.mark.parametrize("shift", [0, 50, 100, 150, 300])
@pytest.mark.parametrize("judge", JUDGES)
def test_a_judge_that_only_likes_length_is_not_claimed(judge, shift):
    """Forty simulated runs for each; the bench counts more (benches/bench_claims.py)."""
    draw, claims = np.random.default_rng(shift), 0
    for _ in range(40):
        differences = np.round(draw.normal(shift, 150, 100))
        results = (draw.random(100) < JUDGES[judge](differences)).astype(float)
        control = length_control(results.tolist(), differences.tolist())
        if control.withheld is None and min(control.p_value(0.9), control.p_value(0.1)) < 0.05:
            claims += claimed(results.tolist(), differences.astype(int).tolist()) != "same"
    assert claims <= 4  # P(5 or more of 40 at 5 %) = 0.048


def test_a_better_model_is_claimed_with_longer_answers_too():
    draw, claims = np.random.default_rng(5), 0
    for _ in range(20):
        differences = np.round(draw.normal(60, 150, 300)).astype(int)
        chance = 1 / (1 + np.exp(-(0.9 + differences / 150)))
        claims += claimed((draw.random(300) < chance).astype(float).tolist(), differences.tolist()) == "better"
    assert claims >= 18


def test_the_share_is_the_documented_one():
    assert MIN_SHARE == 0.2
