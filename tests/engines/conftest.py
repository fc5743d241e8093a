"""Fixtures of the engine tests."""

import pytest
import torch
from srlm.models.registry import load_model

from tests.engines.drawing import make_engine


@pytest.fixture(scope="module")
def folder(tiny_model, tiny_tokenizer, tmp_path_factory):
    """The tiny model with larger weights (otherwise it repeats its last token), without ids that have no text."""
    model = load_model(tiny_model, dtype=torch.float32)
    model.resize_token_embeddings(len(tiny_tokenizer))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "_proj" in name:
                weight *= 8
    place = tmp_path_factory.mktemp("engines") / "model"
    model.save_pretrained(place)
    tiny_tokenizer.save_pretrained(place)
    return str(place)


@pytest.fixture(scope="module")
def engine(folder, tiny_tokenizer):
    return make_engine(folder, tiny_tokenizer, batch_size=4)


@pytest.fixture(scope="module")
def model(folder):
    """The model itself, to compare the engines with."""
    return load_model(folder, dtype=torch.float32).eval()
