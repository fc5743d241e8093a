"""Drift of a model from M1, on a tiny random model."""

import random
from collections import Counter

import pytest
import torch
from srlm.config import ModelSection
from srlm.models import chat, registry
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import Candidate, Prompt, SequenceLogprob, read_rows, write_rows
from srlm.training import answer_readings, kl

from tests.scripted import Recorder
from tests.tiny import save_tiny_model

PROMPTS = [Prompt("p", "What is tea?", "seed", [], -1)]


def candidate(key, ids, logprob=-5.0):
    return Candidate(key, "p", 0, "text", ids, logprob, "stop", 0)


def write(model, candidates, file, report=None):
    section = ModelSection(name=model)
    kl.write_logprobs(model, section, PROMPTS, candidates, file, seed=0, report=report or Recorder())
    return read_rows(file, SequenceLogprob)


def test_log_probabilities_are_the_models_own(tiny_model, tiny_tokenizer, tmp_path):
    [row] = write(tiny_model, [candidate("c", [40, 41, 42, 2])], tmp_path / "f.jsonl")
    model = registry.load_model(tiny_model, dtype=torch.float64)
    before = chat.prompt_ids(tiny_tokenizer, chat.user(PROMPTS[0].text))
    ids = torch.tensor([[*before, 40, 41, 42, 2]])
    logps = model(input_ids=ids).logits[0].log_softmax(-1).detach()
    expected = sum(float(logps[len(before) - 1 + index, ids[0, len(before) + index]]) for index in range(4))
    assert row == SequenceLogprob("c", 4, -5.0, pytest.approx(expected, abs=1e-4))


def test_the_same_model_has_no_drift(tiny_model, tiny_tokenizer, tmp_path):
    first = write(tiny_model, [candidate("c", [40, 41, 2]), candidate("d", [50, 2])], tmp_path / "f.jsonl")
    same = [
        candidate(row.candidate_id, ids, row.logprob_m1) for row, ids in zip(first, ([40, 41, 2], [50, 2]), strict=True)
    ]
    assert kl.kl_from_m1(write(tiny_model, same, tmp_path / "g.jsonl")) == 0


def test_another_model_has_drift(tiny_model, tmp_path):
    other = save_tiny_model(tmp_path / "other", seed=1)
    draw = torch.Generator().manual_seed(0)
    ids = [torch.randint(3, 512, (30,), generator=draw).tolist() for _ in range(4)]
    mine = write(tiny_model, [candidate(str(n), row) for n, row in enumerate(ids)], tmp_path / "f.jsonl")
    answers = [candidate(row.candidate_id, ids[int(row.candidate_id)], row.logprob_m1) for row in mine]
    assert kl.kl_from_m1(write(other, answers, tmp_path / "g.jsonl")) != 0


def test_the_mean_is_over_tokens():
    assert kl.kl_from_m1([SequenceLogprob("a", 2, -1.0, -3.0), SequenceLogprob("b", 8, -2.0, -5.0)]) == (2 + 3) / 10
    assert kl.kl_from_m1([]) is None


def test_resume(tiny_model, tmp_path):
    file, rows = tmp_path / "f.jsonl", [candidate("c", [40, 2]), candidate("d", [50, 2]), candidate("empty", [])]
    write(tiny_model, rows[:1], file)
    report = Recorder()
    assert [row.candidate_id for row in write(tiny_model, rows, file, report)] == ["c", "d"]
    assert report.starts == [("log-probabilities under M1", 2, 1)]


def test_an_interrupted_stage_resumes_with_the_same_roundings(tiny_model, tmp_path):
    draw = torch.Generator().manual_seed(2)
    rows = [candidate(str(n), torch.randint(3, 512, (20,), generator=draw).tolist()) for n in range(8)]
    whole = write(tiny_model, rows, tmp_path / "f.jsonl")
    for cut in (1, 5):
        write_rows(tmp_path / "g.jsonl", whole[:cut])
        assert write(tiny_model, rows, tmp_path / "g.jsonl") == whole


def test_a_model_that_does_not_share_prefixes(tiny_model, tmp_path, monkeypatch):
    draw = torch.Generator().manual_seed(3)
    rows = [candidate(str(n), torch.randint(3, 512, (9,), generator=draw).tolist()) for n in range(4)]
    shared = write(tiny_model, rows, tmp_path / "f.jsonl")
    monkeypatch.setattr(answer_readings, "find_form", lambda model: "it cannot")
    alone = {row.candidate_id: row.logprob_m1 for row in write(tiny_model, rows, tmp_path / "g.jsonl")}
    assert {row.candidate_id: row.logprob_m1 for row in shared} == pytest.approx(alone, abs=1e-4)


def test_at_most_max_answers_are_scored(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(kl, "MAX_ANSWERS", 3)
    rows = [candidate(str(n), [40, 2]) for n in range(9)]
    one, again = (
        [row.candidate_id for row in write(tiny_model, rows, tmp_path / name)] for name in ("f.jsonl", "g.jsonl")
    )
    assert one == again
    assert len(one) == 3


def test_the_sample_does_not_depend_on_the_order_of_the_rows(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(kl, "MAX_ANSWERS", 3)
    rows = [candidate(str(n), [40, 2] if n % 3 else []) for n in range(30)]
    shuffled = random.Random(0).sample(rows, len(rows))
    one, other = write(tiny_model, rows, tmp_path / "f.jsonl"), write(tiny_model, shuffled, tmp_path / "g.jsonl")
    assert one == other
    assert kl.kl_from_m1(one) == kl.kl_from_m1(other[::-1])


def test_a_file_gives_the_sample_of_a_list(tmp_path, monkeypatch):
    monkeypatch.setattr(kl, "MAX_ANSWERS", 3)
    rows = [candidate(str(n), [40, 2] if n % 3 else []) for n in range(30)]
    write_rows(tmp_path / "rows.jsonl", rows)
    of_list, of_file, of_another_seed = (
        kl._sample_answers(given, seed)
        for given, seed in ((rows, 7), (RowFile(tmp_path / "rows.jsonl", Candidate), 7), (rows, 8))
    )
    assert of_list == of_file != of_another_seed
    assert len(of_list) == 3
    assert all(row.token_ids for row in of_list)


def test_every_answer_is_sampled_equally_often(monkeypatch):
    monkeypatch.setattr(kl, "MAX_ANSWERS", 3)
    rows = [candidate(str(n), [40, 2]) for n in range(10)]
    counts = Counter(row.id for seed in range(1000) for row in kl._sample_answers(rows, seed))
    assert all(abs(counts[row.id] - 300) < 6 * (1000 * 0.3 * 0.7) ** 0.5 for row in rows)
