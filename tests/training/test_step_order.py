"""The order of rows in SFT: steps mix judge examples and answers as a random order does, with less padding inside."""

import random
import statistics

import pytest
from datasets import Dataset
from srlm.config import SftSection
from srlm.training.sft_trainer import SupervisedTrainer
from srlm.training.step_order import StepOrder, step_order
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl import SFTConfig

from tests.training.trials import EXAMPLES


def mixed_lengths(answers, judged, seed=0):
    """Lengths of a mixed data set: short answers first, then judge examples, as the loop's files are read."""
    chance = random.Random(seed)
    return [chance.randint(40, 300) for _ in range(answers)] + [chance.randint(700, 1100) for _ in range(judged)]


def padding(lengths, order, micro, batch):
    """Padded tokens of an epoch, and its tokens."""
    micro_batches = [
        order[start + part : min(start + part + micro, start + batch)]
        for start in range(0, len(order), batch)
        for part in range(0, batch, micro)
    ]
    return sum(max(lengths[row] for row in rows) * len(rows) - sum(lengths[row] for row in rows)
               for rows in micro_batches if rows)  # fmt: skip


def shares(order, batch, answers):
    """Share of judge examples in each complete step."""
    steps = [order[start : start + batch] for start in range(0, len(order) // batch * batch, batch)]
    return [sum(row >= answers for row in step) / len(step) for step in steps]


def test_steps_are_mixed_as_in_a_random_order():
    answers, judged, batch = 3200, 1600, 16
    lengths = mixed_lengths(answers, judged)
    overall = judged / (answers + judged)
    found = shares(step_order(lengths, batch, seed=1, epoch=0), batch, answers)
    chance = random.Random(5)
    spreads = []
    for _ in range(200):
        rows = list(range(len(lengths)))
        chance.shuffle(rows)
        spreads.append(statistics.pstdev(shares(rows, batch, answers)))
    assert statistics.mean(found) == pytest.approx(overall, abs=0.001)
    assert min(spreads) < statistics.pstdev(found) < max(spreads)
    grouped = shares(get_length_grouped_indices(lengths, batch), batch, answers)
    assert statistics.pstdev(grouped) > 3 * max(spreads)  # the check can fail: the order of `group_by_length`


@pytest.mark.parametrize("micro", [2, 4, 8])
def test_less_padding_than_in_a_random_order(micro):
    lengths = mixed_lengths(300, 200)
    rows = list(range(len(lengths)))
    random.Random(3).shuffle(rows)
    ours = padding(lengths, step_order(lengths, 16, seed=1, epoch=0), micro, 16)
    assert ours < 0.5 * padding(lengths, rows, micro, 16)


@pytest.mark.parametrize(("rows", "batch"), [(0, 4), (1, 4), (3, 4), (4, 4), (10, 4), (10, 1), (17, 16), (64, 16)])
def test_every_row_once(rows, batch):
    lengths = mixed_lengths(rows - rows // 3, rows // 3, seed=rows)
    order = step_order(lengths, batch, seed=2, epoch=1)
    assert sorted(order) == list(range(rows))
    for start in range(0, rows, batch):
        step = [lengths[row] for row in order[start : start + batch]]
        assert step == sorted(step, reverse=True)


def test_the_longest_row_is_in_the_first_step():
    lengths = mixed_lengths(90, 38)
    for seed in range(20):
        assert lengths[step_order(lengths, 16, seed=seed, epoch=0)[0]] == max(lengths)


def test_order_depends_on_seed_and_epoch_only():
    lengths = mixed_lengths(30, 20)
    orders = [tuple(step_order(lengths, 4, seed=seed, epoch=epoch)) for seed in (1, 2, 10**12) for epoch in (0, 1, 2)]
    assert len(set(orders)) == len(orders)
    assert step_order(lengths, 4, seed=1, epoch=2) == list(orders[2])
    epochs = iter([0, 1])
    sampler = StepOrder(lengths, 4, 1, lambda: next(epochs))
    assert [tuple(sampler), tuple(sampler)] == list(orders[:2])
    assert len(sampler) == 50


def steps_of(folder, tokenizer, model, *, micro, processes=1):
    """The rows of each optimizer step of a trainer's first epoch, as sets."""
    section = SftSection(batch_size=4, micro_batch_size=micro)
    rows = [{"input_ids": [5] * (3 + number), "completion_mask": [0, 1, *[1] * (1 + number)]} for number in range(14)]
    args = SFTConfig(
        output_dir=str(folder), per_device_train_batch_size=micro, seed=3, use_cpu=True, bf16=False, report_to="none",
        gradient_accumulation_steps=section.batch_size // micro // processes, max_length=None,
    )  # fmt: skip
    trainer = SupervisedTrainer(
        model=model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )
    trainer.accelerator.state._shared_state["num_processes"] = processes
    try:
        order = list(trainer._get_train_sampler())
    finally:
        trainer.accelerator.state._shared_state["num_processes"] = 1
    return [set(order[start : start + 4]) for start in range(0, 14, 4)]


def test_steps_have_the_same_rows_for_any_micro_batch_size_and_number_of_processes(tmp_path, tiny_tokenizer, base):
    cases = [(1, 1), (2, 1), (4, 1), (1, 2), (2, 2), (1, 4)]
    found = [
        steps_of(tmp_path / f"{micro}-{processes}", tiny_tokenizer, base, micro=micro, processes=processes)
        for micro, processes in cases
    ]
    assert all(steps == found[0] for steps in found)


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_the_rows_of_each_step_of_a_training(trial, monkeypatch, kind):
    """Also in later epochs, and for DPO, whose order is random: they do not depend on the micro-batch size."""
    from srlm.training import recent_batches, train
    from srlm.training.callbacks import Progress

    from tests.training.trials import PAIRS

    seen = []
    original = Progress.on_step_end

    def on_step_end(self, args, state, control, **kwargs):
        rows = [ids for inputs, _ in trainers[-1].recent for ids in recent_batches._batch_tokens(inputs)]
        seen[-1].append(sorted(rows))
        return original(self, args, state, control, **kwargs)

    trainers = []
    run = train.run

    def remember(trainer, *args, **kwargs):
        trainers.append(trainer)
        seen.append([])
        return run(trainer, *args, **kwargs)

    monkeypatch.setattr(Progress, "on_step_end", on_step_end)
    monkeypatch.setattr(train, "run", remember)
    rows = {"sft": EXAMPLES, "dpo": PAIRS}[kind]
    for micro in (1, 2, 4):
        getattr(trial(f"{micro}"), kind)(rows, batch_size=4, micro_batch_size=micro, epochs=3.0)
    assert seen[0] == seen[1] == seen[2]
    assert len({tuple(map(tuple, step)) for step in seen[0]}) > 2  # epochs have different orders
