"""Our GRPO: `train_grpo` itself, as `rather grpo` calls it, with a listener at the end of each iteration.

`grpo-update` gives it samples where it would draw some, as TRL is given them; `grpo` lets it draw. Only for workers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.generation import GRPO
from benchmarks.models import language_model, tokenizer
from benchmarks.ours import SHARES
from benchmarks.process import Turns, Work
from benchmarks.sizes import SIZES, Size, needed_flops
from benchmarks.workload import CLIP, EOS, KL, LEARNING_RATE, WORKLOADS, words, worth
from rather.batches.trees import Tokens, Tree
from rather.models.load import Policy
from rather.records import Prompt
from rather.rollout import Rollout, Sample, Sampling
from rather.run import Run
from rather.stages import grpo
from rather.stages.episodes import sample_shared
from rather.stages.grpo_config import GRPOConfig
from rather.stages.grpo_rewards import Rewards
from rather.stages.grpo_steps import group_logprobs
from rather.stages.passes import in_passes

ENDLESS = 1_000_000_000  # iterations: the harness ends them


def run(turns: Turns, *, task: str, size: str, seed: int, threads: int) -> None:
    shape = SIZES[size]
    drawn = Drawn(task, shape)
    sampler = drawn if task == "grpo" else Given(task, shape, WORKLOADS[task].trees(shape, seed))

    def iteration_done(number: int, logged: Mapping[str, Any]) -> None:
        if number > 1:
            turns.tick(sampler.work)
        elif task == "grpo":
            turns.ready(logged["policy/entropy_avg"], tokens=sampler.tokens)
        else:
            turns.ready(logged["loss/policy_avg"] + logged["loss/kl_avg"], logged["grad_norm"])

    train(task, shape, seed, sampler, iteration_done)


def train(task: str, size: Size, seed: int, sampler: Drawn, watch: Any, iterations: int = ENDLESS) -> None:
    """Checkpoints would come every `ENDLESS` iterations; TRL saves none either."""
    job = WORKLOADS[task]
    config = GRPOConfig(
        iterations=iterations,
        batch_size=job.per_step[size.name],
        minibatch_size=job.per_step[size.name],
        samples=job.responses,
        max_new_tokens=GRPO.new_tokens[size.name],
        kl_coef=KL,
        learning_rate=LEARNING_RATE,
        max_norm=CLIP,
        precision="bf16",
        row_budget=SHARES[size.name].budget,
        checkpoint_every=ENDLESS,
        seed=seed,
    )
    stops = (EOS, *GRPO.stops(size)) if task == "grpo" else (EOS,)
    policy = Policy(language_model(size, seed), tokenizer(size), stops)
    rewards = Rewards({"ones": 1.0}, models={"ones": lambda prompts, texts: [worth(text) for text in texts]})
    with (
        tempfile.TemporaryDirectory() as folder,
        Run.open(f"{folder}/run", config) as run,
        patch.object(grpo, "sample_shared", sampler),
    ):
        run.watch = watch
        grpo.train_grpo(policy, rewards, prompts_of(job.trees(size, seed), seed), [], run, config)


def prompts_of(trees: Sequence[Tree], seed: int) -> list[Prompt]:
    """So ordered that the stage, which shuffles, begins with the first batches of the workload."""
    place = in_passes(len(trees), 0, len(trees), f"{seed} prompts")
    ordered = dict(zip(place, trees, strict=True))
    return [Prompt(id=tree.key, prompt=words(tree.prompt)) for _, tree in sorted(ordered.items())]


class Drawn:
    """The stage's own sampler, and how much of a rollout it drew.

    work, tokens: of the last iteration
    """

    def __init__(self, task: str, size: Size) -> None:
        self.task, self.size = task, size
        self.work, self.tokens = Work(0, 0), 0

    def __call__(self, policy: Policy, prompts: Sequence[Tokens], sampling: Sampling, seeds: np.ndarray) -> Rollout:
        rollout = self.rollout(policy, prompts, sampling, seeds)
        self.work = Work(len(prompts), needed_flops(self.task, self.size, rollout.trees()))
        self.tokens = int(rollout.lengths.sum())
        return rollout

    def rollout(self, policy: Policy, prompts: Sequence[Tokens], sampling: Sampling, seeds: np.ndarray) -> Rollout:
        return sample_shared(policy, prompts, sampling, seeds)


class Given(Drawn):
    """Samples that are there already.

    Their log-probabilities are looked at once, by the self-test of the first iteration: in bfloat16 the stage computes
    them itself.
    """

    def __init__(self, task: str, size: Size, trees: Sequence[Tree]) -> None:
        super().__init__(task, size)
        self.known = {tree.prompt.tobytes(): tree for tree in trees}
        assert len(self.known) == len(trees), "each prompt has its own responses"
        self.tested = False

    def rollout(self, policy: Policy, prompts: Sequence[Tokens], sampling: Sampling, seeds: np.ndarray) -> Rollout:
        trees = [self.known[np.asarray(prompt, np.int32).tobytes()] for prompt in prompts]
        width = max(len(response) for tree in trees for response in tree.responses)
        table = np.zeros((len(trees) * sampling.samples, width), np.float32)  # (B, T)
        if not self.tested:
            table = group_logprobs(policy.model, trees, SHARES[self.size.name], width, sampling.temperature).numpy()
            self.tested = True
        samples = tuple(
            tuple(
                Sample(p, k, int(seeds[p, k]), response, table[p * sampling.samples + k, : len(response)], True)
                for k, response in enumerate(tree.responses)
            )
            for p, tree in enumerate(trees)
        )
        return Rollout(tuple(tree.prompt for tree in trees), samples, sampling.temperature)
