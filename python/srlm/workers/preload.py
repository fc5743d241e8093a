"""Imported by the forkserver only: redirects its output to the log, then imports the packages of the workers.

Nothing here may initialize CUDA, start threads or run a parallel region: a forked worker would inherit them broken.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
from pathlib import Path

from srlm.workers.process import redirect_output

if log := os.environ.get("SRLM_WORKER_LOG"):
    redirect_output(Path(log))
# A package that asks whether there is a GPU while it is imported must not initialise CUDA in answer.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
for name in filter(None, os.environ.get("SRLM_PRELOAD", "").split(",")):
    # The job that needs a package reports it if the import fails.
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
if "trl" in os.environ.get("SRLM_PRELOAD", ""):
    # Both packages load submodules lazily; these take most of the time.
    with contextlib.suppress(ImportError):
        from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
        from trl import DPOTrainer, SFTTrainer  # noqa: F401
if "vllm" in os.environ.get("SRLM_PRELOAD", ""):
    for name in ("vllm.v1.engine.llm_engine", "vllm.v1.worker.cpu_worker"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
# A worker's garbage collections need not go through what lives as long as the worker does; they would also write to
# pages that all workers share.
gc.collect()
gc.freeze()
