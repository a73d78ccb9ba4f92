"""Our steps, by the functions that the stages call: trees, float32 masters under a bfloat16 copy. Only for workers.

As in the stages, what does not change from epoch to epoch is made once, before the first step: trees, judged elements
and, in `dpo-known`, what the reference says. The numbers that a stage logs of each batch are part of its step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

import numpy as np
import torch

from benchmarks.models import language_model, reward_model
from benchmarks.process import Turns, Work
from benchmarks.sizes import SIZES, Size, needed_flops
from benchmarks.workload import BETA, CLIP, LEARNING_RATE, WORKLOADS
from rather.batches.trees import Tree
from rather.models.heads import RewardModel
from rather.models.logprobs import use_trees
from rather.stages import dpo_steps, reward_loss
from rather.stages.dpo_steps import Preferring, preference_gradients, tree_logprobs
from rather.stages.optim import Adam
from rather.stages.reward_data import Judged
from rather.stages.reward_loss import Comparing, reward_gradients
from rather.stages.steps import Share, sft_gradients

SHARES = {"mini": Share(4096), "gpt2": Share(1024)}  # tokens per row

Batches = Sequence[list[Tree]]
Learner = tuple[Callable[[int], float], Adam]  # leaves the gradients of a batch, by its number, with the Adam


def run(turns: Turns, *, task: str, size: str, seed: int, threads: int) -> NoReturn:
    workload, shape = WORKLOADS[task], SIZES[size]
    batches = workload.batches(shape, seed)
    works = [Work(workload.units(batch), needed_flops(task, shape, batch)) for batch in batches]
    gradients, adam = LEARNERS[task](shape, batches, seed)
    turns.ready(gradients(0), norm_of(adam))
    for number in itertools.cycle(range(len(batches))):
        gradients(number)
        adam.step(LEARNING_RATE, max_norm=CLIP)
        turns.tick(works[number])
    raise AssertionError("a cycle does not end")


def norm_of(adam: Adam) -> float:
    """The gradient norm of what was gathered, by an update that moves nothing; the moments forget it again."""
    norm = adam.step(0.0)
    adam.steps = 0
    for moment in (*adam.means, *adam.squares):
        moment.zero_()
    return norm


def sft(size: Size, batches: Batches, seed: int) -> Learner:
    model = language_model(size, seed).train()
    use_trees(model)
    adam = Adam(model, compute=torch.bfloat16)
    return lambda number: sft_gradients(model, batches[number], SHARES[size.name]), adam


def ranking(size: Size, batches: Batches, seed: int) -> Learner:
    model = with_bias(reward_model(size, seed)).train()
    use_trees(model.body)
    adam = Adam(model, compute=torch.bfloat16)
    judged = best_first(batches)
    once, share, tie = np.ones((len(judged[0]), 1), dtype=np.float32), SHARES[size.name], torch.zeros(())

    def gradients(number: int) -> float:
        loss, scores = reward_gradients(model, judged[number], once, Comparing(), tie, share)
        reward_loss.summary(judged[number], scores)
        return loss

    return gradients, adam


def dpo(size: Size, batches: Batches, seed: int, known: bool) -> Learner:
    """known: the reference has read every batch before the first step; it is the policy as it begins, as in the stage.

    Otherwise a second model reads each batch in its step, which is what a run of one epoch computes all in all.
    """
    policy = language_model(size, seed).train()
    use_trees(policy)
    adam = Adam(policy, compute=torch.bfloat16)
    judged, share, how = best_first(batches), SHARES[size.name], Preferring(beta=BETA)
    reference = policy
    if not known:
        reference = language_model(size, seed, dtype=torch.bfloat16)
        use_trees(reference)
    kept = [tree_logprobs(reference, batch, share) for batch in batches] if known else []

    def gradients(number: int) -> float:
        ref = kept[number] if known else tree_logprobs(reference, batches[number], share)  # (B, K)
        found = preference_gradients(policy, judged[number], ref, how, share)
        dpo_steps.summary(judged[number], found.logps, ref, how)
        return found.loss

    return gradients, adam


def best_first(batches: Batches) -> list[list[Judged]]:
    """The trees' responses stand best first; one ranking says so."""

    def element(tree: Tree) -> Judged:
        ranks = np.arange(1, len(tree.responses) + 1)[None]
        return Judged(tree, ranks, np.full(ranks.shape, np.nan), (), ())

    return [[element(tree) for tree in batch] for batch in batches]


def with_bias(plain: Any) -> RewardModel:
    """The same weights with a bias of 0, of which no comparison has a gradient."""
    head = torch.nn.Linear(plain.score.in_features, 1)
    head.weight.data.copy_(plain.score.weight.data)
    torch.nn.init.zeros_(head.bias)
    head.bias.requires_grad_(False)
    return RewardModel(plain.base_model, head)


LEARNERS: dict[str, Callable[[Size, Batches, int], Learner]] = {
    "sft": sft,
    "rank4": ranking,
    "rank9": ranking,
    "dpo": partial(dpo, known=False),
    "dpo-known": partial(dpo, known=True),
}
