"""What the device of this process computes in, which GPU a process that trains alone uses, and how many cores."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


def has_bfloat16() -> bool:
    """Tell whether the GPU computes in bfloat16; Volta and Turing only emulate it, which torch counts by default."""
    import torch

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def use_one_gpu() -> int:
    """Let this process see only the first visible GPU, and return how many there are; call it before CUDA is used.

    transformers would spread a batch over all visible GPUs (torch's DataParallel), which TRL refuses.
    """
    named = {name: os.environ[name].split(",") for name in VISIBLE if os.environ.get(name)}
    count = max(map(len, named.values())) if named else _installed()
    if count > 1:
        for name, devices in (named or {VISIBLE[0]: ["0"]}).items():
            os.environ[name] = devices[0]
    return count


def _installed() -> int:
    """Return the number of the machine's GPUs; torch would initialise CUDA to count them where NVML is missing."""
    if nvidia := list(Path("/dev").glob("nvidia[0-9]*")):
        return len(nvidia)
    return len(list(Path("/dev/dri").glob("renderD*"))) if Path("/dev/kfd").exists() else 0


@contextlib.contextmanager
def all_cores() -> Iterator[None]:
    """Compute on all cores: for the first of several training processes, which have one each, while the others wait."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
