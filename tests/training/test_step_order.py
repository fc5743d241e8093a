"""The order of rows: steps mix judge examples and answers, and rows that share much meet in a step."""

import random
import statistics

import pytest
from datasets import Dataset
from srlm.config import SftSection
from srlm.training.row_layouts import row_trie
from srlm.training.sft_trainer import SupervisedTrainer
from srlm.training.step_order import StepOrder, cluster
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl import SFTConfig

from tests.training.trials import EXAMPLES

RUBRIC = list(range(100, 140))


def mixed_rows(answers, questions, judged=4, seed=0):
    """A mixed data set: answers, then `judged` judge examples on each question, as the loop's files are read."""
    chance = random.Random(seed)

    def tokens(low, high):
        return [chance.randint(1000, 9999) for _ in range(chance.randint(low, high))]

    rows = [tokens(40, 300) for _ in range(answers)]
    for _ in range(questions):
        question = [*RUBRIC, *tokens(40, 60)]
        rows += [[*question, *tokens(30, 200)] for _ in range(judged)]
    return rows


def steps_in(rows, batch, *, seed=1, epoch=0, **options):
    return StepOrder(rows, batch, seed, lambda: epoch, **options).steps(epoch)


def nodes(rows, steps):
    """Computed tokens of an epoch if the rows of each step share their beginnings."""
    return sum(len(row_trie([rows[index] for index in step])[0]) for step in steps)


def random_steps(rows, batch, seed):
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    return [order[start : start + batch] for start in range(0, len(order), batch)]


def shares(steps, batch, answers):
    """Share of judge examples in each complete step."""
    return [sum(row >= answers for row in step) / len(step) for step in steps if len(step) == batch]


@pytest.mark.parametrize(("answers", "questions"), [(300, 60), (600, 20), (100, 200)])
def test_steps_are_about_as_mixed_as_in_a_random_order(answers, questions):
    batch, rows = 16, mixed_rows(answers, questions)
    found = shares(steps_in(rows, batch), batch, answers)
    spreads = [statistics.pstdev(shares(random_steps(rows, batch, seed), batch, answers)) for seed in range(100)]
    assert statistics.mean(found) == pytest.approx(4 * questions / len(rows), abs=0.02)
    assert statistics.pstdev(found) < 1.5 * statistics.mean(spreads)
    if answers == 300:  # the check can fail
        grouped = get_length_grouped_indices([len(row) for row in rows], batch, mega_batch_mult=len(rows) // batch)
        by_length = [grouped[start : start + batch] for start in range(0, len(grouped), batch)]
        assert statistics.pstdev(shares(by_length, batch, answers)) > 1.5 * max(spreads)


@pytest.mark.parametrize(
    ("answers", "questions", "batch"), [(300, 100, 8), (300, 60, 16), (100, 200, 16), (48, 50, 8), (40, 9, 8)]
)
def test_no_step_is_of_one_kind_only(answers, questions, batch):
    """Where there are at least as many clusters and single rows as steps."""
    rows = mixed_rows(answers, questions)
    assert all(0 < share < 1 for share in shares(steps_in(rows, batch), batch, answers))


@pytest.mark.parametrize("batch", [8, 16])
def test_rows_that_share_much_meet(batch):
    rows = mixed_rows(100, 40)
    least = nodes(rows, [list(range(len(rows)))])
    ours = nodes(rows, steps_in(rows, batch)) - least
    theirs = [nodes(rows, random_steps(rows, batch, seed)) - least for seed in range(5)]
    assert ours < 0.4 * min(theirs)


def test_what_all_rows_share_is_no_reason_to_meet():
    """A system prompt: neighbours in the order of tokens are not alike because of it."""
    order, shared = list(range(6)), [0, 50, 50, 90, 50, 90]
    assert cluster(order, shared, 4) == [[0], [1], [2, 3], [4, 5]]
    assert cluster(order, [0, 10, 50, 10, 50, 90], 4) == [[0], [1, 2], [3, 4, 5]]


def test_a_family_larger_than_a_cluster_is_divided_where_it_shares_more():
    shared = [0, 0, 50, 90, 50, 90]
    assert cluster(list(range(6)), shared, 5) == [[0], [1, 2, 3, 4, 5]]
    assert cluster(list(range(6)), shared, 4) == [[0], [1], [2, 3], [4, 5]]
    assert cluster(list(range(6)), shared, 1) == [[row] for row in range(6)]
    assert cluster([], [], 4) == []


SIZES = [(0, 0, 4), (1, 0, 4), (3, 0, 4), (0, 1, 4), (10, 3, 4), (10, 2, 1), (17, 0, 16), (0, 16, 16), (5, 9, 3)]


@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize(("answers", "questions", "batch"), SIZES)
def test_every_row_once(answers, questions, batch, by_length):
    rows = mixed_rows(answers, questions)
    steps = steps_in(rows, batch, by_length=by_length)
    assert sorted(row for step in steps for row in step) == list(range(len(rows)))
    assert [len(step) for step in steps[:-1]] == [batch] * (len(steps) - 1)
    for step in steps:
        key = [-len(rows[row]) if by_length else rows[row] for row in step]
        assert key == sorted(key)


@pytest.mark.parametrize("micro", [2, 4, 8])
def test_less_padding_by_length(micro):
    rows = mixed_rows(300, 50)

    def padding(steps):
        micro_batches = [step[start : start + micro] for step in steps for start in range(0, len(step), micro)]
        return sum(max(len(rows[row]) for row in part) * len(part) - sum(len(rows[row]) for row in part)
                   for part in micro_batches)  # fmt: skip

    assert padding(steps_in(rows, 16, by_length=True)) < 0.6 * padding(random_steps(rows, 16, 3))


def test_the_longest_row_is_in_the_first_step():
    rows = mixed_rows(90, 10)
    longest = max(range(len(rows)), key=lambda row: len(rows[row]))
    for seed in range(20):
        assert any(len(rows[row]) == len(rows[longest]) for row in steps_in(rows, 16, seed=seed)[0])


def test_order_depends_on_seed_and_epoch_only():
    rows = mixed_rows(30, 5)
    orders = [
        tuple(map(tuple, steps_in(rows, 4, seed=seed, epoch=epoch))) for seed in (1, 2, 10**12) for epoch in (0, 1, 2)
    ]
    assert len(set(orders)) == len(orders)
    assert tuple(map(tuple, steps_in(rows, 4, seed=1, epoch=2))) == orders[2]
    epochs = iter([0, 1])
    sampler = StepOrder(rows, 4, 1, lambda: next(epochs))
    flat = [tuple(row for step in order for row in step) for order in orders]
    assert [tuple(sampler), tuple(sampler)] == flat[:2]
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
