"""A language model whose forward pass can return a loss instead of logits.

`add_fused_head(model)` adds `model(..., head_request=request)`: the backbone runs, `srlm.kernels` applies the output
projection to the request's rows of the hidden states (`head_requests`), and no logits are materialized. All of this
happens inside the model's own forward pass, where FSDP, ZeRO-3, DDP, PEFT and autocast have gathered and cast the
weights. Without a request the model behaves as before.
"""

from __future__ import annotations

import contextlib
import functools
import types
from typing import TYPE_CHECKING, Any

import torch

from srlm.errors import StageError
from srlm.kernels.sequence_logps import sequence_logps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transformers import PretrainedConfig, PreTrainedModel

    from srlm.training.head_requests import HeadRequest

# Names of the logit scale in model configurations, and whether it multiplies (True) or divides the logits.
SCALES = {"logit_scale": True, "output_multiplier": True, "lm_head_multiplier": True, "logits_scaling": False}
MULTIPLY_BY_LOGITS_SCALING = {"hyperclovax"}
SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap")
PROBE_TOKENS = 8
PROBE_SIZE = 100.0  # logits beyond this do not widen the probe's tolerance
MARKER_ATTRIBUTE = "_srlm_fused_head"


def add_fused_head(model: PreTrainedModel, *, check: bool = True) -> None:
    """Make `model(input_ids, attention_mask, head_request=request)` return the request's result, a dictionary.

    Call this before PEFT, DDP or FSDP wrap the model; a model that is already sharded cannot be checked.

    Raises:
        StageError: output embeddings, logit scale and softcap do not reproduce the model's logits, so a loss computed
            from its hidden states would be wrong.
    """
    if getattr(model, MARKER_ATTRIBUTE, False):
        return
    transform = logit_options(model.config.get_text_config())
    if check:
        check_head(model, transform)
    head = model.get_output_embeddings()
    original_project, original_forward = _unbound(head.forward), _unbound(model.forward)

    def project(
        self: torch.nn.Module, hidden: torch.Tensor, head_request: HeadRequest | None = None
    ) -> torch.Tensor | dict[str, Any]:
        if head_request is None:
            return original_project(self, hidden)
        rows = hidden.reshape(-1, hidden.shape[-1]).to(self.weight.device)  # [B L, D]
        return head_request.run(rows, self.weight, bias=self.bias, **transform)

    @functools.wraps(type(model).forward)  # `generate` inspects the signature
    def forward(
        self: PreTrainedModel,
        *args: Any,  # noqa: ANN401
        head_request: HeadRequest | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401  the model's own output
        if head_request is None:
            return original_forward(self, *args, **kwargs)
        kwargs["use_cache"] = False
        hidden = self.base_model(*args, **kwargs).last_hidden_state  # [B, L, D]
        hidden = hidden[:, -head_request.width :]  # prompt tuning puts virtual tokens before the rows
        # Call the head module, whose hooks gather its weight under FSDP and ZeRO-3.
        return self.get_output_embeddings()(hidden, head_request=head_request)

    head.forward = types.MethodType(project, head)
    model.forward = types.MethodType(forward, model)
    setattr(model, MARKER_ATTRIBUTE, True)


def _unbound(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method as a function of its object, so that a copy of the model uses its own weights."""
    return getattr(method, "__func__", None) or (lambda _self, *args, **kwargs: method(*args, **kwargs))


def logit_options(config: PretrainedConfig) -> dict[str, Any]:
    """Return the `softcap` and `logit_scale` of a model's configuration, as keyword arguments of the kernels."""
    scale = 1.0
    for name, multiplies in SCALES.items():
        value = getattr(config, name, None)
        if value is not None:
            scale = value if multiplies or config.model_type in MULTIPLY_BY_LOGITS_SCALING else 1 / value
            break
    caps = [getattr(config, name, None) for name in SOFT_CAPS]
    return {"softcap": next((cap for cap in caps if cap is not None), None), "logit_scale": scale}


def check_head(model: PreTrainedModel, options: dict[str, Any]) -> None:
    """Compare the model's own log-probabilities of a few tokens with those computed from its hidden states.

    Skipped if the weights are already sharded.

    Raises:
        StageError: they differ.
    """
    head = model.get_output_embeddings()
    if head is None or is_sharded(model):
        return
    ids = torch.arange(1, PROBE_TOKENS + 1, device=head.weight.device)[None] % head.weight.shape[0]
    with eval_mode(model), torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0, :-1].to(head.weight.device)
        cu_seqlens = list(range(PROBE_TOKENS))
        found = sequence_logps(hidden, head.weight, ids[0, 1:], cu_seqlens, bias=head.bias, **options)
    expected = logits.log_softmax(-1).gather(1, ids[0, 1:, None].to(logits.device))[:, 0].to(found)
    # Low-precision logits have a rounding error of their own.
    size = min(float(logits.abs().max()), PROBE_SIZE)
    tolerance = 1e-3 + 2 * torch.finfo(head.weight.dtype).eps * size
    if not (logits.isfinite().all() and torch.allclose(found, expected, atol=tolerance, rtol=0)):
        max_error = float((found - expected).abs().max())
        raise StageError(
            f"training: this model ({model.config.model_type}) computes its logits in an unsupported way: "
            f"log-probabilities from its hidden states and output weights are off by up to {max_error:.3g}. Use "
            "another model"
        )


def is_sharded(model: PreTrainedModel) -> bool:
    """Whether this process lacks some of the weights, so that it cannot run the model by itself."""
    return any(hasattr(weight, "ds_id") or weight.is_meta for weight in model.parameters())


@contextlib.contextmanager
def eval_mode(model: torch.nn.Module) -> Iterator[None]:
    """Switch a model to eval mode, and restore the mode of each of its modules on exit."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
