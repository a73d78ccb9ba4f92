"""Tiny random causal LMs of the families that `rather` promises to work with: `from families import tiny_family`."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

VOCABULARY, CONTEXT, WINDOW = 97, 128, 5

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
GPT2_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_inner": 48,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": CONTEXT,
    "attn_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "resid_pdrop": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}

# name -> (configuration class, its sizes). Five families and the variants in which attention differs.
MAKERS: dict[str, tuple[type[PretrainedConfig], dict[str, Any]]] = {
    "llama": (LlamaConfig, SIZES),
    "qwen2": (Qwen2Config, SIZES),
    "qwen3": (Qwen3Config, {**SIZES, "head_dim": 16}),  # head_dim is not hidden_size / heads
    "mistral": (MistralConfig, {**SIZES, "sliding_window": None}),
    "mistral_window": (MistralConfig, {**SIZES, "sliding_window": WINDOW}),
    "gemma": (GemmaConfig, {**SIZES, "head_dim": 8}),
    "gemma2": (
        Gemma2Config,
        {
            **SIZES,
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "sliding_window": WINDOW,  # on every other layer
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
        },
    ),
    "gemma3_text": (
        Gemma3TextConfig,
        {
            **SIZES,
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "sliding_window": WINDOW,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "gpt2": (GPT2Config, GPT2_SIZES),
}
FAMILIES = tuple(MAKERS)
UNWINDOWED = tuple(name for name in FAMILIES if name not in ("mistral_window", "gemma2", "gemma3_text"))


def tiny_config(name: str, **sizes: Any) -> PretrainedConfig:
    """The configuration of a family, with the library's own names for any size that is to differ."""
    make, usual = MAKERS[name]
    unknown = sizes.keys() - usual.keys() - set(dir(make()))
    assert not unknown, f"{name} has no {sorted(unknown)}"
    return make(**{**usual, **sizes})


def tiny_family(name: str, seed: int = 0, **sizes: Any) -> PreTrainedModel:
    """A causal LM in fp32 and eval mode whose every parameter matters.

    Freshly initialised models hide errors: biases are zero, norm weights all equal and the logits so flat that a
    wrong mask moves the third digit. So every parameter is redrawn, and the queries are loud enough to be selective.
    """
    rng = torch.Generator().manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(name, **sizes), dtype=torch.float32)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=rng)
            if parameter.ndim == 1 and "norm" in _module_of(parameter_name) and parameter_name.endswith("weight"):
                parameter.add_(0.2 * noise)  # around one, or around zero where the family adds the one itself
            elif parameter.ndim == 1:
                parameter.copy_(0.2 * noise)
            elif parameter is model.get_input_embeddings().weight and model.config.tie_word_embeddings:
                parameter.copy_(0.1 * noise)  # it is the head too: larger ones give a distribution of one token
            else:
                parameter.copy_(0.25 * noise)
    return model.eval()


def _module_of(parameter_name: str) -> str:
    """'norm' for the several spellings of a layer norm (`ln_f.weight`, `q_norm.weight`)."""
    module = parameter_name.rsplit(".", 2)[-2]
    return "norm" if "norm" in module or module.startswith("ln_") else module
