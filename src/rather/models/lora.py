"""LoRA: small matrices learn beside frozen ones (Hu et al. 2021). peft makes them, every stage can use them.

    adapters = attach(policy.model, LoRA(rank=16), seed=0)  # None where no rank is set: everything is trained
    save_policy(policy, "run/ppo/checkpoint")               # the merged model; in adapter/ what plain peft loads

The layers are put into the model in place, so that trees, sampler, optimiser and EMA find what they always find.
Beside W there is alpha / rank * B A. B begins at 0: before the first step the model is, to the bit, the one it was.
"""

from __future__ import annotations

import copy
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from huggingface_hub import save_torch_state_dict
from pydantic import Field, model_validator
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from rather import files
from rather.config import Config
from rather.errors import BadFile, BadModel, BadSetting, MissingExtra, nearest, visible
from rather.models.fingerprint import fingerprint

FOLDER = "adapter"  # beside the merged weights
NAME = "default"  # of the adapter, in peft's names
ALL = "all-linear"
SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model{suffix}.safetensors"  # as peft calls them
M = TypeVar("M", bound=nn.Module)


class LoRA(Config):
    """Train small matrices beside the frozen weights. None of it is in the paper."""

    rank: int | None = Field(None, ge=1, description="of the matrices, such as 16; none: all weights are trained")
    alpha: float = Field(32.0, gt=0, description="what they add is times alpha / rank; see docs/lora.md for rates")
    targets: str | list[str] = Field(
        ALL, description="all-linear: every linear layer but the output; or names, such as q_proj, v_proj"
    )
    four_bit: bool = Field(False, description="the frozen weights in 4 bits (QLoRA); needs bitsandbytes")

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.four_bit and self.rank is None:
            raise ValueError("four_bit=true without a rank: weights in 4 bits cannot be trained, adapters beside can")
        if self.targets == []:
            raise ValueError("targets is empty: name layers, or all-linear")
        return self


@dataclass(frozen=True)
class Adapters:
    """What was attached, and to what. As part of a run's state it refuses to go on over other weights.

    sha256: fingerprint of the frozen weights     targets: names of layers     trained, total: numbers
    """

    sha256: str
    targets: tuple[str, ...]
    trained: int
    total: int

    def about(self, settings: LoRA) -> dict[str, Any]:
        """For the run's events."""
        said = {"rank": settings.rank, "alpha": settings.alpha, "targets": list(self.targets)}
        return said | {"trained": self.trained, "total": self.total, "frozen_sha256": self.sha256}

    def state_dict(self) -> dict[str, Any]:
        return {"frozen_sha256": self.sha256}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        if saved["frozen_sha256"] != self.sha256:
            raise BadFile(
                f"The frozen weights are not those that these adapters began on: {self.sha256[:12]} now, "
                f"{saved['frozen_sha256'][:12]} then.",
                "Expected the same model: what the adapters add belongs to it.",
                "Put it back, or begin again with --again",
            )


def attach(model: PreTrainedModel, settings: LoRA, seed: int) -> Adapters | None:
    """Freeze the model and put adapters into it, in place; None where no rank is set, and nothing is done.

    model: a causal LM, or the body of a reward model     seed: of A; B is 0
    """
    if settings.rank is None:
        return None
    peft = _peft()
    targets = targets_of(model, settings.targets)
    sha256 = fingerprint(model)
    if settings.four_bit:
        _quantise(model, targets)
    linear = dict(_linear(model))
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=list(targets),
        lora_dropout=0.0,  # with dropout the ratio of PPO is not 1 before the first step, and the KL has a floor
        fan_in_fan_out=any(isinstance(m, Conv1D) for name, m in linear.items() if name.rpartition(".")[2] in targets),
    )
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)  # peft draws A from the global generator
        peft.inject_adapter_in_model(config, model)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Adapters(sha256, targets, trained, sum(p.numel() for p in model.parameters()))


def targets_of(model: PreTrainedModel, wanted: str | list[str]) -> tuple[str, ...]:
    """Names of layers, sorted: of all linear layers but the output projection, or those that were asked for."""
    known = sorted({name.rpartition(".")[2] for name, _ in _linear(model)})
    if not known:
        raise BadModel(f"{type(model).__name__} has no linear layer.", "Expected one to put LoRA beside.")
    names = known if wanted == ALL else sorted({wanted} if isinstance(wanted, str) else set(wanted))
    for name in names:
        if name not in known:
            raise BadSetting(
                f"lora.targets names {visible(name)!r}, and no layer that can be adapted is called so."
                f"{nearest(name, known)}",
                f"Expected {ALL}, or some of: {', '.join(known)}. Embeddings and the output projection stay as they "
                "are: log-probabilities are formed from their weights alone.",
                f"lora.targets={ALL}",
            )
    return tuple(names)


def _linear(model: PreTrainedModel) -> Iterator[tuple[str, nn.Module]]:
    # The output projection is not called: `models.logprobs` reads its weight, and would not see an adapter.
    output = model.get_output_embeddings()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | Conv1D) and module is not output:
            yield name, module


def adapted(model: nn.Module) -> bool:
    return any(".lora_A." in name for name, _ in model.named_parameters())


# ---- the same model without adapters, and with what they add written into its weights


def sharing(model: M) -> M:
    """A second model on the same parameters: it costs no memory, and has layers of its own."""
    return copy.deepcopy(model, {id(p): p for p in model.parameters()})


def unadapted(model: M) -> M:
    """The model as it was before adapters, on the same weights: what it began as, and its KL reference."""
    return _without_adapters(model, merging=False)


def merged(model: M) -> M:
    """A plain model that computes what this one does with its adapters. Weights without an adapter are shared."""
    return _without_adapters(model, merging=True)


def reference_of(model: M) -> M:
    """The model as it stands before training, frozen: with adapters the same weights, without them a copy."""
    return unadapted(model) if adapted(model) else copy.deepcopy(model).requires_grad_(False)


@torch.no_grad()
def _without_adapters(model: M, merging: bool) -> M:
    plain = sharing(model)
    for name, layer in list(_adapted_layers(plain)):
        base: Any = layer.get_base_layer()
        if merging:
            base = _merged_layer(base, layer.get_delta_weight(NAME))
        above, _, last = name.rpartition(".")
        setattr(plain.get_submodule(above), last, base)
    vars(plain).pop("peft_config", None)
    return plain


def _merged_layer(base: Any, delta: Tensor) -> nn.Module:
    """W + alpha / rank * B A, as a plain layer. A weight in 4 bits counts as what it stands for: so it was trained."""
    state = getattr(base.weight, "quant_state", None)
    if state is None:
        base.weight = nn.Parameter(base.weight + delta, requires_grad=False)
        return base
    import bitsandbytes  # the extra `qlora`, which is there: without it there would be no quant_state

    weight = bitsandbytes.functional.dequantize_4bit(base.weight.data, state).to(delta) + delta
    plain = nn.utils.skip_init(nn.Linear, base.in_features, base.out_features, bias=base.bias is not None)
    plain.weight = nn.Parameter(weight, requires_grad=False)
    if base.bias is not None:
        plain.bias = nn.Parameter(base.bias.to(weight.dtype), requires_grad=False)
    return plain


def _adapted_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer  # the extra `lora`, which is there: the model has its layers

    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


# ---- the folder that plain peft loads


def save_adapter(model: PreTrainedModel, folder: Path, *, prefix: str = "", task: str = "CAUSAL_LM",
                 more: dict[str, Tensor] | None = None) -> None:  # fmt: skip
    """adapter_config.json and adapter_model.safetensors, as peft names and reads them. The folder is made here.

    prefix: where plain transformers has this body, "model." of a Llama     more: tensors trained whole, by their names
    """
    config = _settings(model) | {"base_model_name_or_path": base_name(model), "task_type": task}
    if more:
        config["modules_to_save"] = sorted({name.rpartition(".")[0] for name in more})
    tensors = {
        f"base_model.model.{prefix}{name.replace(f'.{NAME}.', '.')}": p.detach()
        for name, p in model.named_parameters()
        if ".lora_" in name
    }
    tensors |= {f"base_model.model.{name}": tensor.detach() for name, tensor in (more or {}).items()}
    folder.mkdir()
    files.write_json(folder / SETTINGS, config)
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_torch_state_dict(tensors, folder, filename_pattern=WEIGHTS, max_shard_size="1TB")


def _settings(model: Any) -> dict[str, Any]:
    """The adapter's settings in JSON; sets sorted, so that the same run writes the same bytes."""
    config = model.peft_config[NAME].to_dict() | {"inference_mode": True}
    return {key: sorted(value) if isinstance(value, set) else value for key, value in sorted(config.items())}


def base_name(model: PreTrainedModel) -> str | None:
    """A hub id as such, a folder with its whole path: a run may be read from anywhere."""
    name = model.name_or_path or ""
    cached = re.search(r"models--([^/]+)--([^/]+)/snapshots/", name)
    if cached:
        return "/".join(cached.groups())
    return str(Path(name).resolve()) if name else None


# ---- what has to be installed


def _peft() -> Any:
    if importlib.util.find_spec("peft") is None:
        raise MissingExtra("LoRA (lora.rank)", "peft", "lora")
    import peft  # the extra `lora`

    return peft


def _quantise(model: Any, targets: tuple[str, ...]) -> None:
    """The layers that get adapters, in 4 bits (NF4, scales quantised too; Dettmers et al. 2023), in place."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtra("lora.four_bit", "bitsandbytes", "qlora")
    import bitsandbytes  # the extra `qlora`

    for name, old in list(_linear(model)):
        above, _, last = name.rpartition(".")
        if last not in targets:
            continue
        if not isinstance(old, nn.Linear):
            raise BadSetting(
                f"lora.four_bit: {name} is a {type(old).__name__}, which bitsandbytes does not know.",
                "Expected linear layers, as Llama, Qwen, Mistral and Gemma have them.",
                "lora.four_bit=false",
            )
        new = bitsandbytes.nn.Linear4bit(
            old.in_features,
            old.out_features,
            bias=old.bias is not None,
            compress_statistics=True,
            quant_type="nf4",
            device="meta",
        )
        new.weight = bitsandbytes.nn.Params4bit(
            old.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4", module=new
        )
        new.bias = old.bias
        setattr(model.get_submodule(above), last, new.to(old.weight.device))
    model.is_loaded_in_4bit = True  # by which peft knows to adapt such layers
