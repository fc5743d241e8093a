"""Whether a model computes rows as a trie exactly, and in which form it takes the mask.

Architectures differ in masks (one for all layers, one per layer type), windows and position ids, and some cannot share
(recurrent layers, positions counted inside the model). So a few short rows are computed both ways, and compared.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.attention.flex_attention import flex_attention

from srlm.training import block_attention
from srlm.training.fused_head import eval_mode, is_sharded
from srlm.training.prefix_masks import FULL, SLIDING, MaskForm, block_mask, dense_mask
from srlm.training.row_layouts import pad_rows, share_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from transformers import PretrainedConfig, PreTrainedModel

PROBE_ROWS = [[5, 6, 7, 8, 9, 10], [5, 6, 7, 8, 11, 12, 13, 14], [5, 6, 7, 15], [16, 6, 7], [5, 6, 7, 8, 9, 10]]
PROBE_WINDOW = 3  # shorter than the probe's rows
# Rotary embeddings whose frequencies depend on the longest row of the pass.
LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")
FLEX_BLOCK, FLEX_SIZES = 128, 8  # tokens of a block; numbers of nodes that a training may compile for


def find_form(model: PreTrainedModel) -> MaskForm | str:
    """Return the form in which the model takes the mask of a trie, or the reason why it computes rows separately.

    Call it before PEFT, DDP, FSDP or DeepSpeed wrap the model.
    """
    config = model.config.get_text_config()
    windows = layer_windows(config)
    if windows is None:
        return "it has layers other than full and sliding-window attention"
    if length_dependent := [kind for kind in _rope_types(config) if kind in LENGTH_DEPENDENT_ROPE]:
        return f"its rotary embedding ({length_dependent[0]}) depends on the length of the longest row"
    if is_sharded(model):
        return "its weights are sharded before it could be checked"
    attention = str(config._attn_implementation)
    if attention not in ("sdpa", "eager", block_attention.NAME):
        return f"its attention ({attention}) takes no mask of pairs of tokens"
    form = MaskForm(attention, windows, model.dtype)
    probe = MaskForm(attention, {name: window and PROBE_WINDOW for name, window in windows.items()}, model.dtype)
    try:
        with _window(config):
            error = _probe_error(model, probe)
    except Exception as reason:  # whatever an unknown architecture does with a mask
        message = str(reason).split("\n", 1)[0]
        return f"it does not take a mask of pairs of tokens ({type(reason).__name__}: {message})"
    return form if error <= tolerance(model.dtype) else f"its hidden states change by {error:.2g} of their size"


def with_fast_attention(model: PreTrainedModel, form: MaskForm, max_nodes: int, *, dropout: float = 0.0) -> MaskForm:
    """Switch the model to an attention that skips masked pairs, if it has one that gives the same; return the form.

    `max_nodes` is the maximum number of computed tokens of a forward pass. With dropout a GPU has none: transformers
    raises for flex attention.
    """
    if torch.cuda.is_available():
        return form if dropout else with_flex_attention(model, form, max_nodes)
    return with_block_attention(model, form)


def with_block_attention(model: PreTrainedModel, form: MaskForm) -> MaskForm:
    """Switch a model with `sdpa` attention to `block_attention`, if hidden states stay the same; return the form."""
    if form.attention != "sdpa":
        return form
    model.set_attn_implementation(block_attention.NAME)
    found = find_form(model)
    if isinstance(found, MaskForm):
        return found
    model.set_attn_implementation("sdpa")
    return form


def with_flex_attention(model: PreTrainedModel, form: MaskForm, max_nodes: int) -> MaskForm:
    """Switch the model to flex attention if it has that, and if it gives what `sdpa` gives on this GPU.

    Returns the form for it, else `form`.
    """
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    groups = heads // (getattr(config, "num_key_value_heads", None) or heads)
    if not getattr(model, "_supports_flex_attn", False) or not flex_attention_works(groups, size, model.dtype):
        return form
    model.set_attn_implementation("flex_attention")
    multiple = -(-max_nodes // (FLEX_SIZES * FLEX_BLOCK)) * FLEX_BLOCK
    return replace(form, attention="flex_attention", multiple=multiple)


def flex_attention_works(groups: int, head_size: int, dtype: torch.dtype) -> bool:
    """Whether compiled flex attention and its gradients equal those of `sdpa` on this GPU, on one group of heads."""
    rows = [list(range(200)), [*range(90), *range(300, 400)], list(range(500, 540))]
    trie = share_rows(rows, MaskForm("flex_attention", {FULL: None}, multiple=FLEX_BLOCK))
    depths, ends = trie.depths.cuda(), trie.ends.cuda()
    shapes = [(1, groups, len(ends), head_size), *[(1, 1, len(ends), head_size)] * 2]
    query, key, value = (torch.randn(shape, device="cuda", dtype=dtype, requires_grad=True) for shape in shapes)
    mask, compiled = block_mask(depths, ends), torch.compile(flex_attention, dynamic=False)
    dense, sdpa = dense_mask(depths, ends), torch.nn.functional.scaled_dot_product_attention
    try:
        flex = compiled(query, key, value, block_mask=mask, enable_gqa=groups > 1)
        plain = sdpa(query, key, value, attn_mask=dense, enable_gqa=groups > 1)
        found, expected = (
            (result, *torch.autograd.grad(result.float().square().sum(), (query, key, value)))
            for result in (flex, plain)
        )
    except Exception:  # whatever the compiler does on this GPU
        return False
    atol = 64 * torch.finfo(dtype).eps
    return all(torch.allclose(*pair, atol=atol, rtol=0.05) for pair in zip(found, expected, strict=True))


def tolerance(dtype: torch.dtype) -> float:
    """Return the error that rounding explains, relative to the largest hidden state."""
    return max(1e-4, 4 * torch.finfo(dtype).eps)


@torch.no_grad()
def needs_mask(model: PreTrainedModel) -> bool:
    """Whether the model needs a mask of rows that are padded on the right, or may; causal attention does not.

    No token sees what follows it, and with a mask PyTorch does not run its flash kernel. Compares a few padded rows.
    """
    if is_sharded(model):
        return True
    device = model.get_input_embeddings().weight.device
    layout = pad_rows(_probe_rows(model), 0)
    real = torch.from_numpy(np.concatenate(layout.nodes))
    try:
        with eval_mode(model):
            masked, bare = (
                model.base_model(**replace(layout, attention_mask=mask).model_inputs(device), use_cache=False)
                .last_hidden_state.flatten(0, 1)[real]
                .float()
                for mask in (layout.attention_mask, None)
            )  # [T, D] each
    except Exception:  # whatever an unknown architecture does without a mask
        return True
    return not bool((masked - bare).abs().max() <= tolerance(model.dtype) * masked.abs().max())


def layer_windows(config: PretrainedConfig) -> dict[str, int | None] | None:
    """Return the window of each type of layers (None: all tokens), or None if there are other types of layers."""
    types = set(getattr(config, "layer_types", None) or ())
    window = getattr(config, "sliding_window", None)
    if not types:
        return {FULL: window}
    if not types <= {FULL, SLIDING}:
        return None
    return {name: window if name == SLIDING else None for name in sorted(types)}


def _rope_types(config: PretrainedConfig) -> list[str]:
    parameters = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    nested = [value for value in parameters.values() if isinstance(value, dict)]
    return [str(each.get("rope_type", "default")) for each in (nested or [parameters])]


@contextlib.contextmanager
def _window(config: PretrainedConfig) -> Iterator[None]:
    """Give sliding-window layers the probe's window."""
    before = getattr(config, "sliding_window", None)
    if before is None:
        yield
        return
    config.sliding_window = PROBE_WINDOW
    try:
        yield
    finally:
        config.sliding_window = before


@torch.no_grad()
def _probe_error(model: PreTrainedModel, form: MaskForm) -> float:
    """Return the largest difference of hidden states between a trie and its separate rows, relative to the largest."""
    device = model.get_input_embeddings().weight.device
    rows = _probe_rows(model)
    with eval_mode(model):
        shared = share_rows(rows, form)
        found = _hidden(model, shared.model_inputs(device))  # [M, D]
        alone = [_hidden(model, {"input_ids": torch.tensor([row], device=device)}) for row in rows]
    errors = [
        (found[torch.from_numpy(nodes)] - row).abs().max() for nodes, row in zip(shared.nodes, alone, strict=True)
    ]
    largest = max(row.abs().max() for row in alone)
    return float(max(errors) / largest)


def _probe_rows(model: PreTrainedModel) -> list[list[int]]:
    size = model.get_input_embeddings().weight.shape[0]
    return [[token % size for token in row] for row in PROBE_ROWS]


def _hidden(model: PreTrainedModel, inputs: Mapping[str, object]) -> torch.Tensor:
    hidden: torch.Tensor = model.base_model(**inputs, use_cache=False).last_hidden_state[0].float()
    return hidden
