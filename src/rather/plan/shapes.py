"""The size of a model from its configuration alone: no weight is read or drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig
from transformers.pytorch_utils import Conv1D

from rather.errors import BadModel
from rather.models.load import window_of
from rather.models.lora import ALL
from rather.models.tokenizers import first_line, quiet


@dataclass(frozen=True, eq=False)
class Shape:
    """parameters: of the causal LM, tied tables once     body: without its head     tensors: the largest has so many"""

    config: PretrainedConfig
    parameters: int
    body: int
    largest: int
    layers: int
    hidden: int
    mlp: int
    gated: bool
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    window: int | None
    linear: tuple[tuple[str, int], ...]  # of the layers that adapters may stand beside: name, inputs and outputs

    def adapters(self, rank: int, targets: str | list[str]) -> int:
        """Parameters of LoRA's matrices of this rank."""
        wanted = (
            {name for name, _ in self.linear}
            if targets == ALL
            else {*([targets] if isinstance(targets, str) else targets)}
        )
        return rank * sum(size for name, size in self.linear if name in wanted)

    @property
    def head(self) -> int:
        """Parameters of the scalar head that makes a reward model or critic of the body."""
        return self.hidden + 1

    @property
    def multiplied(self) -> int:
        """Parameters that every token is multiplied with, the head's table included and the lookup left out."""
        lookup = self.vocabulary * self.hidden
        return self.parameters - (lookup if self.parameters - self.body >= lookup else 0)

    def cached(self, bytes_each: int) -> int:
        """Bytes of keys and values of one token."""
        return 2 * self.layers * self.kv_heads * self.head_size * bytes_each

    def with_layers(self, count: int) -> PretrainedConfig:
        """The same model with fewer layers, for measuring. Layers cost alike."""
        given = self.config.to_dict()
        if given.get("layer_types"):
            given["layer_types"] = given["layer_types"][:count]
        key = next(key for key in ("num_hidden_layers", "n_layer") if key in given)
        return type(self.config).from_dict(given | {key: count})


def shape_of(config: PretrainedConfig, name: str) -> Shape:
    try:
        with quiet(), torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(config)
    except Exception as error:  # a configuration is foreign: whatever building from it raises is said
        raise BadModel(
            f"{name}: no causal language model can be made of its config.json: {first_line(error)}",
            "Expected the configuration of a model that writes text from left to right.",
        ) from error
    text = config.get_text_config()
    hidden, heads = text.hidden_size, text.num_attention_heads
    names = [name for name, _ in model.named_parameters()]
    return Shape(
        config=config,
        parameters=sum(p.numel() for p in model.parameters()),
        body=sum(p.numel() for p in model.base_model.parameters()),
        largest=max(p.numel() for p in model.parameters()),
        layers=text.num_hidden_layers,
        hidden=hidden,
        mlp=getattr(text, "intermediate_size", None) or getattr(text, "n_inner", None) or 4 * hidden,
        gated=any("gate" in name for name in names),
        heads=heads,
        kv_heads=getattr(text, "num_key_value_heads", None) or heads,
        head_size=getattr(text, "head_dim", None) or hidden // heads,
        vocabulary=text.vocab_size,
        window=window_of(config),
        linear=tuple(
            (name.rpartition(".")[2], sum(module.weight.shape))
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear | Conv1D) and module is not model.get_output_embeddings()
        ),
    )
