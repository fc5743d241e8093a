"""The transform between the product x of hidden state and output weight and the softmax input z, as torch operations.

z = softcap * tanh(s * x / softcap) / temperature, or s * x / temperature without a softcap, where s is the model's
logit scale (Cohere's and Granite's `logit_scale`) and the softcap is Gemma 2's `final_logit_softcapping`. The Triton
kernels apply the same transform inline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class LogitTransform:
    """Map the product to the softmax input: `logit_scale`, then `softcap`, then division by `temperature`."""

    softcap: float | None = None
    logit_scale: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Validate the values.

        Raises:
            ValueError: the softcap or the temperature is not a positive number, or the scale is not finite.
        """
        for name, value in (("softcap", self.softcap), ("temperature", self.temperature)):
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be a positive number, found {value}")
        if not math.isfinite(self.logit_scale):
            raise ValueError(f"logit_scale must be finite, found {self.logit_scale}")

    @property
    def is_identity(self) -> bool:
        """Whether z is the product, unchanged."""
        return self.softcap is None and self.slope == 1.0

    @property
    def slope(self) -> float:
        """dz/dx without the softcap (with it: at x = 0)."""
        return self.logit_scale / self.temperature

    @property
    def cap(self) -> float:
        """The bound of |z|, or 0 without a softcap (the value that the kernels expect)."""
        return 0.0 if self.softcap is None else self.softcap / self.temperature

    def apply_(self, x: torch.Tensor) -> torch.Tensor:
        """Transform x to z, in place."""
        if self.is_identity:
            return x
        x.mul_(self.slope)
        return x if self.softcap is None else x.div_(self.cap).tanh_().mul_(self.cap)

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """Transform x to z; differentiable."""
        if self.is_identity:
            return x
        return x * self.slope if self.softcap is None else (x * (self.slope / self.cap)).tanh() * self.cap

    def derivative_(self, z: torch.Tensor) -> torch.Tensor:
        """Compute dz/dx from z, in place; only with a softcap (otherwise dz/dx is `slope`)."""
        return z.div_(self.cap).square_().neg_().add_(1.0).mul_(self.slope)
