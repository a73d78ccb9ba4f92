"""What is compared. A later stage (PPO) is one more entry of `TASKS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

from benchmarks.generation import GENERATIONS, GRPO
from benchmarks.process import System
from benchmarks.sizes import Size, group_flops, needed_flops
from benchmarks.workload import PACKED_ROW, PROMPT_MEAN, RESPONSE_MEAN, WORKLOADS


@dataclass(frozen=True)
class Task:
    """ours and each peer are called as entry(turns, task=name, size=name, seed=..., threads=..., **settings)."""

    name: str
    unit: str
    flops_per_unit: Callable[[Size], float]  # needed work of an average unit
    ours: System
    peer: str  # the package, for its version
    peers: Callable[[Size], Sequence[System]]  # its candidate settings, the one expected to be best first


def _trl(name: str, **settings: Any) -> System:
    return System(name, "benchmarks.trl_peer:run", {"settings": settings})


def sft_peers(size: Size) -> list[System]:
    """Candidates and why they are there: docs/benchmarks.md."""
    step = WORKLOADS["sft"].per_step[size.name]
    rows = round(step * (PROMPT_MEAN + RESPONSE_MEAN) / PACKED_ROW)  # that hold about as much as a step's examples
    return [
        _trl("bf16, eager, sorted", weights="bf16", attention="eager"),
        _trl("bf16, eager, packed", weights="bf16", attention="eager", micro_batch=1, packed_rows=rows),
        _trl("bf16, eager, sorted, quarter steps", weights="bf16", attention="eager", micro_batch=step // 4),
        _trl("bf16, sdpa, sorted", weights="bf16", attention="sdpa"),
        _trl("fp32 masters, eager, sorted", weights="fp32 masters", attention="eager"),
        _trl("fp32, sdpa, sorted", weights="fp32", attention="sdpa"),
    ]


def ranking_peers(task: str) -> Callable[[Size], list[System]]:
    def peers(size: Size) -> list[System]:
        workload = WORKLOADS[task]
        pairs = workload.per_step[size.name] * comb(workload.responses, 2)  # of one step: 12 to 144
        small = min(12, pairs // 2)
        return [
            _trl("bf16, eager, sorted, small", weights="bf16", attention="eager", micro_batch=small),
            _trl("bf16, eager, sorted, larger", weights="bf16", attention="eager", micro_batch=min(36, pairs)),
            _trl("bf16, sdpa, sorted, small", weights="bf16", attention="sdpa", micro_batch=small),
            _trl("fp32 masters, eager, sorted, small", weights="fp32 masters", attention="eager", micro_batch=small),
            _trl("fp32, sdpa, sorted, small", weights="fp32", attention="sdpa", micro_batch=small),
        ]

    return peers


def dpo_peers(size: Size) -> list[System]:
    step = WORKLOADS["dpo"].per_step[size.name]
    return [
        _trl("bf16, eager, sorted", weights="bf16", attention="eager"),
        _trl("bf16, eager, sorted, quarter steps", weights="bf16", attention="eager", micro_batch=step // 4),
        _trl("bf16, sdpa, sorted", weights="bf16", attention="sdpa"),
        _trl("fp32 masters, eager, sorted", weights="fp32 masters", attention="eager"),
        _trl("fp32, sdpa, sorted", weights="fp32", attention="sdpa"),
    ]


def _grpo(name: str, groups: int | None, weights: str, attention: str, **others: Any) -> System:
    """groups: in one forward; None is the whole step"""
    micro_batch = None if groups is None else groups * GRPO.samples
    settings = {"weights": weights, "attention": attention, "micro_batch": micro_batch}
    return System(name, "benchmarks.trl_grpo:run", {"settings": settings, **others})


def update_peers(size: Size) -> list[System]:
    """Of GRPO with given samples. Candidates and why they are there: docs/benchmarks.md."""
    return [
        _grpo("bf16, eager, sorted, group by group", 1, "bf16", "eager", apart=True),
        _grpo("bf16, eager, sorted, two groups at a time", 2, "bf16", "eager", apart=True),
        _grpo("bf16, eager, sorted", None, "bf16", "eager"),
        _grpo("bf16, sdpa, sorted, group by group", 1, "bf16", "sdpa", apart=True),
        _grpo("fp32 masters, eager, sorted, group by group", 1, "fp32 masters", "eager", apart=True),
        _grpo("fp32, sdpa, sorted, group by group", 1, "fp32", "sdpa", apart=True),
    ]


def grpo_peers(size: Size) -> list[System]:
    """Of GRPO that draws its samples: all of a step at once, and then learns from two groups at a time."""
    return [
        _grpo("bf16, eager, static cache", 2, "bf16", "eager", cache="static"),
        _grpo("bf16, eager, dynamic cache", 2, "bf16", "eager", cache="dynamic"),
        _grpo("bf16, sdpa, static cache", 2, "bf16", "sdpa", cache="static"),
        _grpo("bf16, eager, static cache, all groups in one forward", None, "bf16", "eager", cache="static"),
        _grpo("bf16, eager, static cache, two groups drawn at a time", 2, "bf16", "eager", cache="static", apart=True),
        _grpo("bf16, eager, continuous batching", 2, "bf16", "eager", cache="continuous"),
        _grpo("fp32 masters, eager, static cache", 2, "fp32 masters", "eager", cache="static"),
        _grpo("fp32, sdpa, static cache", 2, "fp32", "sdpa", cache="static"),
    ]


def _of_workload(
    name: str, unit: str, peers: Callable[[Size], Sequence[System]], ours: str = "benchmarks.ours:run"
) -> Task:
    workload = WORKLOADS[name]

    def flops_per_unit(size: Size) -> float:
        trees = workload.trees(size, seed=0)
        return needed_flops(name, size, trees) / workload.units(trees)

    return Task(name, unit, flops_per_unit, System("ours", ours), "trl", peers)


def drawn_group_flops(size: Size) -> float:
    """Of an average group that GRPO draws itself."""
    trees = WORKLOADS["grpo"].trees(size, seed=0)
    lengths = [GRPO.mean_length(size)] * GRPO.samples
    return sum(group_flops(size, len(tree.prompt), lengths, drawn=True) for tree in trees) / len(trees)


def generation_peers(size: Size) -> list[System]:
    return [
        System("generate, static cache", "benchmarks.generate:peer", {"cache": "static"}),
        System("generate, dynamic cache", "benchmarks.generate:peer", {"cache": "dynamic"}),
        System("continuous batching", "benchmarks.generate:peer", {"cache": "continuous"}),
    ]


def _of_generation(name: str) -> Task:
    job = GENERATIONS[name]
    ours = System("ours", "benchmarks.generate:ours")
    return Task(name, "tokens/s", job.flops_per_token, ours, "transformers", generation_peers)


TASKS = {
    task.name: task
    for task in (
        _of_workload("sft", "tokens/s", sft_peers),
        _of_workload("rank4", "rankings/s", ranking_peers("rank4")),
        _of_workload("rank9", "rankings/s", ranking_peers("rank9")),
        _of_workload("dpo", "pairs/s", dpo_peers),
        _of_workload("dpo-known", "pairs/s", dpo_peers),
        _of_workload("grpo-update", "groups/s", update_peers, "benchmarks.ours_grpo:run"),
        Task("grpo", "groups/s", drawn_group_flops, System("ours", "benchmarks.ours_grpo:run"), "trl", grpo_peers),
        *map(_of_generation, GENERATIONS),
    )
}
