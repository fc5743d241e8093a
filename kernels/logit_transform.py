"""What a model does to the product of hidden state and output weight before the softmax, as torch operations.

z = softcap * tanh(s * x / softcap) / temperature, or s * x / temperature without a soft cap, where s is the model's
own factor (Cohere's and Granite's `logit_scale`) and the cap is Gemma 2's `final_logit_softcapping`. The Triton kernels
compute the same on their way through the logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class LogitTransform:
    """From the product to the softmax's input: `logit_scale`, then `softcap`, then division by `temperature`."""

    softcap: float | None = None
    logit_scale: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what has no meaning.

        Raises:
            ValueError: the soft cap or the temperature is not a positive number, or the factor is not finite.
        """
        for name, value in (("softcap", self.softcap), ("temperature", self.temperature)):
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be a positive number, found {value}")
        if not math.isfinite(self.logit_scale):
            raise ValueError(f"logit_scale must be finite, found {self.logit_scale}")

    @property
    def is_identity(self) -> bool:
        """Whether the product is used as it is."""
        return self.softcap is None and self.slope == 1.0

    @property
    def slope(self) -> float:
        """dz/dx where the soft cap does not bend it."""
        return self.logit_scale / self.temperature

    @property
    def cap(self) -> float:
        """The largest |z|, or 0 without a soft cap (how the kernels are told)."""
        return 0.0 if self.softcap is None else self.softcap / self.temperature

    def apply_(self, x: torch.Tensor) -> torch.Tensor:
        """Turn products into softmax inputs, in place."""
        if self.is_identity:
            return x
        x.mul_(self.slope)
        return x if self.softcap is None else x.div_(self.cap).tanh_().mul_(self.cap)

    def derivative_(self, z: torch.Tensor) -> torch.Tensor:
        """Return dz/dx from z, overwriting z; only with a soft cap (else it is `slope`)."""
        return z.div_(self.cap).square_().neg_().add_(1.0).mul_(self.slope)
