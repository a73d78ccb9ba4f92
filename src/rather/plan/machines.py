"""The machine that a plan is for: this one, measured for some ten seconds, or a GPU of a name, by its data sheet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from rather import limits, machine
from rather.errors import BadSetting, nearest
from rather.plan.shapes import Shape
from rather.plan.speed import Rates, measured
from rather.plan.work import Work

SECONDS = 2.5  # of measuring, for each model
# On a CPU a run's peak was this much above its tensors and the planning process: what the allocator keeps of small
# pieces, and libraries that only a run loads. Five small runs: -130 to +250 MB (docs/plan.md).
KEPT_BY_ALLOCATOR = 250_000_000


@dataclass(frozen=True)
class GPU:
    """peak: dense bf16, floating point operations a second     bandwidth: of its memory, bytes a second
    link: what a GPU can send to its neighbours in one direction, bytes a second"""

    memory: float
    peak: float
    bandwidth: float
    link: float


# From the makers' data sheets: dense products in bf16 with sums in fp32.
GPUS: Mapping[str, GPU] = {
    "B200": GPU(180e9, 2250e12, 8.0e12, 900e9),
    "H200": GPU(141e9, 989e12, 4.8e12, 450e9),
    "H100": GPU(80e9, 989e12, 3.35e12, 450e9),
    "A100-80": GPU(80e9, 312e12, 2.04e12, 300e9),
    "A100-40": GPU(40e9, 312e12, 1.56e12, 300e9),
    "L40S": GPU(48e9, 362e12, 0.864e12, 32e9),
    "L4": GPU(24e9, 121e12, 0.3e12, 32e9),
    "RTX4090": GPU(24e9, 165e12, 1.01e12, 32e9),
}
# What of a data sheet is to be expected of transformers' forward without graphs. Assumed, not measured.
OF_PEAK, OF_BANDWIDTH, LAUNCHES = 0.3, 0.6, 0.7e-3  # share, share, seconds of a layer however small it is


@dataclass
class Machine:
    """memory: bytes that may be used     program: bytes beside the tensors, 0 on a GPU
    rates: whether time is estimated at all"""

    name: str
    memory: int
    program: int
    gpus: int = 1
    gpu: GPU | None = None
    rates: bool = True
    measured: dict[tuple[int | str, ...], Rates] = field(default_factory=dict)

    def compute(self, setting: str) -> torch.dtype:
        if self.gpu is not None:
            return torch.float32 if setting == "fp32" else torch.bfloat16
        return machine.precision(setting)

    def seconds(self, work: Work, compute: torch.dtype, settings: Any) -> float:
        budget, slots = getattr(settings, "row_budget", 2048), getattr(settings, "slots", 64)
        if self.gpu is not None:
            return _by_data_sheet(work, self.gpu, self.gpus, compute, budget)
        shape = work.shape
        key = (shape.parameters, shape.layers, shape.hidden, shape.vocabulary, str(compute))
        if key not in self.measured:
            self.measured[key] = measured(work.shape, compute, budget, slots, SECONDS)
        return self.measured[key].seconds(work)

    def to_dict(self) -> dict[str, Any]:
        gpu = self.gpu and {"peak": self.gpu.peak, "bandwidth": self.gpu.bandwidth, "link": self.gpu.link}
        return {"name": self.name, "memory": self.memory, "gpus": self.gpus, "gpu": gpu, "estimate": gpu is not None,
                "measured": [rates.to_dict() for rates in self.measured.values()]}  # fmt: skip


def this_machine(rates: bool = True) -> Machine:
    words = Path("/proc/self/statm").read_text().split() if Path("/proc/self/statm").exists() else ["0", "0"]
    held = int(words[1]) * 4096
    memory = limits.memory()
    found = limits.processor()
    return Machine(
        f"this machine ({found.model}, {limits.cores()} cores)",
        memory.available + held,
        held + KEPT_BY_ALLOCATOR,
        rates=rates,
    )


def named_gpu(name: str, count: int, rates: bool = True) -> Machine:
    known = {known.lower().replace("-", ""): known for known in GPUS}
    key = known.get(name.lower().replace("-", "").replace(" ", ""))
    if key is None:
        raise BadSetting(f"There is no GPU {name!r} in the table.{nearest(name, GPUS)}", f"Known: {', '.join(GPUS)}.")
    gpu = GPUS[key]
    return Machine(f"{count} x {key}" if count > 1 else key, int(gpu.memory), 0, count, gpu, rates)


def _by_data_sheet(work: Work, gpu: GPU, count: int, compute: torch.dtype, budget: int) -> float:
    """Stages are replicated: each GPU holds all of every model and takes its share of the rows and of the prompts."""
    shape, size = work.shape, compute.itemsize
    peak = gpu.peak * OF_PEAK * (1.0 if size == 2 else 0.5)
    if work.kind == "update":
        moved = 28 * shape.parameters / (gpu.bandwidth * OF_BANDWIDTH)
        summed = 2 * (count - 1) / count * 4 * shape.parameters / (gpu.link * OF_BANDWIDTH)
        return work.count * (moved + summed)
    passes = 3 if work.kind == "train" else 1  # a backward is two forwards
    flops = forward_flops(shape, work.context) * passes
    if work.kind != "decode":
        return work.count / count * max(flops / peak, passes * shape.layers * LAUNCHES / budget)
    read = size * shape.parameters + work.slots * work.context * shape.cached(size)
    step = max(read / (gpu.bandwidth * OF_BANDWIDTH), work.slots * flops / peak, shape.layers * LAUNCHES)
    return work.count / count / work.slots * step


def forward_flops(shape: Shape, context: float) -> float:
    """Of one token: two for each parameter it meets, and the products of attention over half of what is behind it."""
    return 2 * shape.multiplied + 2 * context * shape.layers * shape.heads * shape.head_size
