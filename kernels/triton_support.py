"""Where Triton's kernels run, and what they share."""

from __future__ import annotations

import os

import torch


def use_triton(tensor: torch.Tensor) -> bool:
    """Whether the Triton kernel runs on this tensor: on a GPU, or under `TRITON_INTERPRET=1`; never on float64."""
    return tensor.dtype != torch.float64 and (tensor.is_cuda or os.environ.get("TRITON_INTERPRET") == "1")


def check_rows(*tensors: torch.Tensor) -> None:
    """Refuse matrices whose rows are not contiguous, which the kernels read as if they were.

    Raises:
        ValueError: a last stride is not 1.
    """
    for tensor in tensors:
        if tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
            raise ValueError(f"the last dimension must be contiguous, found strides {tensor.stride()}")
