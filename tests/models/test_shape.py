"""Context length and embedding rows from config.json and the headers of weights, without torch."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from srlm.config import EngineSection
from srlm.errors import InputError
from srlm.models.shape import Shape, context_length, engine_length, read_shape

CONTEXTS = [
    ({}, None),
    ({"max_position_embeddings": 4096}, 4096),
    ({"n_positions": 1024}, 1024),
    ({"n_positions": 1024, "n_ctx": 512}, 512),
    ({"max_seq_len": 2048}, 2048),
    ({"seq_length": 8192}, 8192),
    ({"max_position_embeddings": None, "max_sequence_length": 300}, 300),
    ({"max_position_embeddings": "4096"}, None),
    ({"max_position_embeddings": True}, None),
    ({"max_position_embeddings": -1}, None),
    # Mistral 7B: the window is no limit.
    ({"max_position_embeddings": 32768, "sliding_window": 4096}, 32768),
    # Vicuna 16k: linear.
    ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 4.0}}, 16384),
    ({"max_position_embeddings": 2048, "rope_scaling": {"rope_type": "dynamic", "factor": 2}}, 4096),
    # Llama 3.1, Qwen 2.5, Phi 3: the length is the extended one.
    ({"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 131072),
    ({"max_position_embeddings": 32768, "rope_scaling": {"type": "yarn", "factor": 4.0}}, 32768),
    ({"max_position_embeddings": 131072, "rope_scaling": {"type": "longrope", "short_factor": [1.0]}}, 131072),
    ({"max_position_embeddings": 131072, "rope_scaling": None}, 131072),
    # transformers 5: `rope_parameters`, for all layers or by type of layer.
    ({"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, 4096),
    ({"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "linear", "factor": 2.0}}, 8192),
    ({"max_position_embeddings": 4096, "rope_parameters": {"full": {"rope_type": "linear", "factor": 2.0}}}, 8192),
    (
        {"model_type": "gemma3_text", "max_position_embeddings": 9000, "rope_scaling": {"type": "linear", "factor": 8}},
        9000,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("config", "expected"), CONTEXTS)
def test_context_length(config, expected):
    assert context_length(config) == expected


def saved(folder, config, **tensors):
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if tensors:
        save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, folder / "model.safetensors")
    return str(folder)


SHAPES = [
    ({"vocab_size": 50}, {"model.embed_tokens.weight": (60, 4)}, 60),
    ({"vocab_size": 50}, {"transformer.wte.weight": (50, 4), "transformer.wpe.weight": (99, 4)}, 50),
    ({"vocab_size": 50}, {"gpt_neox.embed_in.weight": (52, 4)}, 52),
    ({"vocab_size": 50}, {"transformer.word_embeddings.weight": (51, 4)}, 51),
    ({"vocab_size": 50}, {"model.audio.embed_tokens.weight": (7, 4), "model.embed_tokens.weight": (50, 4)}, 50),
    ({"text_config": {"vocab_size": 40}}, {"other.weight": (9, 4)}, 40),
    ({}, {"other.weight": (9, 4)}, None),
    ({"vocab_size": 50}, {}, 50),
]


@pytest.mark.parametrize(("config", "tensors", "rows"), SHAPES)
def test_embedding_rows(tmp_path, config, tensors, rows):
    assert read_shape(saved(tmp_path, config, **tensors)).embedding_rows == rows


def test_a_multimodal_model_has_the_context_of_its_text_model(tmp_path):
    config = {"text_config": {"max_position_embeddings": 900, "vocab_size": 5}, "max_position_embeddings": 100}
    assert read_shape(saved(tmp_path, config)) == Shape(5, 900)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"text_config": 3}'])
def test_unreadable_configurations_are_unknown(tmp_path, content):
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 9)
    assert read_shape(str(tmp_path)) == Shape(None, None)
    assert read_shape(str(tmp_path / "nowhere")) == Shape(None, None)


LENGTHS = [(None, None, 4096), (None, 1024, 1024), (None, 131072, 4096), (900, 1024, 900), (9000, None, 9000),
           (131072, 131072, 131072)]  # fmt: skip


@pytest.mark.parametrize(("configured", "context", "expected"), LENGTHS)
def test_engine_length(configured, context, expected):
    assert engine_length(EngineSection(max_model_len=configured), Shape(None, context), "m") == expected


def test_an_engine_longer_than_the_context_is_refused():
    message = (
        r"engine\.max_model_len \(4097\) is above the context of the model 'm' \(4096 tokens\); lower it, or remove"
    )
    with pytest.raises(InputError, match=message):
        engine_length(EngineSection(max_model_len=4097), Shape(None, 4096), "the model 'm'")


def test_nothing_heavy_is_imported():
    code = "import srlm.preflight, sys; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
