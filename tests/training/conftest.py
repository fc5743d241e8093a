"""Fixtures of the training tests."""

import copy

import pytest
import torch
from datasets import Dataset
from srlm.models import registry

from tests.training.dpo_trainers import TrlTrainer, arguments, by_micro_batch, make_rows
from tests.training.trials import Trial


@pytest.fixture
def trial(tmp_path, tiny_model):
    return lambda name="trial", base=tiny_model, **job: Trial(tmp_path / name, base, **job)


@pytest.fixture(scope="module")
def base(tiny_model):
    return registry.load_model(tiny_model, dtype=torch.float32).eval()


@pytest.fixture
def one_thread():
    """Models this small are slower with more threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make_trainer(tmp_path, tiny_model, tiny_tokenizer):
    """Build a trainer of a class, from the same weights each time."""

    def build(kind, rows=None, *, model=None, options=None, **changes):
        model = registry.load_model(tiny_model, dtype=torch.float32) if model is None else copy.deepcopy(model)
        args = arguments(tmp_path / kind.__name__, **changes)
        if kind is TrlTrainer and not by_micro_batch(args):
            args.per_device_train_batch_size *= args.gradient_accumulation_steps
            args.gradient_accumulation_steps = 1
        return kind(
            model=model,
            args=args,
            train_dataset=Dataset.from_list(rows or make_rows()),
            processing_class=tiny_tokenizer,
            **(options or {}),
        )

    return build
