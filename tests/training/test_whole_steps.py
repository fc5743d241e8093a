"""Trainings with shared prefixes against the same trainings with separate rows, and against TRL's own trainer."""

import pytest
import torch
from datasets import Dataset
from srlm.config import LoraSection
from srlm.models import chat, registry
from srlm.rows.records import Example
from srlm.training import train as training
from srlm.training.passes import PassPlanner
from srlm.training.prefix_sharing import find_form
from srlm.training.sft_trainer import SupervisedTrainer
from trl import SFTConfig, SFTTrainer

from tests.training.trials import EXAMPLES, pair, sentence

RUBRIC = "Give a score from 0 to 5 to the answer of an assistant, and say why. " * 3
QUESTIONS = [f"{RUBRIC}Question {number}: {sentence(number, 9)} Answer: " for number in range(4)]
# Judge examples that share a rubric and, in threes, a question; two of them equal; and answers.
JUDGED = [
    Example(f"j{number}", chat.user(f"{QUESTIONS[number // 3]}{sentence(number % 11, 7)}"), chat.assistant("Score: 3"))
    for number in range(12)
]
MIXED = [*JUDGED, JUDGED[0], *EXAMPLES]
PAIRS = [pair(number // 2) for number in range(3)] + [pair(number) for number in range(4, 9)]
TWENTY_STEPS = {"max_steps": 20, "learning_rate": 2e-3, "min_learning_rate": 2e-3, "max_length": 300}


@pytest.fixture
def computed(monkeypatch):
    """The computed tokens of every pass of a test's trainings, and a way to start counting anew."""
    found = []
    original = PassPlanner.one

    def one(self, examples):
        result = original(self, examples)
        found.append(result.layout.input_ids.numel())
        return result

    monkeypatch.setattr(PassPlanner, "one", one)
    return found


WAYS = {
    "plain": {},
    "small passes": {"micro_batch_tokens": 60},
    "rows longer than a pass": {"micro_batch_tokens": 10},
    "checkpointing": {"gradient_checkpointing": True},
    "lora": {"lora": LoraSection(rank=4, alpha=8)},
}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_20_steps_as_with_separate_rows(trial, computed, kind, name):
    rows = MIXED if kind == "sft" else PAIRS
    curves, counts, models = [], [], []
    for share in (True, False):
        computed.clear()
        settings = {"batch_size": 4, "micro_batch_size": 2, **TWENTY_STEPS, **WAYS[name], "share_prefixes": share}
        done = getattr(trial(f"{share}"), kind)(rows, **settings)
        curves.append(done.logged)
        counts.append(sum(computed))
        models.append(done.model)
    assert len(curves[0]) == len(curves[1]) == 20
    for one, other in zip(*curves, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)
        for metric in ("entropy", "mean_token_accuracy", "num_tokens", "rewards/margins", "logps/chosen"):
            assert one.get(metric) == pytest.approx(other.get(metric), abs=2e-4), metric
    assert abs(curves[0][0]["loss"] - curves[0][-1]["loss"]) > 0.05  # something was learnt
    if name != "rows longer than a pass":
        assert counts[0] < (0.95 if name == "small passes" else 0.8) * counts[1]
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-4)


class TrlTrainer(SFTTrainer):
    """TRL's own trainer, in the same order, with one micro-batch per step."""

    order = None

    def _get_train_sampler(self, train_dataset=None):
        return type(self).order


@pytest.mark.parametrize("share", [True, False])
def test_20_steps_of_sft_as_with_trl(tmp_path, tiny_model, tiny_tokenizer, share):
    from srlm.training.sft import encode

    rows = encode(tiny_tokenizer, MIXED)
    curves, metrics = [], []
    for kind in (SupervisedTrainer, TrlTrainer):
        model = registry.load_model(tiny_model, dtype=torch.float32)
        options = {"form": find_form(model) if share else None} if kind is SupervisedTrainer else {}
        trainer = kind(
            model=model,
            args=SFTConfig(
                output_dir=str(tmp_path / kind.__name__), per_device_train_batch_size=4, learning_rate=2e-3,
                lr_scheduler_type="constant", max_steps=20, use_cpu=True, bf16=False, gradient_checkpointing=False,
                logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True, max_length=None, seed=3,
                completion_only_loss=True,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=tiny_tokenizer,
            **options,
        )  # fmt: skip
        if kind is SupervisedTrainer:
            TrlTrainer.order = trainer._get_train_sampler()
            TrlTrainer.order._epoch = lambda trainer=trainer: int(trainer.state.epoch or 0)
        else:
            TrlTrainer.order._epoch = lambda trainer=trainer: int(trainer.state.epoch or 0)
        trainer.train()
        logged = [entry for entry in trainer.state.log_history if "loss" in entry]
        curves.append([entry["loss"] for entry in logged])
        metrics.append([[entry[name] for name in ("entropy", "mean_token_accuracy", "num_tokens")] for entry in logged])
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)
    for one, other in zip(*metrics, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    assert curves[0][0] - curves[0][-1] > 1.0


@pytest.mark.parametrize(
    ("dropout", "share", "shared"),
    [(0.0, None, True), (0.1, None, False), (0.1, True, True), (0.0, False, False)],
)
@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_with_dropout_rows_are_shared_on_request_only(trial, computed, monkeypatch, kind, dropout, share, shared):
    forms = []
    original = training.mask_forms

    def mask_forms(*arguments):
        found = original(*arguments)
        forms.append(found)
        return found

    monkeypatch.setattr(training, "mask_forms", mask_forms)
    rows = MIXED if kind == "sft" else PAIRS
    getattr(trial(), kind)(rows, dropout=dropout, share_prefixes=share, max_length=300, max_steps=1)
    ((form, without_dropout),) = forms
    assert (form is not None) == shared
    assert (without_dropout is not None) == (share is not False)  # a reference has no dropout


def test_a_model_without_shared_prefixes_is_said_once(trial, monkeypatch):
    from srlm.training import prefix_sharing

    monkeypatch.setattr(prefix_sharing, "find_form", lambda model: "its rotary embedding is odd")
    done = trial().sft(MIXED, max_length=300)
    notes = [note for note in done.report.notes if "shared prefixes" in note]
    assert notes == ["training: this model (llama) computes rows without shared prefixes: its rotary embedding is odd"]


def test_the_operations_of_computed_tokens_are_counted(trial, monkeypatch):
    seen = []
    run = training.run

    def remember(trainer, *args, **kwargs):
        result = run(trainer, *args, **kwargs)
        seen.append(trainer)
        return result

    monkeypatch.setattr(training, "run", remember)
    for share in (True, False):
        trial(f"{share}").sft(MIXED, max_length=300, share_prefixes=share)
    shared, separate = (trainer.state.total_flos for trainer in seen)
    assert 0 < shared < 0.8 * separate


def test_a_batch_is_not_divided_by_its_micro_batches(trial):
    """Also where a step has fewer rows than a micro-batch, and where all rows of a pass are equal."""
    curves = [
        [entry["loss"] for entry in trial(f"{micro}").sft([JUDGED[0]] * 7, batch_size=8, micro_batch_size=micro,
                                                          max_length=300, max_steps=4).logged]
        for micro in (1, 4, 8)
    ]  # fmt: skip
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)
    assert curves[0] == pytest.approx(curves[2], abs=1e-5)


def test_a_reference_shares_over_all_pairs(trial, computed):
    """Each prompt and each answer is read once, whatever the steps."""
    done = trial().dpo(PAIRS, batch_size=1, micro_batch_size=1, max_length=300, micro_batch_tokens=10_000, max_steps=1)
    rows = [[*chat.prompt_ids(done.tokenizer, row.prompt)] for row in PAIRS]
    assert done.report.starts[0] == ("reference", 1, 0)
    assert computed[0] < sum(map(len, rows)) + 400
    assert len(computed) == 2
