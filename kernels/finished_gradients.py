"""Gradients that a loss has finished in its forward pass: backward only multiplies them by the upstream gradient.

They are scaled in place, which avoids a copy of the weight's gradient; so backward can run only once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from srlm.kernels.output_head import Gradients
    from torch.autograd.function import FunctionCtx


def wanted_gradients(*leaves: torch.Tensor | None) -> tuple[bool, ...]:
    """Return for each of hidden, weight and bias whether it needs a gradient.

    Must be called outside of `Function.forward`, where autograd is always disabled.
    """
    enabled = torch.is_grad_enabled()
    return tuple(enabled and leaf is not None and leaf.requires_grad for leaf in leaves)


def save_gradients(ctx: FunctionCtx, gradients: Gradients, *leaves: torch.Tensor | None) -> None:
    """Save the gradients of hidden, weight and bias (`leaves`) for `scale_gradients`."""
    ctx.dtypes = [None if leaf is None else leaf.dtype for leaf in leaves]
    ctx.save_for_backward(gradients.hidden, gradients.weight, gradients.bias)
    ctx.backward_done = False


def scale_gradients(ctx: FunctionCtx, upstream: torch.Tensor, function: str) -> list[torch.Tensor | None]:
    """Return the saved gradients times `upstream` (scalar), in the dtypes of their leaves; `function` is for errors.

    Raises:
        RuntimeError: it was called before.
    """
    if ctx.backward_done:
        raise RuntimeError(f"{function}: backward can run only once; call {function} again for another")
    ctx.backward_done = True
    return [
        None if grad is None else grad.mul_(upstream).to(dtype)
        for grad, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
    ]
