"""DPO on a tiny model: the loss by hand, the token ids it is computed on, dropout, and the reference."""

import json
import math
from dataclasses import replace

import pytest
import torch
from srlm.config import LoraSection
from srlm.errors import InputError
from srlm.models import chat
from srlm.training.dpo import encode as encode_pairs
from srlm.training.dpo import pair_length
from srlm.training.dpo_trainer import PreferenceTrainer
from transformers import GPT2Config, GPT2LMHeadModel

from tests.training.trials import PAIRS, pair, token_logps


def test_first_dpo_loss_is_ln_2(trial):
    """The reference is the policy itself: every margin is 0, and -log sigmoid(0) = ln 2."""
    for number, settings in enumerate([{}, {"lora": LoraSection(rank=4, alpha=8)}, {"micro_batch_size": 1}]):
        first = trial(f"{number}").dpo(learning_rate=1e-3, **settings).logged[0]
        assert first["loss"] == pytest.approx(math.log(2), abs=1e-4)
        for name in ("rewards/chosen", "rewards/rejected", "rewards/margins"):
            assert first[name] == pytest.approx(0, abs=1e-4)


def test_dpo_loss_by_hand(trial, base, tiny_tokenizer):
    """After one step on all pairs, the second step's loss is that of the updated model against the initial one."""
    settings = {"batch_size": 6, "learning_rate": 2e-3, "min_learning_rate": 2e-3, "beta": 0.3}
    one_step = trial("one").dpo(epochs=1.0, **settings)
    two_steps = trial("two").dpo(epochs=2.0, **settings)
    policy, margins = one_step.model, []
    for row in PAIRS:
        (ids,) = encode_pairs(tiny_tokenizer, [row])
        ratios = [
            (token_logps(policy, ids["prompt_ids"], ids[side]) - token_logps(base, ids["prompt_ids"], ids[side])).sum()
            for side in ("chosen_ids", "rejected_ids")
        ]
        margins.append(0.3 * (ratios[0] - ratios[1]))
    margins = torch.stack(margins)
    second = two_steps.logged[1]
    assert second["rewards/margins"] == pytest.approx(margins.mean().item(), abs=2e-3)
    assert abs(margins.mean()) > 0.05
    assert second["loss"] == pytest.approx(-torch.nn.functional.logsigmoid(margins).mean().item(), abs=2e-3)


def test_dpo_learns(trial):
    done = trial().dpo(learning_rate=2e-3, epochs=6.0)
    assert done.logged[-1]["rewards/margins"] > 0.2
    assert done.logged[-1]["loss"] < math.log(2) - 0.1
    assert done.trained.rows == 6
    assert (done.report.starts, done.report.advanced) == ([("reference", 1, 0), ("dpo", 18, 0)], 19)


def test_dpo_trains_on_the_given_ids(trial, monkeypatch):
    """The trainer's batches have the engine's token ids, not those of the tokenised text."""
    seen = []
    original = PreferenceTrainer.pass_loss

    def pass_loss(self, model, one, totals):
        seen.append(one)
        return original(self, model, one, totals)

    monkeypatch.setattr(PreferenceTrainer, "pass_loss", pass_loss)
    given = [pair(number, chosen_token_ids=[97, 98, 2], rejected_token_ids=[120 + number, 2]) for number in range(2)]
    trial().dpo(given, batch_size=2, micro_batch_size=1)
    found = []
    for one in seen:
        tokens = one.layout.input_ids.reshape(-1)
        for number, example in enumerate(one.examples):
            for side in (0, 1):
                row = tokens[one.layout.nodes[2 * number + side]].tolist()
                found.append(row[len(example["prompt_ids"]) :])
    assert sorted(found) == [[97, 98, 2], [97, 98, 2], [120, 2], [121, 2]]


def test_dpo_drops_pairs_too_long(trial, tiny_tokenizer):
    limit = pair_length(encode_pairs(tiny_tokenizer, PAIRS[:1])[0])
    given = [PAIRS[0], pair(1, chosen_token_ids=[97] * 100), pair(2, rejected_token_ids=[97] * 100)]
    done = trial().dpo(given, max_length=limit, batch_size=1, micro_batch_size=1)
    assert (done.trained.rows, done.trained.dropped_too_long) == (1, 2)


def sides(number, chosen, rejected, **token_ids):
    return replace(pair(number, **token_ids), chosen=chat.assistant(chosen), rejected=chat.assistant(rejected))


# Pairs that prefer nothing: to the reader, or to the trainer.
EQUAL = {
    "same text": sides(1, "a score", "a score"),
    "white space at the end": sides(1, "a score", "a score \n\t"),
    "white space at the start": sides(1, "\n a score", "a score"),
    "both empty": sides(1, "", " "),
    "same text, other tokens": sides(1, "ab", "ab", chosen_token_ids=[97, 98, 2], rejected_token_ids=[99, 2]),
    "same text, one cut off": sides(1, "ab", "ab", chosen_token_ids=[97, 98, 2], rejected_token_ids=[97, 98]),
    "same tokens, other text": sides(1, "ab", "cd", chosen_token_ids=[97, 98, 2], rejected_token_ids=[97, 98, 2]),
    "several messages": replace(
        pair(1), chosen=chat.assistant("a") + chat.user("b "), rejected=chat.assistant("a") + chat.user("b")
    ),
}


@pytest.mark.parametrize("kind", EQUAL)
def test_pairs_of_equal_answers_are_dropped_and_counted(trial, kind):
    done = trial().dpo([PAIRS[0], EQUAL[kind], PAIRS[2]], batch_size=2, micro_batch_size=1)
    assert (done.trained.rows, done.trained.dropped_equal, done.trained.dropped_too_long) == (2, 1, 0)
    assert "dpo: dropped 1 of 3 pairs whose chosen and rejected answers are the same" in done.report.notes
    assert "| pairs dropped (equal answers) | 1 |" in (done.job.target / "README.md").read_text(encoding="utf-8")


def test_different_answers_are_kept(trial):
    given = [sides(0, "a score", "a Score"), sides(1, "a score", "a  score"), sides(2, "", "a"), sides(3, "a\nb", "ab")]
    done = trial().dpo(given, batch_size=2, micro_batch_size=1)
    assert (done.trained.rows, done.trained.dropped_equal) == (4, 0)
    assert not any("dropped" in note for note in done.report.notes)


def test_both_reasons_to_drop_are_counted_apart(trial):
    given = [EQUAL["same text"], pair(0, chosen_token_ids=[97] * 100), PAIRS[2]]
    limit = 60
    done = trial().dpo(given, max_length=limit, batch_size=1, micro_batch_size=1)
    assert (done.trained.rows, done.trained.dropped_too_long, done.trained.dropped_equal) == (1, 1, 1)


@pytest.mark.parametrize(
    "kinds", [["same text"], ["same tokens, other text"], ["both empty", "same tokens, other text"]]
)
def test_only_pairs_of_equal_answers_are_an_error(trial, kinds):
    with pytest.raises(InputError) as caught:
        trial().dpo([EQUAL[kind] for kind in kinds], batch_size=1, micro_batch_size=1)
    assert "the chosen and the rejected answer are the same in all " in str(caught.value)
    assert f" {len(kinds)} pairs; use pairs of different answers" in str(caught.value)


@pytest.mark.parametrize("lora", [None, LoraSection(rank=4, alpha=8)])
def test_dropout_is_in_the_policy_and_not_in_the_reference(trial, monkeypatch, lora):
    """TRL would disable it; the reference is computed without it."""
    references = []
    original = PreferenceTrainer.pass_loss

    def pass_loss(self, model, one, totals):
        references.append([row[f"ref_{side}_logps"] for row in one.examples for side in ("chosen", "rejected")])
        return original(self, model, one, totals)

    monkeypatch.setattr(PreferenceTrainer, "pass_loss", pass_loss)
    first = [
        trial(f"{dropout}").dpo(PAIRS[:2], dropout=dropout, lora=lora, learning_rate=1e-3).logged[0]
        for dropout in (0.0, 0.5)
    ]
    assert len(references[0]) == 4
    assert sorted(references[0]) == pytest.approx(sorted(references[1]), abs=1e-4)
    assert first[0]["rewards/margins"] == pytest.approx(0, abs=1e-4)
    assert abs(first[1]["rewards/chosen"]) > 1e-3


def dropout_rates(trial, monkeypatch, **settings):
    """The rates of the dropout modules within a DPO's first step."""
    rates = []
    original = PreferenceTrainer.compute_loss

    def compute_loss(self, model, *args, **kwargs):
        rates.append({module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)})
        return original(self, model, *args, **kwargs)

    monkeypatch.setattr(PreferenceTrainer, "compute_loss", compute_loss)
    done = trial.dpo(PAIRS[:2], **settings)
    return rates[0], done


def test_dropout_modules_stay_on(trial, tmp_path, tiny_tokenizer, monkeypatch):
    """TRL's `disable_dropout` would set them to 0; LoRA adapters and some architectures have such modules."""
    rates, _ = dropout_rates(trial("lora"), monkeypatch, dropout=0.5, lora=LoraSection(rank=4, alpha=8))
    assert rates == {0.5}
    folder = tmp_path / "gpt2"
    config = GPT2Config(vocab_size=512, n_positions=256, n_embd=32, n_layer=2, n_head=2, attn_pdrop=0.05)
    GPT2LMHeadModel(config).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    rates, done = dropout_rates(trial("gpt2", base=str(folder)), monkeypatch, dropout=0.4)
    assert rates == {0.4}
    saved = json.loads((done.job.target / "config.json").read_text(encoding="utf-8"))
    assert (saved["attn_pdrop"], saved["resid_pdrop"], saved["embd_pdrop"]) == (0.05, 0.1, 0.1)


def test_other_losses(trial):
    done = trial().dpo(loss_type=["ipo", "hinge"])
    assert math.isfinite(done.trained.train_loss)
    assert done.logged[0]["loss"] != pytest.approx(math.log(2), abs=1e-2)


def test_the_reference_is_saved_next_to_the_metrics(trial):
    """A restarted training reads it."""
    done = trial().dpo(max_steps=1)
    assert done.report.starts == [("reference", 1, 0), ("dpo", 1, 0)]
    done.job.target.rename(done.job.target.with_name("first"))
    done.report.starts.clear()
    done.dpo(max_steps=1)
    assert done.report.starts == [("dpo", 1, 0)]
    assert done.report.notes == [f"dpo: reusing the reference log-probabilities in {done.job.reference}"]
    done.job.target.rename(done.job.target.with_name("second"))
    done.report.starts.clear()
    done.dpo(PAIRS[:2], max_steps=1)  # other pairs
    assert done.report.starts[0] == ("reference", 1, 0)
