"""Mixtures of experts that are trained with a load-balancing loss, a function of the routing in a micro-batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def has_balancing_loss(model: PreTrainedModel, coefficient: float | None = None) -> bool:
    """Whether TRL adds a load-balancing loss to the model's.

    Its weight is `coefficient`, TRL's `router_aux_loss_coef`; None: that of the model's configuration.
    """
    text = model.config.get_text_config()
    weight = getattr(text, "router_aux_loss_coef", None) if coefficient is None else coefficient
    return hasattr(text, "output_router_logits") and bool(weight)
