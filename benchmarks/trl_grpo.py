"""TRL's GRPOTrainer, through `trainer.train()` as in `trl_peer`. Only imported in worker processes.

`grpo-update` gives it samples by its `rollout_func`; `grpo` lets it generate. A step is one optimizer update, with all
that belongs to it: generating, decoding, rewarding, the reference, the loss. Its reward function counts the work.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from benchmarks.generation import GRPO
from benchmarks.models import language_model, tokenizer
from benchmarks.process import Turns, Work
from benchmarks.sizes import SIZES, Size, group_flops
from benchmarks.trl_peer import Settings, arguments, by_length, gradient_norm, quiet
from benchmarks.workload import EOS, KL, LONGEST, WORKLOADS, words, worth
from rather.batches.trees import Tree

PAGE = 32  # tokens, of continuous batching


def run(
    turns: Turns,
    *,
    task: str,
    size: str,
    seed: int,
    threads: int,
    settings: dict[str, Any],
    cache: str = "dynamic",
    apart: bool = False,
) -> None:
    """cache: of `generate`, "dynamic" or "static", or "continuous" batching

    apart: each micro-batch is put together, and padded, by itself; otherwise all responses of a step are
    """
    quiet()
    judge = Judge(task, SIZES[size])
    trainer, first = build(task, SIZES[size], seed, Settings(**settings), judge, cache, apart)
    trainer.add_callback(AtEachStep(turns, judge, lambda: first_batch(trainer, first), task))
    trainer.train()


class Judge:
    """The reward, and the work of what it was shown since it was last asked."""

    __name__ = "ones"  # TRL asks every reward function for one

    def __init__(self, task: str, size: Size) -> None:
        self.task, self.size = task, size
        self.groups, self.flops, self.tokens = 0.0, 0.0, 0

    def __call__(
        self, prompts: list[str], completions: list[str], completion_ids: list[list[int]], **_: Any
    ) -> list[float]:
        each = WORKLOADS[self.task].responses
        for at in range(0, len(prompts), each):
            lengths = [len(ids) for ids in completion_ids[at : at + each]]
            self.flops += group_flops(self.size, len(prompts[at].split()), lengths, drawn=self.task == "grpo")
            self.tokens += sum(lengths)
        self.groups += len(prompts) / each
        return [worth(text) for text in completions]

    def work(self) -> Work:
        found = Work(self.groups, self.flops)
        self.groups, self.flops, self.tokens = 0.0, 0.0, 0
        return found


class AtEachStep(TrainerCallback):
    def __init__(
        self, turns: Turns, judge: Judge, first_batch: Callable[[], tuple[float, float, float]], task: str
    ) -> None:
        self.turns, self.judge, self.first_batch, self.task = turns, judge, first_batch, task

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        loss, norm, entropy = self.first_batch()
        tokens = self.judge.tokens
        self.judge.work()
        self.turns.ready(entropy, tokens=tokens) if self.task == "grpo" else self.turns.ready(loss, norm)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.turns.tick(self.judge.work())


def build(
    task: str, size: Size, seed: int, settings: Settings, judge: Judge, cache: str = "dynamic", apart: bool = False
) -> tuple[GRPOTrainer, list[dict[str, Any]]]:
    """The trainer, and the first batch of the workload: each prompt once for each of its responses."""
    job = WORKLOADS[task]
    trees, groups, each = job.trees(size, seed), job.per_step[size.name], job.responses
    common = arguments(groups * each, seed, settings)
    room = GRPO.new_tokens[size.name]
    args = GRPOConfig(
        **common,
        num_generations=each,
        num_iterations=1,
        steps_per_generation=1 if apart else common["gradient_accumulation_steps"],
        max_completion_length=room,
        beta=KL,
        loss_type="grpo",
        shuffle_dataset=False,  # see by_length
        cache_implementation="static" if cache == "static" else None,
        use_transformers_continuous_batching=cache == "continuous",
        transformers_continuous_batching_config=continuous(groups * each, room) if cache == "continuous" else None,
    )
    order = by_length([tree.longest if task == "grpo-update" else len(tree.prompt) for tree in trees], groups, seed)
    rows = [{"prompt": words(tree.prompt)} for tree in trees]
    model = language_model(size, seed, settings.attention, settings.dtype)
    model.generation_config.eos_token_id = [EOS, *GRPO.stops(size)] if task == "grpo" else EOS
    with tempfile.TemporaryDirectory() as folder:  # from where TRL loads its reference
        model.save_pretrained(folder)
        model.config._name_or_path = folder
        os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"  # rollout_func is called that
        trainer = GRPOTrainer(
            model,
            [judge],
            args,
            train_dataset=Dataset.from_list([rows[index] for index in order]),
            processing_class=tokenizer(size),
            rollout_func=Given(trees) if task == "grpo-update" else None,
        )
    return trainer, [row for row in rows[:groups] for _ in range(each)]


class Given:
    """TRL's `rollout_func`: the samples that are there already."""

    def __init__(self, trees: Sequence[Tree]) -> None:
        self.known = {
            words(tree.prompt): (tree.prompt.tolist(), [response.tolist() for response in tree.responses])
            for tree in trees
        }

    def __call__(self, prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
        """prompts: each as often as it has responses, one after the other"""
        groups = [self.known[prompt] for prompt in dict.fromkeys(prompts)]
        return {
            "prompt_ids": [prompt for prompt, responses in groups for _ in responses],
            "completion_ids": [response for _, responses in groups for response in responses],
            "logprobs": None,
        }


def continuous(sequences: int, room: int) -> dict[str, Any]:
    """Pages for all sequences of a step: left to itself it takes most of the machine's memory, and reads it all."""
    return {
        "page_size": PAGE,
        "num_blocks": sequences * -(-(LONGEST + room) // PAGE),
        "max_batch_tokens": 512,
        "max_requests_per_batch": sequences,
    }


def first_batch(trainer: GRPOTrainer, examples: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Loss, gradient norm and entropy of the first batch through TRL's own training step, weights left as they were."""
    args, model = trainer.args, trainer.model
    assert model is not None, "the trainer was built from a model"
    model.train()
    together = args.per_device_train_batch_size * args.steps_per_generation
    trainer.current_gradient_accumulation_steps = args.gradient_accumulation_steps
    losses = [
        trainer.training_step(model, examples[start : start + together], None).item()
        for start in range(0, len(examples), together)
        for _ in range(args.steps_per_generation)  # it splits them itself
    ]
    entropies = trainer._metrics["train"]["entropy"]
    return sum(losses), gradient_norm(model), sum(entropies) / len(entropies)
