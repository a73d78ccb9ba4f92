"""What to change where a stage does not fit: each setting that helps, with what it would save, the cheapest first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from rather.config import Config
from rather.plan.machines import GPUS, Machine
from rather.plan.memory import Need, need_of
from rather.plan.models import Cast
from rather.plan.words import in_bytes


def advice(
    verb: str, settings: Config, cast: Cast, compute: torch.dtype, machine: Machine, need: Need
) -> tuple[str, ...]:
    if need.peak <= machine.memory:
        return ()
    found: list[str] = []
    changed: dict[str, Any] = {}
    for key, value, price in _changes(verb, settings, machine):
        before = need_of(verb, settings.model_copy(update=changed), cast, compute, machine).peak
        changed[key] = value
        after = need_of(verb, settings.model_copy(update=changed), cast, compute, machine).peak
        if after >= before:
            del changed[key]
            continue
        shown = f"lora.rank={value.rank}" if key == "lora" else f"{key}={value}"
        found.append(f"{shown}: {in_bytes(before - after)} less; {price}")
        if after <= machine.memory:
            return (*found, "together they make it fit")
    return (*found, *_nothing_helps(verb, settings.model_copy(update=changed), cast, compute, machine))


def _changes(verb: str, settings: Any, machine: Machine) -> Iterator[tuple[str, Any, str]]:
    """Settings that change memory, and what each costs. First those that change no result."""
    if hasattr(settings, "row_budget"):
        yield "row_budget", max(128, settings.row_budget // 8), "slower, the same result"
    if hasattr(settings, "slots"):
        yield "slots", max(8, settings.slots // 8), "slower sampling, the same result"
    if getattr(settings, "precision", None) == "bf16" and machine.gpu is None:
        yield "precision", "fp32", "slower, no second copy of the weights"
    if hasattr(settings, "lora") and settings.lora.rank is None:
        yield (
            "lora",
            settings.lora.model_copy(update={"rank": 16}),
            "adapters learn, and the weights stay: docs/lora.md",
        )
    if getattr(settings, "ema_decay", 0):
        yield "ema_decay", 0.0, "no average of the weights is kept (C.4)"
    if getattr(settings, "ptx_coef", 0):
        yield "ptx_coef", 0.0, "no pretraining mix: watch the alignment tax"
    if getattr(settings, "max_new_tokens", 0) > 64:
        yield "max_new_tokens", settings.max_new_tokens // 2, "longer answers are cut off, or not ended"
    if getattr(settings, "max_length", 0) > 256:
        yield "max_length", settings.max_length // 2, "longer rows are left out, and counted"


def _nothing_helps(verb: str, settings: Any, cast: Cast, compute: torch.dtype, machine: Machine) -> Iterator[str]:
    need = need_of(verb, settings, cast, compute, machine)
    shape = max(cast.shapes.values(), key=lambda shape: shape.parameters)
    each = (need.peak - machine.program) / shape.parameters
    most = (machine.memory - machine.program) / each
    yield (
        f"no setting is enough: {in_bytes(need.peak)} are left, some {each:.0f} bytes for each of {shape.parameters:,} "
        f"parameters. A model of about {_round(most):,} parameters would fit"
    )
    larger = [name for name, gpu in GPUS.items() if need.peak <= gpu.memory]
    if larger:
        yield f"or a machine with more memory, such as {' or '.join(larger[-3:])}"
    if machine.gpus > 1:
        yield "more GPUs share the work and not the memory: each holds all of every model"


def _round(number: float) -> int:
    digits = max(0, len(str(int(number))) - 2)
    return int(number) // 10**digits * 10**digits
