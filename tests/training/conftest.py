"""Fixtures of the training tests."""

import pytest
import torch
from srlm.models import registry

from tests.training.trials import Trial


@pytest.fixture
def trial(tmp_path, tiny_model):
    return lambda name="trial", base=tiny_model, **job: Trial(tmp_path / name, base, **job)


@pytest.fixture(scope="module")
def base(tiny_model):
    return registry.load_model(tiny_model, dtype=torch.float32).eval()
