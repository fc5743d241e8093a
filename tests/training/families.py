"""Small random models of several architectures, in float64."""

import types

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

SMALL = {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
}
MIXED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 5}
# Windows are shorter than the rows of the tests.
FAMILIES = {
    "llama": (LlamaForCausalLM, LlamaConfig, {}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {}),
    "qwen2, window": (Qwen2ForCausalLM, Qwen2Config, {"use_sliding_window": True, "max_window_layers": 1, **MIXED}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"head_dim": 16}),
    "gemma2": (Gemma2ForCausalLM, Gemma2Config, {"head_dim": 16, "final_logit_softcapping": 3.0, **MIXED}),
    "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig, {"head_dim": 16, **MIXED}),
    "mistral": (MistralForCausalLM, MistralConfig, {"sliding_window": 5}),
    "gpt-neox": (GPTNeoXForCausalLM, GPTNeoXConfig, {}),
    # grouped_mm, the default, has no float64.
    "mixtral": (
        MixtralForCausalLM,
        MixtralConfig,
        {"num_local_experts": 4, "router_aux_loss_coef": 0.0, "experts_implementation": "eager"},
    ),
}


def make(name, **changes):
    """Return a random model of a family, with weights large enough that masks and positions matter."""
    kind, config, own = FAMILIES[name]
    torch.manual_seed(1)
    model = kind(config(**{**SMALL, **own, **changes})).double().eval()
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = types.MethodType(norm, module)
    return model


def norm(module, hidden):
    """RMS norm in float64; transformers computes it in float32, whose gradients depend on the order of sums."""
    epsilon = getattr(module, "eps", None) or module.variance_epsilon
    scale = 1 + module.weight if "Gemma" in type(module).__name__ else module.weight
    return scale * hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + epsilon)
