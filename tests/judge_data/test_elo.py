"""Elo scores: the position weights, the battle matrix, and the maximum of the likelihood."""

import itertools

import numpy as np
import pytest
from srlm.judge_data.elo import RIDGE, Win, battle_matrix, elo_scores, position_weights


def test_position_weights():
    assert position_weights(30, 10) == (0.25, 0.75)
    assert position_weights(0, 0) == (0.5, 0.5)
    assert position_weights(7, 0) == (0.0, 1.0)


def test_battle_matrix():
    wins = [Win(0, 1, True), Win(0, 1, False), Win(1, 2, True), Win(1, 2, True), Win(2, 0, False, 0.5)]
    expected = [[0, 1, 0], [0, 0, 0.5], [0.375, 0, 0]]
    np.testing.assert_array_equal(battle_matrix(3, wins, (0.25, 0.75)), expected)


def objective(battles, scores):
    """The docstring's formula, term by term."""
    pairs = itertools.permutations(range(len(scores)), 2)
    value = sum(battles[m][n] * -np.log1p(np.exp(-(scores[m] - scores[n]))) for m, n in pairs)
    return value - RIDGE / 2 * sum(score**2 for score in scores)


@pytest.mark.parametrize("size", [2, 3, 6, 11])
def test_the_maximum_of_the_likelihood(size):
    rng = np.random.default_rng(size)
    battles = rng.integers(0, 3, (size, size)) * rng.choice([0.25, 0.75], (size, size)) * (1 - np.eye(size))
    found = elo_scores(battles)
    best = objective(battles, found)
    for direction in [*np.eye(size), *rng.normal(size=(20, size))]:
        for step in (1e-3, -1e-3, 0.5, -0.5):
            assert objective(battles, found + step * direction) < best
    assert abs(found.mean()) < 1e-9


def test_two_judgements_have_the_odds_of_their_wins():
    found = elo_scores(np.array([[0.0, 300.0], [100.0, 0.0]]))
    assert found[0] - found[1] == pytest.approx(np.log(3), abs=1e-3)  # the ridge shrinks it a little


@pytest.mark.parametrize("wins", [0.5, 1.0, 1000.0])
def test_a_judgement_that_wins_all_has_a_finite_score(wins):
    battles = np.triu(np.full((4, 4), wins), 1)
    found = elo_scores(battles)
    assert np.isfinite(found).all()
    assert (np.diff(found) < 0).all()


def test_no_comparison_and_a_circle_decide_nothing():
    np.testing.assert_array_equal(elo_scores(np.zeros((3, 3))), np.zeros(3))
    circle = battle_matrix(3, [Win(0, 1, True), Win(1, 2, True), Win(2, 0, True)], (0.5, 0.5))
    np.testing.assert_allclose(elo_scores(circle), np.zeros(3), atol=1e-9)
    assert elo_scores(np.zeros((0, 0))).shape == (0,)
