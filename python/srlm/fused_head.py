"""A language model whose forward pass can end in a preference loss instead of logits.

`add_preference_head(model)` gives `model(..., preference=request)`: the backbone runs, the request's rows of its hidden
states meet the output projection in `srlm.kernels`, and no logits are built. Everything happens inside the model's own
forward pass, where FSDP, ZeRO-3, DDP, PEFT and autocast have the weights ready. Without a request the model is as it
was.
"""

from __future__ import annotations

import types
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from srlm.errors import StageError
from srlm.kernels.preference_loss import PreferenceMetrics, preference_loss
from srlm.kernels.sequence_logps import sequence_logps, sequence_statistics

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PretrainedConfig, PreTrainedModel

    from srlm.kernels.preference_loss import PairLogps
    from srlm.preference_layout import Layout

# How architectures name the factor of their logits, and whether it multiplies.
SCALES = {"logit_scale": True, "output_multiplier": True, "lm_head_multiplier": True, "logits_scaling": False}
MULTIPLY_BY_LOGITS_SCALING = {"hyperclovax"}
PROBE_TOKENS = 8


class PreferenceRequest:
    """What the head is to do with a batch's hidden states; no dataclass, so that no wrapper casts what is in it."""

    def __init__(
        self,
        layout: Layout,
        loss_fn: Callable[[PairLogps], torch.Tensor] | None = None,
        ref_logps: torch.Tensor | None = None,
    ) -> None:
        """Without `loss_fn` the answers' log-probabilities are asked for; `ref_logps` is [B, 2] float32."""
        self.layout, self.loss_fn, self.ref_logps = layout, loss_fn, ref_logps


def add_preference_head(model: PreTrainedModel, *, check: bool = True) -> None:
    """Let `model(input_ids, attention_mask, preference=request)` return the request's result, a dictionary.

    With a `loss_fn`: `loss`, a float32 scalar, and `metrics`, `PreferenceMetrics`. Without: `logps` [B, 2] float32. Add
    it before PEFT, DDP or FSDP wrap the model; a model that is sharded already cannot be checked.

    Raises:
        StageError: the model's logits are not what its output embeddings, scale and soft cap give, so that a loss taken
            from its hidden states would not be the model's.
    """
    transform = logit_options(model.config.get_text_config())
    if check:
        check_head(model, transform)
    head = model.get_output_embeddings()
    logits_of, outputs_of = head.forward, model.forward

    def project(
        self: torch.nn.Module, hidden: torch.Tensor, preference: PreferenceRequest | None = None
    ) -> torch.Tensor | dict[str, Any]:
        return logits_of(hidden) if preference is None else _answer(self, hidden, preference, transform)

    def forward(
        self: PreTrainedModel,
        *args: Any,  # noqa: ANN401
        preference: PreferenceRequest | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401  the model's own output
        if preference is None:
            return outputs_of(*args, **kwargs)
        kwargs["use_cache"] = False
        hidden = self.base_model(*args, **kwargs).last_hidden_state  # [2B, L, D]
        # Through the head's own call, whose hooks gather its weight under FSDP and ZeRO-3.
        return self.get_output_embeddings()(hidden, preference=preference)

    head.forward = types.MethodType(project, head)
    model.forward = types.MethodType(forward, model)


def _answer(
    head: torch.nn.Module, hidden: torch.Tensor, request: PreferenceRequest, options: dict[str, Any]
) -> dict[str, Any]:
    layout, weight, options = request.layout, head.weight, {"bias": head.bias, **options}
    rows = hidden.reshape(-1, hidden.shape[-1]).to(weight.device)  # [2B L, D]
    shared, shared_top1 = None, None
    if len(layout.shared_rows):
        beginnings = rows[layout.shared_rows]
        shared, shared_top1 = sequence_statistics(
            beginnings, weight, layout.shared_labels, layout.shared_cuts, **options
        )
    if request.loss_fn is None:
        logps = sequence_logps(rows[layout.rows], weight, layout.labels, layout.cuts, **options).view(-1, 2)
        return {"logps": logps if shared is None else logps + shared[:, None]}
    loss, metrics = preference_loss(
        rows[layout.rows],
        weight,
        layout.labels,
        layout.cuts,
        request.ref_logps,
        request.loss_fn,
        extra_logps=shared,
        lengths=layout.lengths,
        **options,
    )
    if shared_top1 is not None:
        metrics = replace(metrics, chosen_top1=metrics.chosen_top1 + shared_top1)
    return {"loss": loss, "metrics": Unseen(metrics)}


class Unseen:
    """Carries metrics out of a wrapped forward pass, whose wrappers look for tensors to hook or cast."""

    def __init__(self, metrics: PreferenceMetrics) -> None:
        self.metrics = metrics


def logit_options(config: PretrainedConfig) -> dict[str, Any]:
    """Return the kernels' `softcap` and `logit_scale` for a model's configuration."""
    scale = 1.0
    for name, multiplies in SCALES.items():
        value = getattr(config, name, None)
        if value is not None:
            scale = value if multiplies or config.model_type in MULTIPLY_BY_LOGITS_SCALING else 1 / value
            break
    return {"softcap": getattr(config, "final_logit_softcapping", None), "logit_scale": scale}


def check_head(model: PreTrainedModel, options: dict[str, Any]) -> None:
    """Compare the model's own log-probabilities of a few tokens with those from its hidden states.

    Left out where the weights are sharded already.

    Raises:
        StageError: they differ.
    """
    head = model.get_output_embeddings()
    if head is None or any(hasattr(parameter, "ds_id") for parameter in model.parameters()):
        return
    training = model.training
    ids = torch.arange(1, PROBE_TOKENS + 1, device=head.weight.device)[None] % head.weight.shape[0]
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0, :-1]
        cuts = list(range(PROBE_TOKENS))
        found = sequence_logps(hidden, head.weight, ids[0, 1:], cuts, bias=head.bias, **options)
    model.train(training)
    expected = logits.log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    # Logits in low precision are themselves off by their rounding.
    tolerance = 1e-3 + 2 * torch.finfo(head.weight.dtype).eps * float(logits.abs().max())
    if not torch.allclose(found, expected, atol=tolerance, rtol=0):
        worst = float((found - expected).abs().max())
        raise StageError(
            f"dpo: this model ({model.config.model_type}) makes its logits in a way that is not known here: its hidden "
            f"states and output weights give log-probabilities that are off by up to {worst:.3g}. Use another model"
        )
