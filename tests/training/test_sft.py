"""SFT on a tiny model: the tokens of the loss, the saved files, and learning rates."""

import json
import math
from pathlib import Path

import pytest
import torch
from srlm.config import LoraSection, ModelSection
from srlm.errors import InputError
from srlm.models import chat, registry
from srlm.rows.records import Example
from srlm.training.dpo import encode as encode_pairs
from srlm.training.dpo import pair_length
from srlm.training.sft import encode

from tests.engines.generation_settings import with_settings
from tests.training.trials import EXAMPLES, PAIRS, example, pair, same_weights, token_logps


def test_the_loss_is_on_the_answer(tiny_tokenizer):
    (row,) = encode(tiny_tokenizer, EXAMPLES[:1])
    masked = [token for token, mask in zip(row["input_ids"], row["completion_mask"], strict=True) if mask]
    assert tiny_tokenizer.decode(masked) == f"{EXAMPLES[0].completion[0]['content']}<|im_end|>"
    assert row["completion_mask"] == sorted(row["completion_mask"])
    assert tuple(row["input_ids"][: -len(masked)]) == chat.prompt_ids(tiny_tokenizer, EXAMPLES[0].prompt)


def test_an_engines_token_ids_are_used_as_given(tiny_tokenizer):
    given = [97, 98, 99, 2]
    (row,) = encode(tiny_tokenizer, [Example("e", chat.user("Q"), chat.assistant("A"), given)])
    assert row["input_ids"][-4:] == given
    assert sum(row["completion_mask"]) == 4
    (whole,) = encode_pairs(tiny_tokenizer, [pair(0, chosen_token_ids=given, rejected_token_ids=[5, 2])])
    assert (whole["chosen_ids"], whole["rejected_ids"]) == (given, [5, 2])
    assert tuple(whole["prompt_ids"]) == chat.prompt_ids(tiny_tokenizer, PAIRS[0].prompt)
    assert pair_length(whole) == len(whole["prompt_ids"]) + 4


def test_pair_without_token_ids(tiny_tokenizer):
    (whole,) = encode_pairs(tiny_tokenizer, PAIRS[:1])
    for side, messages in (("chosen_ids", PAIRS[0].chosen), ("rejected_ids", PAIRS[0].rejected)):
        assert tiny_tokenizer.decode(whole[side]) == f"{messages[0]['content']}<|im_end|>"


def test_first_sft_loss_by_hand(trial, base, tiny_tokenizer):
    """The mean of -log p over all answer tokens of the step's rows, for any micro-batch size."""
    for micro in (1, 4):
        done = trial(f"{micro}").sft(EXAMPLES[:4], micro_batch_size=micro)
        logps = []
        for row in EXAMPLES[:4]:
            prompt = chat.prompt_ids(tiny_tokenizer, row.prompt)
            logps.append(token_logps(base, prompt, chat.completion_ids(tiny_tokenizer, row.prompt, row.completion)))
        assert len({len(some) for some in logps}) > 1
        assert done.logged[0]["loss"] == pytest.approx(-torch.cat(logps).mean().item(), abs=2e-4)


def test_sft_learns(trial, base):
    done = trial().sft(learning_rate=3e-3, epochs=6.0)
    losses = [entry["loss"] for entry in done.logged]
    assert losses[-1] < losses[0] - 0.5
    assert not same_weights(done.model, base)
    assert done.trained.rows == 8
    assert done.trained.dropped_too_long == 0
    assert done.trained.steps == len(losses) == 12
    assert done.trained.train_loss == pytest.approx(sum(losses) / 12, abs=0.01)
    assert done.trained.tokens_in == 6 * sum(len(row["input_ids"]) for row in encode(done.tokenizer, EXAMPLES))
    assert (done.report.starts, done.report.advanced) == ([("sft", 12, 0)], 12)
    assert [entry["step"] for entry in done.logged] == list(range(1, 13))


def test_what_is_saved(trial, tiny_model, tiny_tokenizer):
    done = trial().sft(dropout=0.3)
    folder = done.job.target
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "README.md"} <= names
    assert not {name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl"))}
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["model"]
    assert registry.resolve(str(folder)) == str(folder)
    tokenizer = registry.load_tokenizer(str(folder))
    assert tokenizer.chat_template == tiny_tokenizer.chat_template
    assert tokenizer("a b 4 \u2603")["input_ids"] == tiny_tokenizer("a b 4 \u2603")["input_ids"]
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (
        tiny_tokenizer.eos_token_id,
        tiny_tokenizer.pad_token_id,
    )
    before, after = (
        json.loads((Path(place) / "config.json").read_text(encoding="utf-8")) for place in (tiny_model, folder)
    )
    assert after["attention_dropout"] == before["attention_dropout"] == 0.0
    assert after.get("use_cache", True)
    assert done.model.dtype == torch.float32


def test_model_card(trial):
    done = trial().sft([*EXAMPLES, example(9, 200)])
    card = (done.job.target / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: transformers\n")
    for line in (
        "# m1 of run trial",
        "| base model | tiny |",
        "| rows | 8 |",
        "| rows dropped (over max_length) | 1 |",
        "| optimizer steps | 2 |",
        f"| mean training loss | {done.trained.train_loss:.4f} |",
    ):
        assert line in card.split("\n")


def test_base_with_a_dropout_keeps_it(trial, tmp_path, base, tiny_tokenizer):
    folder = tmp_path / "base"
    base.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "attention_dropout": 0.25}), encoding="utf-8")
    done = trial(base=str(folder)).sft(EXAMPLES[:4])
    saved = json.loads((done.job.target / "config.json").read_text(encoding="utf-8"))
    assert saved["attention_dropout"] == 0.25


def test_chat_template_of_the_configuration_is_saved(trial):
    done = trial(model=ModelSection(name="tiny", chat_template="plain")).sft(EXAMPLES[:4])
    assert "### Instruction:" in registry.load_tokenizer(str(done.job.target)).chat_template


def test_rows_too_long_are_dropped_and_counted(trial, tiny_tokenizer):
    lengths = sorted(len(row["input_ids"]) for row in encode(tiny_tokenizer, EXAMPLES))
    limit = lengths[3]
    kept = sum(length <= limit for length in lengths)
    done = trial().sft(max_length=limit)
    assert 4 <= kept < 8
    assert (done.trained.rows, done.trained.dropped_too_long) == (kept, 8 - kept)


def test_no_row_fits(trial):
    with pytest.raises(InputError, match=r"sft: none of 8 examples fits sft\.max_length \(3\); raise it"):
        trial().sft(max_length=3)
    with pytest.raises(InputError, match=r"dpo: none of 6 pairs fits dpo\.max_length \(3\); raise it"):
        trial().dpo(max_length=3)


def test_cosine_ends_at_the_minimum_rate(trial):
    done = trial().sft(learning_rate=1e-3, min_learning_rate=2e-4, epochs=10.0)
    rates = [entry["learning_rate"] for entry in done.logged]
    assert rates[0] == pytest.approx(1e-3)
    assert rates == sorted(rates, reverse=True)
    # The logged rate is that of the step: the last one is one step before the end of the cosine.
    steps = len(rates)
    last = 2e-4 + (1e-3 - 2e-4) * (1 + math.cos(math.pi * (steps - 1) / steps)) / 2
    assert rates[-1] == pytest.approx(last, rel=1e-3)
    assert rates[-1] == pytest.approx(2e-4, rel=0.05)


def test_warmup(trial):
    done = trial().sft(learning_rate=1e-3, epochs=5.0, warmup_ratio=0.4)
    rates = [entry["learning_rate"] for entry in done.logged]
    assert len(rates) == 10
    assert rates[:5] == pytest.approx([0, 2.5e-4, 5e-4, 7.5e-4, 1e-3])
    assert max(rates) == rates[4]


def test_warmup_over_all_steps(trial):
    done = trial().sft(learning_rate=1e-3, epochs=4.0, warmup_ratio=1.0)
    rates = [entry["learning_rate"] for entry in done.logged]
    assert rates == pytest.approx([step / 8 * 1e-3 for step in range(8)])


def test_max_steps(trial):
    done = trial().sft(max_steps=3, epochs=100.0)
    assert (done.trained.steps, done.report.starts) == (3, [("sft", 3, 0)])


def test_results_are_reproducible(trial, tmp_path):
    one, two, other = trial("one").sft(dropout=0.2), trial("two").sft(dropout=0.2), trial("3", seed=2).sft(dropout=0.2)
    assert same_weights(one.model, two.model)
    assert not same_weights(one.model, other.model)


def test_batch_that_does_not_divide(trial):
    with pytest.raises(InputError, match=r"batch_size 4 is not a multiple of micro_batch_size x launch\.processes = 6"):
        trial(processes=3).sft(batch_size=4, micro_batch_size=2)


def test_dropout_is_in_the_loss(trial):
    """Same weights and rows: the first loss differs from the one without dropout, and from another seed's."""
    without, one, other = (
        trial(f"{number}", seed=seed).sft(EXAMPLES[:4], dropout=dropout).logged[0]["loss"]
        for number, (seed, dropout) in enumerate([(1, 0.0), (1, 0.5), (2, 0.5)])
    )
    assert len({round(loss, 6) for loss in (without, one, other)}) == 3


def test_gradient_checkpointing_changes_nothing(trial):
    one, two = (
        trial(f"{on}").sft(gradient_checkpointing=on, learning_rate=1e-3).logged[-1]["loss"] for on in (False, True)
    )
    assert one == pytest.approx(two, abs=1e-4)


REFUSED = {"do_sample": False, "temperature": 0.6, "eos_token_id": [2, 77]}


@pytest.mark.parametrize("lora", [None, LoraSection(rank=2, alpha=4)])
@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_generation_settings_that_cannot_be_saved_cost_no_training(trial, tmp_path, tiny_model, kind, lora):
    """transformers raises when it saves them: in checkpoints, finished models and merged adapters."""
    base = with_settings(tiny_model, tmp_path, **REFUSED)
    done = trial(base=base, save_steps=1)
    getattr(done, kind)(lora=lora)
    assert done.trained.finished
    saved = json.loads((done.job.target / "generation_config.json").read_text(encoding="utf-8"))
    assert saved["eos_token_id"] == [2, 77]
    assert "temperature" not in saved
    notes = [note for note in done.report.notes if "generation_config.json" in note]
    assert len(notes) == 1
    assert "`temperature`: `do_sample` is not set to `True`" in notes[0]
    assert "saved with its special tokens only" in notes[0]
    again = trial("again", base=str(done.job.target), save_steps=1).sft()
    assert again.trained.finished
    assert not [note for note in again.report.notes if "generation_config.json" in note]
