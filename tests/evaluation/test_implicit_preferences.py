"""Implicit preferences: readings of ranked answers, and how they order pairs."""

import math

import pytest
import torch
from srlm import config as configuration
from srlm.evaluation.implicit_preferences import ReadPreferences, case_results, measure
from srlm.evaluation.paired import read_cases
from srlm.models import chat, registry
from srlm.rows.records import AnswerLogprob, RankedAnswers, read_rows, write_rows
from srlm.stages.eft import answer_id

from tests.scripted import Recorder
from tests.training.trials import Trial, pair, token_logps


def ranked(key, prompt, *answers):
    return RankedAnswers(
        key, prompt, list(answers), [5.0 - index for index in range(len(answers))], [""] * len(answers)
    )


ROWS = [
    ranked("r1", "What is tea?", "a drink", "not a thing that one can see", "a map"),
    ranked("r2", "Why?", "so", "no"),
]


def readings(**values):
    """Readings of the answers, as (log-probability, tokens)."""
    return [AnswerLogprob(key.replace("_", "."), tokens, logp) for key, (logp, tokens) in values.items()]


BASE = readings(r1_0=(-10.0, 2), r1_1=(-20.0, 8), r1_2=(-9.0, 2), r2_0=(-5.0, 1), r2_1=(-4.0, 1))


def test_figures_by_hand():
    own = readings(r1_0=(-8.0, 2), r1_1=(-16.0, 8), r1_2=(-9.5, 2), r2_0=(-5.0, 1), r2_1=(-5.0, 1))
    found = measure(ROWS, own, BASE)
    assert (found.prompts, found.answers, found.pairs) == (2, 5, 4)
    # Log-ratios 2, 4, -0.5 and 0, -1: of the pairs 0>1, 0>2, 1>2 and 0>1 three are right.
    assert found.log_ratio.value == 3 / 4
    assert found.log_ratio_per_token.value == 1.0  # 1, 0.5, -0.25
    assert found.likelihood_per_token.value == (0 + 1 + 1 + 0.5) / 4  # -4, -2, -4.75; a tie is half right
    assert found.longer_accuracy.value == (0 + 1 + 1 + 0.5) / 4
    assert found.log_ratio.n == 4


def test_m0_has_no_log_ratio():
    found = measure(ROWS, BASE, None)
    assert found.log_ratio.value is found.log_ratio_per_token.value is None
    assert found.likelihood_per_token.value is not None
    assert case_results(ROWS, BASE, None) == []
    assert measure(ROWS, BASE, BASE).log_ratio_per_token.value == 0.5  # no change: all tie


@pytest.fixture
def read(tmp_path):
    """Read the rows under a model, and return the job's result and its readings."""

    def run(folder, name, base=None, rows=ROWS):
        write_rows(tmp_path / "valid.jsonl", rows)
        config, found = configuration.build({"model": {"name": folder}}), {}
        file = tmp_path / f"{name}.jsonl"
        base_file = None if base is None else tmp_path / f"{base}.jsonl"
        report = Recorder()
        ReadPreferences(name, config, folder, tmp_path / "valid.jsonl", file, base_file).run(
            report, lambda _, result: found.update(result)
        )
        return found, read_rows(file, AnswerLogprob), report

    return run


def test_readings_are_those_of_a_plain_forward_pass(tiny_model, read):
    found, rows, _ = read(tiny_model, "m0")
    tokenizer, model = registry.load_tokenizer(tiny_model), registry.load_model(tiny_model, dtype=torch.float32).eval()
    by_id = {row.candidate_id: row for row in rows}
    for row in ROWS:
        for index, text in enumerate(row.answers):
            prompt, given = chat.user(row.prompt), chat.assistant(text)
            ids = chat.completion_ids(tokenizer, prompt, given)
            logps = token_logps(model, chat.prompt_ids(tokenizer, prompt), ids)
            one = by_id[answer_id(row, index)]
            assert one.tokens == len(ids)
            assert one.logprob == pytest.approx(float(logps.sum()), abs=1e-4)
    assert found["rows"] == found["answers"] == 5
    assert found["log_ratio"]["value"] is None


def test_an_interrupted_reading_resumes(tiny_model, read, tmp_path):
    _, rows, _ = read(tiny_model, "m0")
    file = tmp_path / "m0.jsonl"
    text = file.read_text(encoding="utf-8")
    file.write_text("".join(text.splitlines(keepends=True)[:2]) + '{"candi', encoding="utf-8")
    _, again, _ = read(tiny_model, "m0")
    assert sorted(again, key=lambda row: row.candidate_id) == sorted(rows, key=lambda row: row.candidate_id)


def test_a_model_trained_on_these_preferences_orders_them(tiny_model, read, tmp_path):
    """DPO raises the log-ratios of chosen answers over rejected ones."""
    pairs = [pair(number) for number in range(4)]
    rows = [
        ranked(row.prompt_id, row.prompt[0]["content"], row.chosen[0]["content"], row.rejected[0]["content"])
        for row in pairs
    ]
    trial = Trial(tmp_path, tiny_model).dpo(pairs, learning_rate=1e-3, epochs=20, batch_size=4)
    read(tiny_model, "m0", rows=rows)
    found, _, _ = read(str(trial.job.target), "m2", base="m0", rows=rows)
    assert found["log_ratio"]["value"] == found["log_ratio_per_token"]["value"] == 1.0
    cases = read_cases(tmp_path / "m2.jsonl")
    assert [case.value for case in cases["log_ratio_per_token"]] == [1.0] * 4


def test_answers_beyond_the_context_are_skipped_with_a_note(tiny_model, read):
    long = ranked("r3", "Long?", "word " * 3000, "short")
    found, rows, report = read(tiny_model, "m0", rows=[*ROWS, long])
    assert found["answers"] == len(rows) == 5
    assert any("skipped 1 prompts with an answer beyond the model's context" in note for note in report.notes)
    assert math.isfinite(sum(row.logprob for row in rows))
