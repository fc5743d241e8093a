"""What all signals share: files of scores, resuming, the order of rows, and the control."""

import random

import numpy as np
import pytest
from srlm.errors import InputError
from srlm.rows.records import Score, read_rows, write_rows
from srlm.signals.per_prompt import ScoreAnswers
from srlm.signals.registry import SIGNALS, signal_of
from srlm.signals.stage_names import stage_of
from srlm.stages.score_table import read_answers, read_scores

from tests.scripted import Recorder
from tests.signals.answers import build, candidates, prompt

ROWS = [prompt(f"Question {number}?", answer=number) for number in range(6)]
GIVEN = [each for row in ROWS for each in candidates(row, "1", "2", "The answer is 3", "none")]
KINDS = ("majority", "random", "rules")


@pytest.fixture
def score(tmp_path):
    """Write the scores of GIVEN in some order, and return the rows of the file."""

    def run(kind, given=GIVEN, name="scores", seed=2, **settings):
        files = [tmp_path / f"{part}.jsonl" for part in ("prompts", "candidates", name)]
        write_rows(files[0], ROWS)
        write_rows(files[1], given)
        found = {}
        signal = signal_of(build(kind, **settings))
        ScoreAnswers("m2/scores", signal, *files, seed).run(
            Recorder(), lambda stage, result: found.update({stage: result})
        )
        rows = read_rows(files[2], Score)
        assert found == {"m2/scores": {"rows": len(rows)}}
        return rows

    return run


def test_every_kind_has_its_stage():
    assert all(signal.stage == stage_of(kind) for kind, signal in SIGNALS.items())


@pytest.mark.parametrize("kind", KINDS)
def test_one_row_for_each_candidate(score, kind):
    rows = score(kind)
    assert sorted(row.candidate_id for row in rows) == sorted(row.id for row in GIVEN)
    assert len({row.id for row in rows}) == len(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_candidates_changes_nothing(score, kind):
    shuffled = random.Random(0).sample(GIVEN, len(GIVEN))
    assert score(kind) == score(kind, shuffled, name="shuffled")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left", [0, 1, 4, 9, 23])
def test_an_interrupted_stage_resumes(score, tmp_path, kind, left):
    rows = score(kind)
    with (tmp_path / "scores.jsonl").open(encoding="utf-8") as file:
        lines = file.read().splitlines(keepends=True)
    (tmp_path / "scores.jsonl").write_text("".join(lines[:left]) + lines[left][:20], encoding="utf-8")
    assert score(kind) == rows


def test_random_scores_are_uniform_and_depend_on_the_seed(score):
    rows = score("random")
    assert score("random", name="other", seed=3) != rows
    many = [prompt(f"Question {number}") for number in range(500)]
    given = [each for row in many for each in candidates(row, "a", "b", "c", "d")]
    found = np.array([row.score for some in signal_of(build("random")).score_rows(many, given, 0) for row in some])
    counts = np.histogram(found, bins=10, range=(0, 1))[0]
    assert counts.sum() == 2000
    assert abs(counts - 200).max() < 6 * np.sqrt(2000 * 0.1 * 0.9)  # six standard deviations
    best = found.reshape(-1, 4).argmax(1)
    assert abs(np.bincount(best) - 125).max() < 6 * np.sqrt(500 * 0.25 * 0.75)


def test_a_score_of_an_unknown_candidate_is_named():
    answers = read_answers(ROWS, GIVEN)
    with pytest.raises(InputError, match="score s: its candidate c is not in the file of candidates"):
        read_scores(answers, [Score("s", "c", 1.0)], max_score=1.0)


def test_candidates_that_share_an_id_share_their_score():
    one, other = candidates(ROWS[0], "a", "b")
    answers = read_answers(ROWS[:1], [one, one, other])
    found = read_scores(answers, [Score("s", one.id, 0.5, tie_break=0.25)], max_score=1.0)
    np.testing.assert_array_equal(found.score, [0.5, 0.5, np.nan])
    np.testing.assert_array_equal(found.tie_break, [0.25, 0.25, np.nan])
    assert found.means().tolist() == [0.5]


def test_the_best_of_each_prompt_win():
    answers = read_answers(ROWS[:2], GIVEN[:8])
    rows = [
        Score(str(number), row.id, value)
        for number, (row, value) in enumerate(zip(GIVEN, [1, 3, 3, None], strict=False))
    ]
    found = read_scores(answers, rows, max_score=None)
    assert found.winner.tolist() == [False, True, True, False] + [False] * 4
