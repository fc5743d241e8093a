"""A language model whose forward pass can end in a preference loss instead of logits.

`add_preference_head(model)` gives `model(..., preference=request)`: the backbone runs, the request's rows of its hidden
states meet the output projection in `srlm.kernels`, and no logits are built. Everything happens inside the model's own
forward pass, where FSDP, ZeRO-3, DDP, PEFT and autocast have the weights ready. Without a request the model is as it
was.
"""

from __future__ import annotations

import contextlib
import functools
import types
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from srlm.errors import StageError
from srlm.kernels.preference_loss import PreferenceMetrics, preference_loss
from srlm.kernels.sequence_logps import sequence_logps, sequence_statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transformers import PretrainedConfig, PreTrainedModel

    from srlm.kernels.preference_loss import PairLogps
    from srlm.training.preference_layout import Layout

# How architectures name the factor of their logits, and whether it multiplies.
SCALES = {"logit_scale": True, "output_multiplier": True, "lm_head_multiplier": True, "logits_scaling": False}
MULTIPLY_BY_LOGITS_SCALING = {"hyperclovax"}
SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap")
PROBE_TOKENS = 8
PROBE_SIZE = 100.0  # logits beyond this do not widen the probe's tolerance
MARK = "_srlm_preference_head"


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
    if getattr(model, MARK, False):
        return
    transform = logit_options(model.config.get_text_config())
    if check:
        check_head(model, transform)
    head = model.get_output_embeddings()
    logits_of, outputs_of = _unbound(head.forward), _unbound(model.forward)

    def project(
        self: torch.nn.Module, hidden: torch.Tensor, preference: PreferenceRequest | None = None
    ) -> torch.Tensor | dict[str, Any]:
        return logits_of(self, hidden) if preference is None else _answer(self, hidden, preference, transform)

    @functools.wraps(type(model).forward)  # generation reads the signature
    def forward(
        self: PreTrainedModel,
        *args: Any,  # noqa: ANN401
        preference: PreferenceRequest | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401  the model's own output
        if preference is None:
            return outputs_of(self, *args, **kwargs)
        kwargs["use_cache"] = False
        hidden = self.base_model(*args, **kwargs).last_hidden_state  # [2B, L, D]
        hidden = hidden[:, -preference.layout.width :]  # prompt tuning puts virtual tokens before the rows
        # Through the head's own call, whose hooks gather its weight under FSDP and ZeRO-3.
        return self.get_output_embeddings()(hidden, preference=preference)

    head.forward = types.MethodType(project, head)
    model.forward = types.MethodType(forward, model)
    setattr(model, MARK, True)


def _unbound(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method as a function of its object, so that a copy of the object uses the copy's weights."""
    return getattr(method, "__func__", None) or (lambda _self, *args, **kwargs: method(*args, **kwargs))


def _answer(
    head: torch.nn.Module, hidden: torch.Tensor, request: PreferenceRequest, options: dict[str, Any]
) -> dict[str, Any]:
    weight, options = head.weight, {"bias": head.bias, **options}
    layout = request.layout.to(weight.device)  # the head may be on another device than the batch
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
    caps = [getattr(config, name, None) for name in SOFT_CAPS]
    return {"softcap": next((cap for cap in caps if cap is not None), None), "logit_scale": scale}


def check_head(model: PreTrainedModel, options: dict[str, Any]) -> None:
    """Compare the model's own log-probabilities of a few tokens with those from its hidden states.

    Left out where the weights are sharded already.

    Raises:
        StageError: they differ.
    """
    head = model.get_output_embeddings()
    if head is None or any(hasattr(some, "ds_id") or some.is_meta for some in model.parameters()):
        return
    ids = torch.arange(1, PROBE_TOKENS + 1, device=head.weight.device)[None] % head.weight.shape[0]
    with _evaluating(model), torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0, :-1].to(head.weight.device)
        cuts = list(range(PROBE_TOKENS))
        found = sequence_logps(hidden, head.weight, ids[0, 1:], cuts, bias=head.bias, **options)
    expected = logits.log_softmax(-1).gather(1, ids[0, 1:, None].to(logits.device))[:, 0].to(found.device)
    # Logits in low precision are themselves off by their rounding.
    size = min(float(logits.abs().max()), PROBE_SIZE)
    tolerance = 1e-3 + 2 * torch.finfo(head.weight.dtype).eps * size
    if not (logits.isfinite().all() and torch.allclose(found, expected, atol=tolerance, rtol=0)):
        worst = float((found - expected).abs().max())
        raise StageError(
            f"dpo: this model ({model.config.model_type}) makes its logits in a way that is not known here: its hidden "
            f"states and output weights give log-probabilities that are off by up to {worst:.3g}. Use another model"
        )


@contextlib.contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Switch a model to evaluation, and each of its modules back to what it was in."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
