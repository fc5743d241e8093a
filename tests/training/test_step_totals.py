"""The micro-batch size changes neither gradients nor metrics of an optimizer step, except for rounding.

The rows have very different lengths, and the last step of an epoch has fewer rows than the others, and a number that no
micro-batch size above 1 divides.
"""

import math

import pytest
import torch
from srlm.models import chat
from srlm.rows.records import Example
from srlm.training import train as training
from srlm.training.dpo_trainer import PreferenceTrainer
from srlm.training.sft_trainer import SupervisedTrainer
from srlm.training.step_totals import weighted_mean
from transformers import MixtralConfig, MixtralForCausalLM

from tests.training.trials import example, pair, sentence, token_logps

MICRO_BATCHES = (1, 2, 4)
EXAMPLES = [example(number, length) for number, length in enumerate([2, 30, 3, 18, 4, 41, 5])]
PAIRS = [
    pair(
        number,
        chosen_token_ids=[*range(97, 97 + chosen), 2],
        rejected_token_ids=[*range(103, 103 + rejected), 2],
    )
    for number, (chosen, rejected) in enumerate([(1, 20), (14, 2), (3, 3), (18, 9), (2, 11), (7, 1), (12, 16)])
]
EPOCH = {"batch_size": 4, "epochs": 1.0, "max_grad_norm": 1e9, "learning_rate": 1e-3, "min_learning_rate": 1e-3}
# TRL computes those with a loss that srlm lacks.
LOSSES = {
    "sigmoid": {},
    "sft": {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]},
    "sft alone": {"loss_type": ["sft"]},
    "ipo": {"loss_type": ["ipo"]},
    "sigmoid_norm": {"loss_type": ["sigmoid_norm"]},
    "simpo": {"loss_type": ["simpo", "sft"]},
    "hinge": {"loss_type": ["hinge"]},
    "robust": {"loss_type": ["robust"], "label_smoothing": 0.1},
    "TRL": {"loss_type": ["nca_pair"]},
    "TRL with sft": {"loss_type": ["apo_zero", "sft"], "loss_weights": [1.0, 0.5]},
}


@pytest.fixture
def gradients(monkeypatch):
    """The gradients of every optimizer step of the trainings in a test: a list per training."""
    found = []
    original = training.run

    def run(trainer, *args, **kwargs):
        steps = []
        found.append(steps)
        clip = trainer._clip_grad_norm

        def keep(model):
            steps.append({name: weight.grad.clone() for name, weight in model.named_parameters()})
            return clip(model)

        trainer._clip_grad_norm = keep
        return original(trainer, *args, **kwargs)

    monkeypatch.setattr(training, "run", run)
    return found


def check_equal(gradients, logged):
    """All trainings have the gradients and metrics of the first one."""
    assert [len(steps) for steps in gradients] == [2] * len(gradients)
    for step in (0, 1):
        for name, expected in gradients[0][step].items():
            size = float(expected.abs().max())
            for steps in gradients[1:]:
                assert torch.allclose(steps[step][name], expected, atol=2e-4 * size + 1e-8, rtol=0), (step, name)
    for entries in logged[1:]:
        for entry, expected in zip(entries, logged[0], strict=True):
            assert entry.keys() == expected.keys()
            # transformers counts epochs in micro-batches.
            assert {**entry, "epoch": 0.0} == pytest.approx({**expected, "epoch": 0.0}, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_preference_losses(trial, gradients, name):
    trials = [trial(f"{micro}").dpo(PAIRS, micro_batch_size=micro, **EPOCH, **LOSSES[name]) for micro in MICRO_BATCHES]
    check_equal(gradients, [done.logged for done in trials])


def test_supervised_loss(trial, gradients):
    trials = [trial(f"{micro}").sft(EXAMPLES, micro_batch_size=micro, **EPOCH) for micro in MICRO_BATCHES]
    check_equal(gradients, [done.logged for done in trials])


def test_a_model_that_takes_no_item_count(trial, gradients, monkeypatch):
    """transformers counts a step's tokens only for models whose forward pass accepts the count."""
    original = SupervisedTrainer.__init__

    def init(self, **kwargs):
        original(self, **kwargs)
        self.model_accepts_loss_kwargs = False

    monkeypatch.setattr(SupervisedTrainer, "__init__", init)
    trials = [trial(f"{micro}").sft(EXAMPLES, micro_batch_size=micro, **EPOCH) for micro in MICRO_BATCHES]
    check_equal(gradients, [done.logged for done in trials])


def test_positives_only(trial, gradients):
    """Responses with token ids of the engine, as `train.kind: sft` trains on."""
    rows = [
        Example(f"e{number}", chat.user(sentence(number, 4)), chat.assistant("x"), [*range(97, 97 + number * 5), 2])
        for number in range(1, 7)
    ]
    trials = [trial(f"{micro}").sft(rows, micro_batch_size=micro, **EPOCH) for micro in MICRO_BATCHES]
    check_equal(gradients, [done.logged for done in trials])


def test_the_sft_term_by_hand(trial, base, tiny_tokenizer):
    """The mean of -log p over the chosen tokens of the whole step, whatever the micro-batches are."""
    for micro in MICRO_BATCHES:
        done = trial(f"{micro}").dpo(PAIRS[:4], micro_batch_size=micro, **{**EPOCH, "max_steps": 1}, loss_type=["sft"])
        logps = [
            token_logps(base, chat.prompt_ids(tiny_tokenizer, row.prompt), row.chosen_token_ids) for row in PAIRS[:4]
        ]
        assert done.logged[0]["loss"] == pytest.approx(-torch.cat(logps).mean().item(), abs=2e-4)


def test_experts_are_weighted_by_pairs(tmp_path, trial, tiny_tokenizer, gradients):
    """TRL's implementation: the preference term of the step is exact; the balancing loss is per micro-batch."""
    torch.manual_seed(3)
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_local_experts": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 512, "pad_token_id": 0}
    folder = tmp_path / "experts"
    MixtralForCausalLM(MixtralConfig(**small, **heads, router_aux_loss_coef=1e-9)).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    for micro in MICRO_BATCHES:
        trial(f"{micro}", base=str(folder)).dpo(PAIRS, micro_batch_size=micro, **EPOCH, loss_type=["sigmoid", "sft"])
    check_equal(gradients, [])


class Shard:
    """What the trainer mixin reads of a process's accelerator."""

    def __init__(self, index, processes):
        self.process_index, self.num_processes = index, processes
        self.gradient_state = type("State", (), {"end_of_dataloader": True})


@pytest.mark.parametrize("rows", range(1, 13))
@pytest.mark.parametrize(("size", "processes"), [(1, 1), (2, 1), (1, 2), (2, 2), (2, 3), (3, 2)])
def test_rows_that_fill_up_a_micro_batch(rows, size, processes):
    """As many rows count as accelerate's shards have beyond the repeated ones."""
    from accelerate.data_loader import BatchSamplerShard
    from srlm.training.step_totals import NormalizedSteps
    from torch.utils.data import BatchSampler

    seen = []
    for index in range(processes):
        batches = list(BatchSamplerShard(BatchSampler(range(rows), size, drop_last=False), processes, index))
        if processes == 1:
            batches = list(BatchSampler(range(rows), size, drop_last=False))
        trainer = NormalizedSteps()
        trainer.accelerator = Shard(index, processes)
        trainer.args = type("Args", (), {"train_batch_size": size})
        trainer.train_dataset = range(rows)
        real = trainer._real_rows()
        seen += [row for batch in batches[:-1] for row in batch]
        seen += batches[-1][: len(batches[-1]) if real is None else real]
    assert sorted(seen) == list(range(rows))


def test_excluded_pairs_have_no_gradient(trial, gradients, monkeypatch):
    """A step of two pairs, one of which fills up the micro-batch, is a step of the first."""
    done = trial("first").dpo(PAIRS[:1], micro_batch_size=1, **{**EPOCH, "batch_size": 1}, loss_type=["sigmoid", "sft"])
    monkeypatch.setattr(PreferenceTrainer, "_real_rows", lambda self: 1)
    order = sorted  # rows in their order: the first is real
    monkeypatch.setattr(PreferenceTrainer, "_get_train_sampler", lambda self, dataset=None: order(range(2)))
    both = trial("both").dpo(PAIRS[:2], micro_batch_size=2, **{**EPOCH, "batch_size": 2}, loss_type=["sigmoid", "sft"])
    for name, expected in gradients[0][0].items():
        assert torch.allclose(gradients[1][0][name], expected, atol=1e-6)
    for metric in ("loss", "logps/chosen", "rewards/chosen", "mean_token_accuracy"):
        assert both.logged[0][metric] == pytest.approx(done.logged[0][metric], abs=1e-4)


def test_excluded_examples_have_no_gradient(trial, gradients, monkeypatch):
    trial("first").sft(EXAMPLES[1:2], micro_batch_size=1, **{**EPOCH, "batch_size": 1})
    monkeypatch.setattr(SupervisedTrainer, "_real_rows", lambda self: 1)
    monkeypatch.setattr(SupervisedTrainer, "_get_train_sampler", lambda self, dataset=None: [1, 0])
    trial("both").sft(EXAMPLES[:2], micro_batch_size=2, **{**EPOCH, "batch_size": 2})  # the first is real
    for name, expected in gradients[0][0].items():
        assert torch.allclose(gradients[1][0][name], expected, atol=1e-6)


def test_weighted_mean():
    assert weighted_mean([1.0, 4.0], [1.0, 2.0]) == 3.0
    assert weighted_mean([math.nan, 4.0], [0.0, 2.0]) == 4.0
    assert weighted_mean([1.0], [0.0]) == 0.0
