"""Weights, confidences and scores of pairs in the loss, against plain float64 computations; and who refuses them."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from srlm.errors import InputError, StageError
from srlm.losses import FUSED, LIKELIHOODS, SOFT
from srlm.models import registry
from srlm.rows.records import Pair, read_rows, write_rows
from srlm.training import pair_targets
from srlm.training.dpo_trainer import PreferenceTrainer
from transformers import MixtralConfig, MixtralForCausalLM

from tests.training.dpo_trainers import make_rows, train
from tests.training.trials import PAIRS, Trial

pytestmark = pytest.mark.usefixtures("one_thread")

BETA, GAMMA, LAMBDA = 0.3, 0.4, 2.0
TARGETS = [(0.2, 0.9, 0.8, 0.1), (1.0, 1.0, 0.6, 0.55), (1.7, 0.3, 0.95, 0.4), (0.0, 0.5, 0.5, 0.5)]


def with_targets(rows, *, confident):
    """Rows with all four values; `confident`: the chosen answer is certainly the better one."""
    for row, (weight, confidence, chosen, rejected) in zip(rows, TARGETS, strict=True):
        row |= {"weight": weight, "confidence": 1.0 if confident else confidence}
        row |= {"chosen_score": chosen, "rejected_score": rejected}
    return rows


def log_sigmoid(value):
    return -torch.log(1 + torch.exp(-value))


def softened(of):
    """The expectation of a loss that is a function of one difference."""
    return lambda row, difference: row["confidence"] * of(difference) + (1 - row["confidence"]) * of(-difference)


def loss_of(name, row, c, r, c0, r0):
    """The loss of one pair, from the formulas of the papers."""
    len_c, len_r = len(row["chosen_ids"]), len(row["rejected_ids"])
    difference, mean_difference = (c - c0) - (r - r0), (c - c0) / len_c - (r - r0) / len_r
    if name == "dpop":
        below = torch.clamp(c0 - c, min=0)
        return -log_sigmoid(BETA * (difference - LAMBDA * below))
    if name == "sppo":
        aims = [(row[f"{side}_score"] - 0.5) / BETA for side in ("chosen", "rejected")]
        return 0.5 * ((c - c0 - aims[0]) ** 2 + (r - r0 - aims[1]) ** 2)
    if name == "nll":
        return -c / len_c
    if name == "sft":
        return -c / (sum(len(each["chosen_ids"]) for each in row["step"]) / len(row["step"]))
    if name == "robust":
        return (-0.9 * log_sigmoid(BETA * difference) + 0.1 * log_sigmoid(-BETA * difference)) / 0.8
    soft = {
        "sigmoid": (lambda d: -log_sigmoid(BETA * d), difference),
        "hinge": (lambda d: torch.clamp(1 - BETA * d, min=0), difference),
        "ipo": (lambda d: (d - 1 / (2 * BETA)) ** 2, mean_difference),
        "sigmoid_norm": (lambda d: -log_sigmoid(BETA * d), mean_difference),
        "simpo": (lambda d: -log_sigmoid(BETA * d - GAMMA), c / len_c - r / len_r),
    }
    of, value = soft[name]
    return softened(of)(row, value)


def expected(names, model, reference, rows):
    """The weighted mean loss of the step, and the norm of its gradient, in float64 without the fused head."""

    def logp(of, row, side):
        ids = torch.tensor([row["prompt_ids"] + row[side]])
        logits = of(ids).logits[0, len(row["prompt_ids"]) - 1 : -1].log_softmax(-1)
        return logits.gather(1, torch.tensor(row[side])[:, None]).sum()

    total = torch.zeros((), dtype=torch.float64)
    for row in rows:
        policy = [logp(model, row, side) for side in ("chosen_ids", "rejected_ids")]
        with torch.no_grad():
            before = [logp(reference, row, side) for side in ("chosen_ids", "rejected_ids")]
        for name, weight in names.items():
            total = total + row["weight"] * weight * loss_of(name, {**row, "step": rows}, *policy, *before) / len(rows)
    total.backward()
    grads = [leaf.grad.norm() for leaf in model.parameters() if leaf.grad is not None]
    return total.item(), torch.stack(grads).norm().item()


@pytest.fixture
def models(tiny_model):
    """A policy, and a reference from which it differs."""
    policy = registry.load_model(tiny_model, dtype=torch.float32)
    reference, generator = copy.deepcopy(policy), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for leaf in reference.parameters():
            leaf += 0.02 * torch.randn(leaf.shape, generator=generator)
    return policy, reference


CASES = {name: {name: 1.0} for name in FUSED}
CASES |= {
    "Iterative RPO": {"sigmoid": 1.0, "nll": 1.0},
    "three losses": {"ipo": 0.1, "simpo": 0.5, "sft": 0.3},
}


TRIED = [(name, confident) for name, losses in CASES.items() for confident in (True, False)
         if confident or losses.keys() <= SOFT | LIKELIHOODS]  # fmt: skip


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize(("case", "confident"), TRIED)
def test_loss_and_gradient(make_trainer, models, case, confident, size):
    names = CASES[case]
    policy, reference = models
    rows = with_targets(make_rows(4, shared=2), confident=confident)
    trainer = make_trainer(
        PreferenceTrainer,
        rows,
        model=policy,
        options={"ref_model": reference, "simpo_gamma": GAMMA, "dpop_lambda": LAMBDA, "micro_batch_size": size},
        loss_type=list(names),
        loss_weights=list(names.values()),
        beta=BETA,
        label_smoothing=0.1 if "robust" in names else 0.0,
        max_steps=1,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=1,
        max_grad_norm=1e9,
    )
    assert trainer.is_fused
    first = train(trainer)[0]
    loss, norm = expected(names, copy.deepcopy(policy).double(), copy.deepcopy(reference).double(), rows)
    assert first["loss"] == pytest.approx(loss, rel=2e-5, abs=1e-5)
    assert first["grad_norm"] == pytest.approx(norm, rel=1e-4)


def test_defaults_are_those_of_a_row_without_targets(make_trainer, models):
    policy, reference = models
    plain, given = make_rows(4), make_rows(4)
    for row in given:
        row |= {"weight": 1.0, "confidence": 1.0, "chosen_score": 3.0, "rejected_score": 1.0}
    curves = [
        train(make_trainer(PreferenceTrainer, rows, model=policy, options={"ref_model": reference}, max_steps=3))
        for rows in (plain, given)
    ]
    assert [step["loss"] for step in curves[0]] == [step["loss"] for step in curves[1]]


def changed(index, **fields):
    """Return the pairs, one with other fields."""
    return [replace(pair, **fields) if number == index else pair for number, pair in enumerate(PAIRS)]


def test_a_training_takes_them_from_its_pairs(tiny_model, tmp_path):
    settings = {"learning_rate": 1e-3, "min_learning_rate": 1e-4, "batch_size": 6, "max_steps": 2, "dropout": 0.0}

    def losses(name, pairs, **more):
        trial = Trial(tmp_path / name, tiny_model)
        trial.dpo(pairs, **{**settings, **more})
        lines = [json.loads(line) for line in trial.job.metrics.read_text("utf-8").splitlines()]
        return [line["loss"] for line in lines if "loss" in line]

    usual = losses("usual", PAIRS)
    halved = [replace(pair, weight=0.5) for pair in PAIRS]
    assert losses("halved", halved)[0] == pytest.approx(usual[0] / 2, abs=1e-6)
    wrong = changed(2, confidence=0.0)
    pair = PAIRS[2]
    right = [*PAIRS[:2], replace(pair, chosen=pair.rejected, rejected=pair.chosen), *PAIRS[3:]]
    assert losses("wrong", wrong)[1] == pytest.approx(losses("right", right)[1], abs=1e-6)
    assert losses("wrong again", wrong)[1] != pytest.approx(usual[1], abs=1e-3)


def test_other_weights_are_another_training(tiny_model, tmp_path):
    """A training that was interrupted does not go on with them."""
    settings = {"batch_size": 2, "max_steps": 3, "dropout": 0.0, "save_steps": 1}
    notes = []
    for pairs in (PAIRS, [replace(pair, weight=0.5) for pair in PAIRS], PAIRS):
        trial = Trial(tmp_path, tiny_model, pause_at=1, pause_to=tmp_path / f"paused{len(notes)}")
        trial.dpo(pairs, **settings)
        notes.append(" ".join(trial.report.notes))
    assert ["of another training" in note for note in notes] == [False, True, True], notes


REFUSED = {
    "weights in TRL's losses": (
        {"weight": 0.5}, ["nca_pair"], "the pair c3 against r3 has the weight 0.5, but TRL's own implementation",
    ),
    "confidences in TRL's losses": ({"confidence": 0.5}, ["sigmoid", "nca_pair"], "r3 has the confidence 0.5, but TRL"),
    "confidence twice": ({"confidence": 0.5}, ["robust"], "the confidence 0.5, which the loss robust does not take"),
    "confidence of DPO-Positive": ({"confidence": 0.5}, ["sigmoid", "dpop"], "which the loss dpop does not take"),
    "scores that are no win rates": ({"chosen_score": 2.0}, ["sppo"], "the pair c0 against r0 has 5 and 1"),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "names", "message"), REFUSED.values(), ids=REFUSED)
def test_what_a_loss_cannot_take_is_refused(tiny_model, tmp_path, fields, names, message):
    with pytest.raises(InputError, match=message):
        Trial(tmp_path, tiny_model).dpo(changed(3, **fields), loss_type=names)


def test_what_a_loss_can_take():
    pair_targets.check(changed(3, weight=0.5, confidence=0.5), ["sigmoid", "nll", "sft", "simpo"], is_fused=True)
    pair_targets.check(changed(3, weight=0.5), ["robust", "dpop"], is_fused=True)
    pair_targets.check(PAIRS, ["nca_pair"], is_fused=False)


@pytest.mark.parametrize("name", ["dpop", "sppo", "nll"])
def test_losses_that_trl_lacks_where_trl_is_needed(make_trainer, name):
    config = MixtralConfig(
        vocab_size=512, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=2, pad_token_id=0, output_router_logits=True,
    )  # fmt: skip
    with pytest.raises(StageError, match=f"does not support the loss {name}"):
        make_trainer(PreferenceTrainer, model=MixtralForCausalLM(config), loss_type=[name])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight": -0.1}, "'weight' must not be negative"),
        ({"confidence": 1.1}, "'confidence' must be a probability"),
        ({"confidence": "high"}, "'confidence' must be a number"),
    ],
)
def test_rows_with_impossible_targets(tmp_path, fields, message):
    write_rows(tmp_path / "pairs.jsonl", changed(1))
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text("utf-8").splitlines()]
    rows[1] |= fields
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(InputError, match=f"line 2: {message}"):
        read_rows(tmp_path / "pairs.jsonl", Pair)
