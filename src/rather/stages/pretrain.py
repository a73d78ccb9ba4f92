"""Before step 1: a tiny base model from nothing, so that the whole story can be told on a laptop.

Next-token prediction on rows of packed documents. The optimiser, the schedule and the sizes are measured for models of
0.1 to 16 million parameters on a web of a few million tokens; nobody should pretrain a real model with them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, islice
from typing import Any, Literal

import torch
from pydantic import Field

from rather import checkpoint, machine
from rather.batches.encoding import Encoder
from rather.batches.trees import Tree
from rather.config import Config
from rather.models.load import Policy, save_policy
from rather.models.logprobs import use_trees
from rather.models.tiny import TinyConfig, tiny
from rather.parallel import all_reduce_in_place, global_sum, world
from rather.run import Run
from rather.stages.answers import Measure
from rather.stages.muon import OPTIMIZERS, Optimizer
from rather.stages.schedules import warm_then_linear
from rather.stages.steps import Share, sft_gradients, sft_loss

Size = Literal["xs", "s", "m", "l"]

# The ladder. l has 138 times the parameters of xs, as the paper's 175B has 135 times those of its 1.3B.
CONTEXT = 192  # holds every prompt of the miniature world with its response, and a few solved questions before it
LADDER: Mapping[str, TinyConfig] = {
    "xs": TinyConfig(vocabulary=2048, hidden=40, layers=2, heads=2, mlp=96, context=CONTEXT, template="page"),
    "s": TinyConfig(vocabulary=2048, hidden=128, layers=4, heads=4, mlp=352, context=CONTEXT, template="page"),
    "m": TinyConfig(vocabulary=2048, hidden=256, layers=4, heads=4, mlp=704, context=CONTEXT, template="page"),
    "l": TinyConfig(vocabulary=2048, hidden=384, layers=6, heads=6, mlp=1728, context=CONTEXT, template="page"),
}
RATES: Mapping[str, float] = {"xs": 6e-3, "s": 3e-3, "m": 2e-3, "l": 1.5e-3}  # found under Adam: docs/pretraining.md
TOKENS: Mapping[str, int] = {"xs": 10_000_000, "s": 10_000_000, "m": 10_000_000, "l": 4_000_000}
ROWS: Mapping[str, int] = {"xs": 10, "s": 10, "m": 10, "l": 8}  # of 192 tokens in a batch
FOR_TOKENIZER = 5_000_000  # characters of text that the tokenizer is trained on


class PretrainConfig(Config):
    """A base model from nothing. None of it is in the paper, whose base is GPT-3."""

    size: Size = Field("s", description="xs 0.12M, s 1.1M, m 4.1M, l 16M parameters")
    texts: str = Field("marn", description="a world (marn, marn:SEED) or a file of texts")
    tokens: int | None = Field(None, ge=1000, description="to train on; none: 10M, and 4M for l")
    learning_rate: float | None = Field(None, gt=0, description="peak; none: 6e-3 xs, 3e-3 s, 2e-3 m, 1.5e-3 l")
    batch_size: int | None = Field(None, ge=1, description="rows of 192 tokens; none: 10, and 8 for l")
    optimizer: Optimizer = Field("muon", description="of the matrices; the rest is always Adam's")
    warmup: int = Field(100, ge=0, description="steps up to the peak")
    decay: float = Field(0.25, ge=0, le=1, description="share of the steps at the end in which the rate falls to 3 %")
    max_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="of the large products; masters are fp32")
    evaluate_every: int = Field(250, ge=1, description="steps between measurements")
    validation_tokens: int = Field(50_000, ge=1000, description="of text the model never trains on")
    checkpoint_every: int = Field(250, ge=1, description="steps between checkpoints")
    row_budget: int = Field(4096, ge=CONTEXT, description="tokens in one forward; changes speed, not the result")
    seed: int = Field(0, ge=0, description="of the weights and of the order of the rows")


def new_policy(config: PretrainConfig, texts: Iterable[str]) -> Policy:
    """A tokenizer trained on the first texts, and weights drawn with the seed."""
    chosen: list[str] = []
    size = 0
    for text in texts:
        if size >= FOR_TOKENIZER:
            break
        chosen.append(text)
        size += len(text)
    return tiny(LADDER[config.size], chosen, torch.Generator().manual_seed(config.seed))


def windows(policy: Policy, texts: Iterable[str], tokens: int) -> list[Tree]:
    """Documents back to back, in rows of the model's context, as many as hold that many predicted tokens."""
    length = policy.model.config.max_position_embeddings
    encoder = Encoder(policy.tokenizer, None)
    return list(islice(encoder.windows(texts, length), max(1, tokens // (length - 1))))


def pretrain(
    policy: Policy,
    rows: Sequence[Tree],
    validation: Sequence[Tree],
    run: Run,
    config: PretrainConfig,
    measure: Measure | None = None,
) -> dict[str, Any]:
    """Each row is trained on once, in a shuffled order.

    measure: what else to log of the policy as it learns, such as the benchmarks of a world
    """
    model, device = policy.model, next(policy.model.parameters()).device
    share = Share(config.row_budget, *world(), device)
    use_trees(model)
    optimizer = OPTIMIZERS[config.optimizer](model, compute=machine.precision(config.precision, device.type))
    order = random.Random(config.seed).sample(range(len(rows)), len(rows))
    seen = list(accumulate(len(rows[i].responses[0]) for i in order))
    size, peak = config.batch_size or ROWS[config.size], config.learning_rate or RATES[config.size]
    steps = run.steps = -(-len(rows) // size)

    state = {"optimizer": optimizer}
    done = checkpoint.load_latest(run.state, state) or 0
    run.rewind(done)
    for step in range(done + 1, steps + 1):
        end = min(step * size, len(rows))
        batch = [rows[i] for i in order[(step - 1) * size : end]]
        rate = warm_then_linear(step, steps, peak, config.warmup, config.decay)
        loss = global_sum(sft_gradients(model, batch, share))
        all_reduce_in_place(optimizer.gradients())
        norm = optimizer.step(rate, config.max_norm)
        values = {"loss": loss, "grad_norm": norm, "learning_rate": rate, "num_tokens": seen[end - 1]}
        last = step == steps
        if step % config.evaluate_every == 0 or last:
            values["val/loss"] = global_sum(sft_loss(model, validation, share))
            values |= measure(policy) if measure else {}
        run.metrics(step, values)
        if step % config.checkpoint_every == 0 or last:
            run.sync()
            checkpoint.save(run.state, state, step)

    with optimizer.exact():
        loss = global_sum(sft_loss(model, validation, share))
        if run.writes:
            save_policy(policy, run.checkpoint)
    result = {"val/loss": loss, "num_tokens": seen[-1], "parameters": model.num_parameters()}
    run.finish(steps, result)
    return result
