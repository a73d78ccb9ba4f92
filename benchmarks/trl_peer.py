"""TRL through its own trainers: `trainer.train()` runs, and a callback gives every step boundary to the harness.

A step is what lies between two `on_step_end`: fetching and collating the next batch, forward, backward, clipping,
optimizer, schedule and TRL's metrics. Nothing of TRL is written again here. Only imported in worker processes.
"""

from __future__ import annotations

import logging
import random
import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from transformers import Trainer, TrainerCallback
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from benchmarks.models import language_model, reward_model, tokenizer
from benchmarks.process import Turns, Work
from benchmarks.sizes import SIZES, Size, dpo_flops, ranking_flops, sft_flops
from benchmarks.workload import BETA, CLIP, LEARNING_RATE, PACKED_ROW, WORKLOADS, words
from rather.batches.trees import Tree

UNITS, FLOPS = "units", "flops"  # columns of ours beside TRL's


@dataclass(frozen=True)
class Settings:
    """What an expert would turn on a CPU."""

    weights: str  # "bf16" | "fp32 masters": autocast to bf16 over fp32 weights | "fp32"
    attention: str  # of transformers
    micro_batch: int | None = None  # examples per forward; None is the whole step
    packed_rows: int | None = None  # SFT only: rows of PACKED_ROW tokens per step instead of examples

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.weights == "bf16" else torch.float32


def run(turns: Turns, *, task: str, size: str, seed: int, threads: int, settings: dict[str, Any]) -> None:
    quiet()
    trainer, first = build(task, SIZES[size], seed, Settings(**settings))
    done = Done(trainer, task, SIZES[size])
    trainer.add_callback(AtEachStep(turns, done, lambda: first_batch(trainer, first)))
    trainer.train()


def quiet() -> None:
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    logging.getLogger("trl").setLevel(logging.ERROR)
    disable_progress_bar()
    transformers.logging.disable_progress_bar()


class AtEachStep(TrainerCallback):
    def __init__(self, turns: Turns, done: Done, first_batch: Callable[[], tuple[float, float]]) -> None:
        self.turns, self.done, self.first_batch = turns, done, first_batch

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.turns.ready(*self.first_batch())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.turns.tick(self.done.step())


class Done:
    """Counts the work of each batch as it is collated: the sampler chooses the examples, so only the batch knows."""

    def __init__(self, trainer: Trainer, task: str, size: Size) -> None:
        self.collate, self.micro_batches = trainer.data_collator, trainer.args.gradient_accumulation_steps
        self.task, self.size = task, size
        self.collated: deque[Work] = deque()  # one batch more than trained: the loader fetches ahead
        trainer.data_collator = self

    def __call__(self, examples: list[dict[str, Any]]) -> Any:
        batch = self.collate(examples)
        self.collated.append(sft_work(self.size, batch) if self.task == "sft" else shared_work(examples))
        return batch

    def step(self) -> Work:
        batches = [self.collated.popleft() for _ in range(self.micro_batches)]
        return Work(sum(work.units for work in batches), sum(work.flops for work in batches))


def sft_work(size: Size, batch: dict[str, Any]) -> Work:
    padded = "attention_mask" in batch  # a packed batch has no padding and no mask
    tokens = int(batch["attention_mask"].sum()) if padded else batch["input_ids"].numel()
    responses = int((batch["labels"] != -100).sum())
    return Work(tokens, sft_flops(size, tokens, responses))


def shared_work(examples: Sequence[dict[str, Any]]) -> Work:
    return Work(sum(example[UNITS] for example in examples), sum(example[FLOPS] for example in examples))


def build(task: str, size: Size, seed: int, settings: Settings) -> tuple[Trainer, list[dict[str, Any]]]:
    """The trainer, and the first batch of the workload in the order of the workload, whatever the sampler does."""
    workload = WORKLOADS[task]
    makers = {"sft": _sft, "dpo": _dpo, "dpo-known": partial(_dpo, known=True)}
    make = makers.get(task, _ranking)
    return make(workload.trees(size, seed), workload.per_step[size.name], size, seed, settings)


def arguments(per_step: int, seed: int, settings: Settings) -> dict[str, Any]:
    micro = settings.micro_batch or per_step
    assert per_step % micro == 0, f"micro-batches of {micro} do not make up a step of {per_step} examples"
    return {
        "output_dir": str(Path(tempfile.gettempdir()) / "rather-benchmarks"),  # nothing is saved
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": per_step // micro,
        "gradient_checkpointing": False,
        "bf16": settings.weights == "fp32 masters",  # autocast; bf16 weights need none
        "train_sampling_strategy": "random" if settings.packed_rows else "sequential",  # see by_length
        "remove_unused_columns": False,  # the collators pick theirs; UNITS and FLOPS must get through
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "max_grad_norm": CLIP,
        "max_steps": 1_000_000,
        "seed": seed,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "dataloader_drop_last": True,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def _sft(
    trees: list[Tree], per_step: int, size: Size, seed: int, settings: Settings
) -> tuple[Trainer, list[dict[str, Any]]]:
    rows = []
    for tree in trees:
        prompt, response = tree.prompt.tolist(), tree.responses[0].tolist()
        rows.append({"input_ids": prompt + response, "labels": [-100] * len(prompt) + response})
    order = by_length([tree.size for tree in trees], per_step, seed)
    packed = settings.packed_rows is not None
    args = SFTConfig(
        packing=packed,
        max_length=PACKED_ROW,
        **arguments(settings.packed_rows or per_step, seed, settings),
    )
    model = language_model(size, seed, settings.attention, settings.dtype)
    dataset = Dataset.from_list([rows[index] for index in order])
    return SFTTrainer(model, args, train_dataset=dataset, processing_class=tokenizer(size)), rows[:per_step]


def _ranking(
    trees: list[Tree], per_step: int, size: Size, seed: int, settings: Settings
) -> tuple[Trainer, list[dict[str, Any]]]:
    """TRL trains a reward model on pairs: a ranking of K becomes its K(K-1)/2."""
    rows = []
    for tree in trees:
        texts = [tree.prompt.tolist() + response.tolist() for response in tree.responses]
        pairs = list(combinations(texts, 2))  # responses stand best first
        share = {UNITS: 1 / len(pairs), FLOPS: ranking_flops(size, tree) / len(pairs)}
        rows += [{"chosen_ids": chosen, "rejected_ids": rejected, **share} for chosen, rejected in pairs]
    per_step *= len(pairs)
    order = by_length([max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in rows], per_step, seed)
    args = RewardConfig(max_length=None, **arguments(per_step, seed, settings))
    model = reward_model(size, seed, settings.attention, settings.dtype)
    dataset = Dataset.from_list([rows[index] for index in order])
    return RewardTrainer(model, args, train_dataset=dataset, processing_class=tokenizer(size)), rows[:per_step]


def _dpo(
    trees: list[Tree], per_step: int, size: Size, seed: int, settings: Settings, known: bool = False
) -> tuple[Trainer, list[dict[str, Any]]]:
    """DPOTrainer tokenizes by itself, so it gets words; one word is one token, so the ids are those of the trees.

    known: it reads all pairs with the reference, which is then the policy as it begins, before the first step
    """
    rows = []
    for tree in trees:
        chosen, rejected = tree.responses
        rows.append(
            {
                "prompt": words(tree.prompt),
                "chosen": " " + words(chosen),
                "rejected": " " + words(rejected),
                UNITS: 1.0,
                FLOPS: dpo_flops(size, tree, known),
            }
        )
    args = DPOConfig(max_length=None, beta=BETA, precompute_ref_log_probs=known, **arguments(per_step, seed, settings))
    policy = language_model(size, seed, settings.attention, settings.dtype)
    reference = None if known else language_model(size, seed, settings.attention, settings.dtype)
    order = by_length([tree.longest for tree in trees], per_step, seed)
    dataset = Dataset.from_list([rows[index] for index in order])
    trainer = DPOTrainer(policy, reference, args, train_dataset=dataset, processing_class=tokenizer(size))
    tokenized: Any = trainer.train_dataset
    return trainer, [tokenized[order.index(index)] for index in range(per_step)]


def by_length(lengths: Sequence[int], per_step: int, seed: int) -> list[int]:
    """Indices, so that each step's examples are of like length and the steps follow in no order of length.

    transformers' `group_by_length` begins with the longest, which in a short run would be all it trains on.
    """
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    steps = [order[start : start + per_step] for start in range(0, len(order), per_step)]
    random.Random(seed).shuffle(steps)
    return [index for step in steps for index in step]


def first_batch(trainer: Trainer, examples: list[dict[str, Any]]) -> tuple[float, float]:
    """Loss and gradient norm of the first batch through TRL's own training step, weights left as they were."""
    micro = trainer.args.per_device_train_batch_size
    collate = trainer.data_collator.collate if isinstance(trainer.data_collator, Done) else trainer.data_collator
    batches = [collate(examples[start : start + micro]) for start in range(0, len(examples), micro)]
    labels = [batch["labels"] for batch in batches if "labels" in batch]  # SFT divides by the step's response tokens
    trained = torch.stack([(label[:, 1:] != -100).sum() for label in labels]).sum() if labels else None
    model = trainer.model
    assert model is not None, "the trainer was built from a model"
    trainer.current_gradient_accumulation_steps = len(batches)
    loss = sum(trainer.training_step(model, batch, trained).item() for batch in batches)
    return loss, gradient_norm(model)


def gradient_norm(model: torch.nn.Module) -> float:
    """Of what was gathered, which is then forgotten."""
    norms = [parameter.grad.float().norm() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    return torch.stack(norms).norm().item()
