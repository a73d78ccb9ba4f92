"""Our steps, as the stages make them: trees, float32 masters under a bfloat16 working copy. Only for workers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import NoReturn

import torch

from benchmarks.models import language_model, reward_model
from benchmarks.process import Turns, Work
from benchmarks.sizes import SIZES, Size, needed_flops
from benchmarks.workload import BETA, CLIP, LEARNING_RATE, WORKLOADS
from rather.batches.trees import Tree
from rather.losses import dpo_loss
from rather.models.logprobs import use_trees
from rather.stages.optim import Adam
from rather.stages.steps import Share, dpo_gradients, ranking_gradients, sft_gradients

SHARES = {"mini": Share(4096), "gpt2": Share(1024)}  # tokens per row

Gradients = Callable[[list[Tree]], float]


def run(turns: Turns, *, task: str, size: str, seed: int, threads: int) -> NoReturn:
    workload, shape = WORKLOADS[task], SIZES[size]
    batches = workload.batches(shape, seed)
    works = [Work(workload.units(batch), needed_flops(task, shape, batch)) for batch in batches]
    make = {"sft": sft, "dpo": dpo}.get(task, ranking)
    gradients, adam = make(shape, seed)
    turns.ready(gradients(batches[0]), norm_of(adam))
    for batch, work in itertools.cycle(zip(batches, works, strict=True)):
        gradients(batch)
        adam.step(LEARNING_RATE, max_norm=CLIP)
        turns.tick(work)
    raise AssertionError("a cycle does not end")


def norm_of(adam: Adam) -> float:
    """The gradient norm of what was gathered, by an update that moves nothing; the moments forget it again."""
    norm = adam.step(0.0)
    adam.steps = 0
    for moment in (*adam.means, *adam.squares):
        moment.zero_()
    return norm


def sft(size: Size, seed: int) -> tuple[Gradients, Adam]:
    model = language_model(size, seed).train()
    use_trees(model)
    adam = Adam(model, compute=torch.bfloat16)
    return partial(sft_gradients, model, share=SHARES[size.name]), adam


def ranking(size: Size, seed: int) -> tuple[Gradients, Adam]:
    model = reward_model(size, seed).train()
    body = model.base_model
    use_trees(body)
    adam = Adam(model, compute=torch.bfloat16)

    def gradients(trees: list[Tree]) -> float:
        best_first = [range(1, len(tree.responses) + 1) for tree in trees]
        return ranking_gradients(body, lambda last: model.score(last)[:, 0], trees, best_first, SHARES[size.name])

    return gradients, adam


def dpo(size: Size, seed: int) -> tuple[Gradients, Adam]:
    policy, reference = language_model(size, seed).train(), language_model(size, seed, dtype=torch.bfloat16)
    for model in (policy, reference):
        use_trees(model)
    adam = Adam(policy, compute=torch.bfloat16)
    pair_loss = partial(dpo_loss, beta=BETA)
    return partial(dpo_gradients, policy, reference, pair_loss=pair_loss, share=SHARES[size.name]), adam
