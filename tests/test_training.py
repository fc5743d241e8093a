"""SFT and DPO on a tiny model: what the loss is over, what is saved, and how a training fails."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from srlm import chat, models
from srlm.config import DpoSection, LoraSection, ModelSection, SftSection
from srlm.dpo import encode as encode_pairs
from srlm.dpo import longest, train_dpo
from srlm.dpo_trainer import PreferenceTrainer
from srlm.errors import InputError, StageError
from srlm.records import Example, Pair
from srlm.saving import check_written
from srlm.sft import encode, train_sft
from srlm.training import Job
from transformers import GPT2Config, GPT2LMHeadModel

from tests.scripted import Recorder

TEXT = "the score of an answer is what a judge gives to it and nothing else at all"


def sentence(number, length):
    words = TEXT.split()
    return " ".join(words[(number * 7 + place * 3) % len(words)] for place in range(length))


def example(number, length=6):
    return Example(
        f"e{number}", chat.user(f"Task {number}: {sentence(number, 5)}"), chat.assistant(sentence(number + 1, length))
    )


def pair(number, **token_ids):
    return Pair(
        f"p{number}",
        chat.user(f"Task {number}: {sentence(number, 5)}"),
        chat.assistant(sentence(number + 1, 4 + number % 3)),
        chat.assistant(sentence(number + 2, 9 - number % 4)),
        f"c{number}",
        f"r{number}",
        5.0,
        1.0,
        **token_ids,
    )


EXAMPLES = [example(number, 4 + number % 5) for number in range(8)]
PAIRS = [pair(number) for number in range(6)]


class Trial:
    """A job in a folder of its own, and what came of it."""

    def __init__(self, folder, base, **job):
        self.folder, self.base, self.report = folder, base, Recorder()
        card = {"model": "m1 of run trial", "base model": "tiny"}
        self.job = Job(
            **{
                "base": base,
                "target": folder / "m1" / "model",
                "metrics": folder / "m1" / "metrics.jsonl",
                "model": ModelSection(name="tiny"),
                "seed": 1,
                "processes": 1,
                "card": card,
                **job,
            }
        )

    def sft(self, examples=EXAMPLES, **section):
        settings = {"batch_size": 4, "micro_batch_size": 2, "dropout": 0.0, "max_length": 200, **section}
        self.trained = train_sft(examples, sft=SftSection(**settings), job=self.job, report=self.report)
        return self

    def dpo(self, pairs=PAIRS, **section):
        settings = {"batch_size": 2, "micro_batch_size": 2, "dropout": 0.0, "max_length": 200, **section}
        self.trained = train_dpo(pairs, dpo=DpoSection(**settings), job=self.job, report=self.report)
        return self

    @property
    def logged(self):
        """The steps' entries of the metrics."""
        lines = self.job.metrics.read_text(encoding="utf-8").split("\n")
        entries = [json.loads(line) for line in lines if line]
        return [entry for entry in entries if "loss" in entry]

    @property
    def model(self):
        return models.load_model(str(self.job.target), dtype=torch.float32).eval()


@pytest.fixture
def trial(tmp_path, tiny_model):
    return lambda name="trial", base=tiny_model, **job: Trial(tmp_path / name, base, **job)


@pytest.fixture(scope="module")
def base(tiny_model):
    return models.load_model(tiny_model, dtype=torch.float32).eval()


def token_logps(model, prompt, completion):
    """log p of every token of a completion, by a plain forward pass."""
    ids = torch.tensor([[*prompt, *completion]])
    with torch.inference_mode():
        logits = model(ids).logits[0, len(prompt) - 1 : -1].double()
    return logits.log_softmax(-1).gather(1, torch.tensor(completion)[:, None])[:, 0]


def same_weights(one, other):
    left, right = one.state_dict(), other.state_dict()
    assert left.keys() == right.keys()
    return all(torch.equal(left[name], right[name]) for name in left)


# --- rows -------------------------------------------------------------------------------------------------------------


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
    assert longest(whole) == len(whole["prompt_ids"]) + 4


def test_pair_without_token_ids(tiny_tokenizer):
    (whole,) = encode_pairs(tiny_tokenizer, PAIRS[:1])
    for side, messages in (("chosen_ids", PAIRS[0].chosen), ("rejected_ids", PAIRS[0].rejected)):
        assert tiny_tokenizer.decode(whole[side]) == f"{messages[0]['content']}<|im_end|>"


# --- SFT --------------------------------------------------------------------------------------------------------------


def test_first_sft_loss_by_hand(trial, base, tiny_tokenizer):
    """The mean of -log p over all answer tokens of the step's rows, whatever the micro-batches."""
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
    assert (done.report.starts, done.report.advanced) == ([("sft", 12, 0)], 12)
    assert [entry["step"] for entry in done.logged] == list(range(1, 13))


def test_what_is_saved(trial, tiny_model, tiny_tokenizer):
    done = trial().sft(dropout=0.3)
    folder = done.job.target
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "README.md"} <= names
    assert not {name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl"))}
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["model"]
    assert models.resolve(str(folder)) == str(folder)
    tokenizer = models.load_tokenizer(str(folder))
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
    assert "### Instruction:" in models.load_tokenizer(str(done.job.target)).chat_template


def test_rows_too_long_are_dropped_and_counted(trial, tiny_tokenizer):
    lengths = sorted(len(row["input_ids"]) for row in encode(tiny_tokenizer, EXAMPLES))
    limit = lengths[3]
    kept = sum(length <= limit for length in lengths)
    done = trial().sft(max_length=limit)
    assert 4 <= kept < 8
    assert (done.trained.rows, done.trained.dropped_too_long) == (kept, 8 - kept)


def test_no_row_fits(trial):
    with pytest.raises(StageError, match=r"sft: none of 8 examples fits sft\.max_length \(3\); raise it"):
        trial().sft(max_length=3)
    with pytest.raises(StageError, match=r"dpo: none of 6 pairs fits dpo\.max_length \(3\); raise it"):
        trial().dpo(max_length=3)


def test_cosine_ends_at_the_least_rate(trial):
    done = trial().sft(learning_rate=1e-3, min_learning_rate=2e-4, epochs=10.0)
    rates = [entry["learning_rate"] for entry in done.logged]
    assert rates[0] == pytest.approx(1e-3)
    assert rates == sorted(rates, reverse=True)
    # The rate that is logged is the step's own: the last one is a step before the end of the cosine.
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


def test_warmup_all_along(trial):
    done = trial().sft(learning_rate=1e-3, epochs=4.0, warmup_ratio=1.0)
    rates = [entry["learning_rate"] for entry in done.logged]
    assert rates == pytest.approx([step / 8 * 1e-3 for step in range(8)])


def test_max_steps(trial):
    done = trial().sft(max_steps=3, epochs=100.0)
    assert (done.trained.steps, done.report.starts) == (3, [("sft", 3, 0)])


def test_rates_and_seeds_give_the_same_again(trial, tmp_path):
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


# --- LoRA -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sft", "dpo"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_lora_is_saved_merged(trial, base, tiny_tokenizer, kind, dropout):
    lora = LoraSection(rank=4, alpha=8)
    settings = {"lora": lora, "learning_rate": 5e-3, "epochs": 4.0, "dropout": dropout}
    done = getattr(trial(), kind)(**settings)
    names = {path.name for path in done.job.target.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert not {name for name in names if "adapter" in name or name.endswith(".bin")}
    merged = done.model
    assert merged.state_dict().keys() == base.state_dict().keys()
    ids = torch.tensor([chat.prompt_ids(tiny_tokenizer, PAIRS[0].prompt)])
    with torch.inference_mode():
        assert (merged(ids).logits - base(ids).logits).abs().max() > 1e-3
    changed = {name for name, w in merged.state_dict().items() if not torch.equal(w, base.state_dict()[name])}
    assert changed == {name for name in base.state_dict() if "_proj" in name}


def test_merged_lora_is_the_model_that_was_trained(trial, tiny_tokenizer):
    """The loss of the saved weights, by hand, is near the last one that was logged, one small step before."""
    done = trial().sft(EXAMPLES[:4], lora=LoraSection(rank=4, alpha=8), learning_rate=5e-3, epochs=30.0)
    logps = []
    for row in EXAMPLES[:4]:
        prompt = chat.prompt_ids(tiny_tokenizer, row.prompt)
        logps.append(token_logps(done.model, prompt, chat.completion_ids(tiny_tokenizer, row.prompt, row.completion)))
    losses = [entry["loss"] for entry in done.logged]
    assert losses[0] - losses[-1] > 0.5
    assert -torch.cat(logps).mean().item() == pytest.approx(losses[-1], abs=0.05)


def test_lora_on_some_modules(trial, base):
    lora = LoraSection(rank=2, alpha=4, target_modules=["q_proj", "v_proj"])
    merged = trial().sft(lora=lora, learning_rate=5e-3).model.state_dict()
    changed = {name for name, w in base.state_dict().items() if not torch.equal(w, merged[name])}
    assert {name.split(".")[-2] for name in changed} == {"q_proj", "v_proj"}


# --- DPO --------------------------------------------------------------------------------------------------------------


def test_first_dpo_loss_is_ln_2(trial):
    """The reference is the policy itself: every margin is 0, and -log sigmoid(0) = ln 2."""
    for number, settings in enumerate([{}, {"lora": LoraSection(rank=4, alpha=8)}, {"micro_batch_size": 1}]):
        first = trial(f"{number}").dpo(learning_rate=1e-3, **settings).logged[0]
        assert first["loss"] == pytest.approx(math.log(2), abs=1e-4)
        for name in ("rewards/chosen", "rewards/rejected", "rewards/margins"):
            assert first[name] == pytest.approx(0, abs=1e-4)


def test_dpo_loss_by_hand(trial, base, tiny_tokenizer):
    """After one step on all pairs, the second step's loss is that of the changed model against the first."""
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
    assert (done.report.starts, done.report.advanced) == ([("reference", 3, 0), ("dpo", 18, 0)], 21)


def test_dpo_trains_on_the_given_ids(trial, monkeypatch):
    """The trainer's batches hold the engine's ids, not the text's."""
    seen = []
    original = PreferenceTrainer.compute_loss

    def compute_loss(self, model, inputs, *args, **kwargs):
        seen.append({name: value.clone() for name, value in inputs.items() if isinstance(value, torch.Tensor)})
        return original(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(PreferenceTrainer, "compute_loss", compute_loss)
    given = [pair(number, chosen_token_ids=[97, 98, 2], rejected_token_ids=[120 + number, 2]) for number in range(2)]
    trial().dpo(given, batch_size=2, micro_batch_size=1)
    assert len(seen) == 2
    for batch in seen:
        chosen, rejected = (batch["input_ids"][row][batch["completion_mask"][row].bool()].tolist() for row in (0, 1))
        assert chosen == [97, 98, 2]
        assert rejected in ([120, 2], [121, 2])


def test_dpo_drops_pairs_too_long(trial, tiny_tokenizer):
    limit = longest(encode_pairs(tiny_tokenizer, PAIRS[:1])[0])
    given = [PAIRS[0], pair(1, chosen_token_ids=[97] * 100), pair(2, rejected_token_ids=[97] * 100)]
    done = trial().dpo(given, max_length=limit, batch_size=1, micro_batch_size=1)
    assert (done.trained.rows, done.trained.dropped_too_long) == (1, 2)


@pytest.mark.parametrize("lora", [None, LoraSection(rank=4, alpha=8)])
def test_dropout_is_in_the_policy_and_not_in_the_reference(trial, monkeypatch, lora):
    """TRL would switch it off; the reference is computed without it."""
    references = []
    original = PreferenceTrainer.compute_loss

    def compute_loss(self, model, inputs, *args, **kwargs):
        references.append([*inputs["ref_chosen_logps"].tolist(), *inputs["ref_rejected_logps"].tolist()])
        return original(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(PreferenceTrainer, "compute_loss", compute_loss)
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
    """TRL's `disable_dropout` would set them to 0; they are in LoRA's adapters and in some architectures."""
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


def test_the_reference_is_kept_beside_the_metrics(trial):
    """A training that starts again reads it."""
    done = trial().dpo(max_steps=1)
    assert done.report.starts == [("reference", 3, 0), ("dpo", 1, 0)]
    done.job.target.rename(done.job.target.with_name("first"))
    done.report.starts.clear()
    done.dpo(max_steps=1)
    assert done.report.starts == [("dpo", 1, 0)]
    assert done.report.notes == [f"dpo: the reference's log-probabilities are those of {done.job.reference}"]
    done.job.target.rename(done.job.target.with_name("second"))
    done.report.starts.clear()
    done.dpo(PAIRS[:2], max_steps=1)  # other pairs
    assert done.report.starts[0] == ("reference", 1, 0)


# --- failing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_a_loss_that_is_not_finite(trial, kind):
    done = trial()
    with pytest.raises(StageError, match=r"loss of step \d+ is not finite; lower learning_rate\. Nothing was saved"):
        getattr(done, kind)(learning_rate=1e30, epochs=5.0, max_grad_norm=1e30)
    assert not done.job.target.exists()
    assert not list(done.job.target.parent.glob("*.partial"))
    assert "nan" in done.job.metrics.read_text(encoding="utf-8")


def test_weights_that_are_not_finite_after_the_last_step(trial):
    """The last step's own loss is finite, but what it made of the weights is not."""
    done = trial()
    with pytest.raises(StageError, match="not finite"):
        done.sft(EXAMPLES[:4], learning_rate=1e39, epochs=1.0)
    assert not done.job.target.exists()


def test_curve_is_written_anew(trial):
    done = trial()
    done.sft(max_steps=3)
    done.sft(max_steps=2)
    assert [entry["step"] for entry in done.logged] == [1, 2]


def test_a_folder_of_the_users_beside_the_model_stays(trial):
    """What a training removes afterwards is its own, whatever stands beside the model's folder."""
    done = trial()
    theirs = done.job.target.with_name("trainer")
    theirs.mkdir(parents=True)
    (theirs / "notes.txt").write_text("mine", encoding="utf-8")
    done.sft(max_steps=1)
    assert (theirs / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert sorted(path.name for path in theirs.parent.iterdir() if path.is_dir()) == ["model", "trainer"]


def test_a_folder_without_weights_is_refused(tmp_path):
    """Some ways of sharding leave one behind: without a file, or with a file that holds nothing."""
    with pytest.raises(StageError, match="the trainer saved no weights"):
        check_written(tmp_path)
    save_file({}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(StageError, match="the trainer saved no weights"):
        check_written(tmp_path)
    save_file({"weight": torch.zeros(1)}, tmp_path / "model-00002-of-00002.safetensors")
    check_written(tmp_path)
