"""Dropout that is set here or not at all, and can be shown to be off.

Supervised fine-tuning uses residual dropout 0.2 (sec. 3.5); everything after it none: with dropout the ratio of PPO is
not 1 before the first step and the KL has a floor. Llama-type models have no residual dropout and GPT-2 has three, so
all dropout of the library is set to 0 and ours stands where GPT-2 has it, on what attention and MLP add to the residual
stream. Attention weights are never dropped: packed trees compute attention without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from rather.errors import BadModel, BadSetting, CheckFailed

# What transformers calls the two halves of a layer.
ATTENTION = ("self_attn", "attn", "attention", "self_attention", "linear_attn")
MLP = ("mlp", "feed_forward", "ffn", "block_sparse_moe", "moe")


class Residual:
    """The hook. One per model, so that its probability can be read back and its places be undone."""

    def __init__(self, p: float) -> None:
        self.p = p
        self.handles: list[Any] = []

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        # The global generator, not one of ours: activation checkpointing computes a layer twice and gives only the
        # global one back its state, and with another mask the second time the gradient would be silently wrong.
        if isinstance(output, Tensor):
            return F.dropout(output, self.p, training=module.training)
        return (F.dropout(output[0], self.p, training=module.training), *output[1:])


def set_dropout(model: nn.Module, p: float) -> None:
    """Residual dropout `p` in training mode, and no other. 0 takes away whatever was set."""
    if not 0 <= p < 1:
        raise BadSetting(f"Dropout {p}.", "Expected a probability: at least 0, below 1.")
    for module in model.modules():
        for name in _probabilities(module):
            setattr(module, name, 0.0)
    for config in _configs(model):
        for name in _probabilities(config):
            setattr(config, name, 0.0)
    old: Residual | None = model.__dict__.pop("residual_dropout", None)
    for handle in old.handles if old else ():
        handle.remove()
    if p:
        residual = Residual(p)
        # Found first, hooked afterwards: a model in which a place is missing is left as it was.
        places = list(_places(model))
        residual.handles = [place.register_forward_hook(residual) for place in places]
        model.__dict__["residual_dropout"] = residual


def dropout_of(model: nn.Module) -> dict[str, float]:
    """Every probability above 0, by the name of its place."""
    found = {
        f"{path}.{name}".lstrip("."): getattr(module, name)
        for path, module in model.named_modules()
        for name in _probabilities(module)
        if getattr(module, name)
    }
    for path, module in model.named_modules():
        hooks = [hook for hook in module._forward_hooks.values() if isinstance(hook, Residual)]
        found |= {f"{path} (residual)": hook.p for hook in hooks}
    return found


def prove_no_dropout(model: nn.Module, forward: Callable[[], Tensor] | None = None) -> None:
    """Stop unless nothing is dropped: no probability is set, and two passes in training mode agree to the bit.

    The second half finds what the first cannot know by name (layer drop, the jitter of an expert router).

    forward: a pass through the model; by default a plain one over a few tokens
    """
    if found := dropout_of(model):
        name, p = next(iter(found.items()))
        more = f" and {len(found) - 1} more places" if len(found) > 1 else ""
        raise CheckFailed(f"Dropout is on: {name} is {p}{more}.", "Expected none.", "set_dropout(model, 0)")
    device = next(model.parameters()).device
    tokens = torch.arange(16, device=device)[None] % 8  # (1, 16) any ids will do
    forward = forward or (lambda: model(input_ids=tokens, use_cache=False)[0])
    was_training = model.training
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        try:
            model.train()
            passes = []
            for seed in (0, 1):
                torch.manual_seed(seed)
                passes.append(forward())
        finally:
            model.train(was_training)
    if not torch.equal(*passes):
        apart = (passes[0] - passes[1]).abs().max()
        raise CheckFailed(
            f"Two passes in training mode differ by up to {apart:.3g} though every dropout is 0.",
            "Expected the same bits: something else in this model is random.",
        )


def _configs(model: nn.Module) -> list[PretrainedConfig]:
    return [m.config for m in model.modules() if isinstance(m, PreTrainedModel)]


def _probabilities(thing: nn.Module | PretrainedConfig) -> list[str]:
    """Attributes that are a probability of dropout: `p` of nn.Dropout, and numbers called resid_pdrop and the like."""
    names = ["p"] if isinstance(thing, nn.modules.dropout._DropoutNd) else []
    names += [name for name in vars(thing) if "dropout" in name or name.endswith(("pdrop", "layerdrop"))]
    return [n for n in names if isinstance(getattr(thing, n), int | float) and not isinstance(getattr(thing, n), bool)]


def _places(model: nn.Module) -> Iterator[nn.Module]:
    """Attention and MLP of every layer."""
    for index, layer in enumerate(_layers(model)):
        children = dict(layer.named_children())
        for kind, names in (("attention", ATTENTION), ("MLP", MLP)):
            found = [children[name] for name in names if name in children]
            if len(found) != 1:
                raise BadModel(
                    f"Layer {index} of {type(model).__name__} has {len(found)} modules known as {kind} "
                    f"among {', '.join(children)}.",
                    f"Expected one called {', '.join(names)}.",
                    "Train it with dropout 0",
                )
            yield found[0]


def _layers(model: nn.Module) -> nn.ModuleList:
    count = getattr(getattr(model, "config", None), "num_hidden_layers", None)
    stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if len(stacks) != 1:
        raise BadModel(
            f"{type(model).__name__} has {len(stacks)} stacks of {count} layers.",
            "Expected one, to put residual dropout into.",
            "Train it with dropout 0",
        )
    return stacks[0]
