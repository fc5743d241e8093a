"""Log-probabilities known from the engine take the place of the reference's own pass, where they are the same."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from srlm.models import chat, registry
from srlm.rows.records import Candidate, write_rows
from srlm.training import sampled_logps
from srlm.training.sampled_logps import SampledAnswer

from tests.training.trials import PAIRS, Trial, token_logps


@pytest.fixture(scope="module")
def pairs(tiny_model):
    """PAIRS with the token ids that an engine would have sampled."""
    tokenizer, found = registry.load_tokenizer(tiny_model), []
    for pair in PAIRS:
        columns = chat.encode_pairs(tokenizer, [pair.prompt], [pair.chosen], [pair.rejected], [None], [None])
        _, chosen, rejected = (column[0] for column in columns)
        found.append(replace(pair, chosen_token_ids=chosen, rejected_token_ids=rejected))
    return found


@pytest.fixture(scope="module")
def sampled(pairs, tiny_model):
    """Each answer with its log-probability from a plain forward pass."""
    tokenizer = registry.load_tokenizer(tiny_model)
    model, found = registry.load_model(tiny_model, dtype=torch.float32).eval(), {}
    for pair in pairs:
        prompt = list(chat.prompt_ids(tokenizer, pair.prompt))
        for name, ids in ((pair.chosen_id, pair.chosen_token_ids), (pair.rejected_id, pair.rejected_token_ids)):
            found[name] = SampledAnswer(ids, float(token_logps(model, prompt, ids).sum()))
    return found


def dpo(folder, base, pairs, sampled=None, **section):
    return Trial(folder, base).dpo(pairs, sampled=sampled or {}, max_steps=1, **section)


def reference(done):
    return {name: values.tolist() for name, values in load_file(done.job.reference).items()}


def answers(logps):
    return sorted([*logps["chosen"], *logps["rejected"]])


@pytest.mark.parametrize("section", [{}, {"lora": {"rank": 2, "alpha": 4}}, {"share_prefixes": False}])
def test_known_ones_are_those_that_the_trainer_would_compute(section, pairs, sampled, tiny_model, tmp_path):
    computed = dpo(tmp_path / "computed", tiny_model, pairs, **section)
    # Far enough from the exact ones to be told apart, near enough to be believed.
    shifted = {name: replace(one, logprob=one.logprob + 1e-4) for name, one in sampled.items()}
    known = dpo(tmp_path / "known", tiny_model, pairs, shifted, **section)
    assert answers(reference(known)) == answers(
        {
            "chosen": torch.tensor([shifted[pair.chosen_id].logprob for pair in pairs]).tolist(),
            "rejected": torch.tensor([shifted[pair.rejected_id].logprob for pair in pairs]).tolist(),
        }
    )
    assert answers(reference(known)) == pytest.approx(answers(reference(computed)), abs=2e-4)
    assert known.logged[0]["loss"] == pytest.approx(computed.logged[0]["loss"], abs=1e-4)
    assert known.report.notes == computed.report.notes == []


def test_pairs_of_other_answers_are_computed(pairs, sampled, tiny_model, tmp_path):
    """One candidate is missing, and one is not trained on as it was sampled."""
    computed = reference(dpo(tmp_path / "computed", tiny_model, pairs))
    shifted = {name: replace(one, logprob=one.logprob + 1e-4) for name, one in sampled.items()}
    del shifted[pairs[2].rejected_id]
    cut = replace(pairs[4], chosen_token_ids=pairs[4].chosen_token_ids[:-2])
    done = dpo(tmp_path / "known", tiny_model, [*pairs[:4], cut, pairs[5]], shifted)
    found = reference(done)
    for index, is_known in enumerate([True, True, False, True, False, True]):
        expected = shifted[pairs[index].chosen_id].logprob if is_known else computed["chosen"][index]
        if index != 4:
            assert found["chosen"][index] == pytest.approx(expected, abs=2e-5)
    prompt = list(chat.prompt_ids(done.tokenizer, cut.prompt))
    model = registry.load_model(tiny_model, dtype=torch.float32).eval()
    assert found["chosen"][4] == pytest.approx(float(token_logps(model, prompt, cut.chosen_token_ids).sum()), abs=1e-4)


def test_those_of_another_model_are_not_used(pairs, sampled, tiny_model, tmp_path):
    computed = dpo(tmp_path / "computed", tiny_model, pairs)
    wrong = {name: replace(one, logprob=one.logprob - 0.01 * len(one.token_ids)) for name, one in sampled.items()}
    done = dpo(tmp_path / "wrong", tiny_model, pairs, wrong)
    assert reference(done) == reference(computed)
    (note,) = done.report.notes
    assert "differ by 0.01 nats per token" in note


def test_a_nan_is_not_used(pairs, sampled, tiny_model, tmp_path):
    broken = {name: replace(one, logprob=float("nan")) for name, one in sampled.items()}
    done = dpo(tmp_path, tiny_model, pairs, broken)
    assert all(value < 0 for value in answers(reference(done)))


def test_a_restarted_training_reads_the_same_values(pairs, sampled, tiny_model, tmp_path):
    done = dpo(tmp_path, tiny_model, pairs, sampled)
    first = reference(done)
    done.job.target.rename(tmp_path / "first")
    done.dpo(pairs, sampled=sampled, max_steps=1)
    assert reference(done) == first
    assert done.report.notes == [f"dpo: reusing the reference log-probabilities in {done.job.reference}"]


def test_only_the_answers_of_the_pairs_are_read(tmp_path):
    file, pair = tmp_path / "candidates.jsonl", PAIRS[0]
    write_rows(file, [Candidate(name, "p", 0, "x", [1, 2], -3.0, "stop", 0) for name in ("c0", "r0", "other")])
    found = sampled_logps.read_sampled([file], [pair])
    assert found == {name: SampledAnswer([1, 2], -3.0) for name in ("c0", "r0")}


def test_pairs_of_judgements_are_computed(pairs, sampled, tiny_model, tmp_path):
    """They come after the pairs of responses; the engine's file of candidates has none of their ids."""
    judged = [replace(pair, chosen_id=f"v{pair.chosen_id}", rejected_id=f"v{pair.rejected_id}",
                      chosen_token_ids=None, rejected_token_ids=None) for pair in pairs[:3]]  # fmt: skip
    both = [*pairs[3:], *judged]
    rows = [Candidate(name, "p", 0, "x", one.token_ids, one.logprob + 1e-4, "stop", 0) for name, one in sampled.items()]
    write_rows(tmp_path / "candidates.jsonl", rows)
    known = sampled_logps.read_sampled([tmp_path / "candidates.jsonl"], both)
    assert set(known) == {name for pair in pairs[3:] for name in (pair.chosen_id, pair.rejected_id)}
    computed = reference(dpo(tmp_path / "computed", tiny_model, both))
    found = reference(dpo(tmp_path / "known", tiny_model, both, known))
    for name in ("chosen", "rejected"):
        assert found[name] == pytest.approx(computed[name], abs=3e-4)
        assert found[name][3:] == pytest.approx(computed[name][3:], abs=2e-5)
    assert found["chosen"][0] == pytest.approx(known[pairs[3].chosen_id].logprob, abs=2e-5)


def test_both_answers_have_to_be_as_sampled():
    rows = [{"prompt_ids": [1], "chosen_ids": [2, 3], "rejected_ids": [4]}] * 3
    pairs = PAIRS[:3]
    sampled = {
        "c0": SampledAnswer([2, 3], -1.0),
        "r0": SampledAnswer([4], -2.0),
        "c1": SampledAnswer([2, 3], -1.0),
        "r1": SampledAnswer([4, 5], -2.0),
        "c2": SampledAnswer([2, 3], -1.0),
    }
    assert sampled_logps.known_logps(pairs, rows, sampled) == [(-1.0, -2.0), None, None]
