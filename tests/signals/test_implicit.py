"""Log-ratios: their readings, lengths, the agreement of two rankings, and the weights of the pairs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from srlm.errors import InputError
from srlm.models import chat, registry
from srlm.rows.records import ModelLogprob, read_rows, write_rows
from srlm.signals.length_penalty import balanced_penalty
from srlm.signals.registry import signal_of
from srlm.stages import pairs
from srlm.stages.score_table import read_answers

from tests.scripted import Recorder
from tests.signals.answers import build, candidates, prompt
from tests.training.trials import Trial, token_logps
from tests.training.trials import pair as training_pair

ROW = prompt("How much is 2 + 2?")
OTHER = prompt("Name a river.")


def signal(**settings):
    return signal_of(build("implicit", **settings).at(3))


def readings(given, **logps):
    """The readings of candidates by role, with numbers of tokens as in `candidates`."""
    return [
        ModelLogprob(row.id, role, len(row.token_ids), value)
        for role, values in logps.items()
        for row, value in zip(given, values, strict=True)
    ]


def read(tmp_path, given, rows, prompts=(ROW,), **settings):
    write_rows(tmp_path / "logprobs.jsonl", rows)
    return signal(**settings).read(read_answers(prompts, given), tmp_path / "logprobs.jsonl")


def with_lengths(*lengths):
    given = candidates(ROW, *"abcdef"[: len(lengths)])
    return [replace(row, token_ids=[1] * length) for row, length in zip(given, lengths, strict=True)]


def test_models():
    assert signal().models(2) == {"policy": 1, "reference": 0}
    assert signal().models(4) == {"policy": 3, "reference": 0}
    assert signal(reference="previous").models(4) == {"policy": 3, "reference": 2}
    agreement = signal(confidence="rank_agreement")
    assert agreement.models(2) == {"policy": 1, "reference": 0}
    assert agreement.models(4) == {"policy": 3, "reference": 0, "previous": 2}


def test_score_is_the_log_ratio(tmp_path):
    given = with_lengths(2, 4, 5)
    rows = readings(given, policy=[-3.0, -9.0, -2.0], reference=[-4.0, -12.0, -1.0])
    np.testing.assert_allclose(read(tmp_path, given, rows).score, [1.0, 3.0, -1.0])
    np.testing.assert_allclose(read(tmp_path, given, rows, length_normalize=True).score, [0.5, 0.75, -0.2])
    np.testing.assert_allclose(read(tmp_path, given, rows, length_penalty=0.5).score, [0.0, 1.0, -3.5])


def test_what_has_no_reading_has_no_score(tmp_path):
    given = candidates(ROW, "a", "b", "")
    rows = readings(given[:2], policy=[-1.0, -2.0], reference=[-1.5, -2.0])[:3]
    found = read(tmp_path, given, rows)
    np.testing.assert_array_equal(np.isnan(found.score), [False, True, True])
    assert found.outcomes == {"scored": 1, "missing": 2}
    assert found.max_score is None


def test_automatic_penalty(tmp_path):
    """The longest answer is the best by its log-ratio, so it takes a penalty to be as short as the worst."""
    given = with_lengths(2, 4, 10)
    rows = readings(given, policy=[0.0, 0.0, 0.0], reference=[-1.0, -1.5, -4.0])
    plain, fair = read(tmp_path, given, rows), read(tmp_path, given, rows, length_penalty="auto")
    assert plain.score.argmax() == 2
    assert fair.score.argmax() != 2


@pytest.mark.parametrize("seed", range(6))
def test_best_answers_are_no_longer_than_the_worst(seed):
    chance = np.random.default_rng(seed)
    prompt_of, length = np.repeat(np.arange(40), 6), chance.integers(1, 200, 240).astype(float)
    score = chance.normal(size=240) + (0.02 if seed else -0.02) * length
    score[chance.random(240) < 0.1] = np.nan
    alpha = balanced_penalty(prompt_of, score, length)

    def excess(penalty):
        found = []
        for number in range(40):
            own = np.flatnonzero((prompt_of == number) & ~np.isnan(score))
            by_score = (score - penalty * length)[own]
            found.append(length[own[by_score.argmax()]] - length[own[by_score.argmin()]])
        return np.mean(found)

    assert excess(alpha) <= 0
    if seed:
        assert excess(alpha * (1 - 1e-6)) > 0
    else:
        assert alpha == 0.0


def test_nothing_to_balance():
    nothing = np.empty(0)
    assert balanced_penalty(nothing.astype(int), nothing, nothing) == 0.0
    assert balanced_penalty(np.zeros(2, int), np.array([np.nan, np.nan]), np.ones(2)) == 0.0


def test_confidence_is_the_agreement_of_the_two_rankings(tmp_path):
    given = [*candidates(ROW, "a", "b", "c"), *candidates(OTHER, "d", "e", "f")]
    rows = readings(given, policy=[1, 2, 3, 1, 2, 3], reference=[0] * 6, previous=[5, 6, 7, 9, 8, 7])
    found = read(tmp_path, given, rows, (ROW, OTHER), confidence="rank_agreement")
    np.testing.assert_allclose(found.confidence, [1.0, 0.0])
    config = build("implicit", confidence="rank_agreement").at(3)
    selected = pairs.select(read_answers((ROW, OTHER), given), found, pairs=config.pairs, seed=0)
    assert [row.confidence for row in selected.rows((ROW, OTHER), given)] == [1.0, 0.0]
    assert read(tmp_path, given, rows, (ROW, OTHER)).confidence is None


def test_confidence_of_one_ranking_is_one(tmp_path):
    given = candidates(ROW, "a", "b")
    rows = readings(given, policy=[1, 2], reference=[0, 0])
    assert read(tmp_path, given, rows, confidence="rank_agreement").confidence is None


def test_a_lost_candidate_is_an_error(tmp_path):
    given = candidates(ROW, "a", "b")
    with pytest.raises(InputError, match=f"candidate {given[1].id} is not in the file of candidates"):
        read(tmp_path, given[:1], readings(given, policy=[1, 2], reference=[0, 0]))


@pytest.fixture
def job(tmp_path, tiny_model):
    """Read candidates under two models, and return the rows."""
    trained = Trial(tmp_path / "trial", tiny_model).dpo(
        [training_pair(number) for number in range(2)], learning_rate=1e-3, epochs=3
    )
    folders = {"policy": str(trained.job.target), "reference": tiny_model}
    prompts, given = [ROW, OTHER], []
    for row, texts in ((ROW, ("four", "5", "four")), (OTHER, ("the Rhine", ""))):
        for index, text in enumerate(texts):
            ids = list(text.encode())
            given += candidates(row, *texts[: index + 1], token_ids=ids)[-1:]
    write_rows(tmp_path / "prompts.jsonl", prompts)
    write_rows(tmp_path / "candidates.jsonl", given)

    def run():
        file, result = tmp_path / "logprobs.jsonl", {}
        paths = tmp_path / "prompts.jsonl", tmp_path / "candidates.jsonl", file
        work = signal().job("m2/logprobs", *paths, 1, folders)
        work.run(Recorder(), lambda _, found: result.update(found))
        return result, read_rows(file, ModelLogprob)

    run.folders, run.given, run.file = folders, given, tmp_path / "logprobs.jsonl"
    return run


def test_readings_are_those_of_a_plain_forward_pass(job):
    result, rows = job()
    assert result["rows"] == len(rows) == 8  # four answers with tokens, two models
    text_of = {row.id: (row.prompt_id, row.text) for row in job.given}
    for role, folder in job.folders.items():
        tokenizer = registry.load_tokenizer(folder)
        model = registry.load_model(folder, dtype=torch.float32).eval()
        for row in (row for row in rows if row.model == role):
            prompt_id, text = text_of[row.candidate_id]
            asked = ROW if prompt_id == ROW.id else OTHER
            logps = token_logps(model, chat.prompt_ids(tokenizer, chat.user(asked.text)), list(text.encode()))
            assert row.tokens == len(text)
            assert row.logprob == pytest.approx(float(logps.sum()), abs=1e-4)


def test_an_interrupted_reading_resumes(job):
    _, rows = job()
    lines = job.file.read_text(encoding="utf-8").splitlines(keepends=True)
    for kept in (0, 3, 5, 8):
        job.file.write_text("".join(lines[:kept]), encoding="utf-8")
        result, again = job()
        assert result["rows"] == 8
        assert {(row.model, row.candidate_id, row.logprob) for row in again} == {
            (row.model, row.candidate_id, row.logprob) for row in rows
        }
