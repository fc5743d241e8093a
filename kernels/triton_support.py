"""When the Triton kernels run, and checks that they share."""

from __future__ import annotations

import os

import torch


def use_triton(tensor: torch.Tensor) -> bool:
    """Whether the Triton kernel runs on this tensor: on a GPU, or under `TRITON_INTERPRET=1`; never on float64."""
    return tensor.dtype != torch.float64 and (tensor.is_cuda or os.environ.get("TRITON_INTERPRET") == "1")


def check_rows(*tensors: torch.Tensor) -> None:
    """Check that the rows of matrices are contiguous, as the kernels assume.

    Raises:
        ValueError: the last stride is not 1.
    """
    for tensor in tensors:
        if tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
            raise ValueError(f"the last dimension must be contiguous, found strides {tensor.stride()}")
