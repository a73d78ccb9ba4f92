"""Step 1: supervised fine-tuning on demonstrations (sec. 3.5, app. C.1), and the model that RL starts from (C.3)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Literal

import torch
from pydantic import Field
from transformers import PreTrainedModel

from rather import checkpoint, machine
from rather.batches.trees import Tree
from rather.config import Config
from rather.models.dropout import set_dropout
from rather.models.load import Policy, save_policy
from rather.models.logprobs import use_trees
from rather.models.lora import LoRA, attach
from rather.parallel import all_reduce_in_place, global_sum, worker_seed, world
from rather.run import Run
from rather.stages import epochs
from rather.stages.answers import Asked, Measure, Scorer, answer
from rather.stages.optim import Adam
from rather.stages.schedules import cosine
from rather.stages.steps import Share, sft_gradients, sft_loss

SHOWN = 5  # answers in samples.jsonl after each epoch
# Parameters -> peak rate. From 1B on the paper's (C.1); 2e-5 is what is usual in between; below 50M: docs/sft.md.
RATES = {100_000_000_000: 5.03e-6, 1_000_000_000: 9.65e-6, 50_000_000: 2e-5, 5_000_000: 5e-4, 500_000: 1e-3, 0: 3e-3}


class SFTConfig(Config):
    """Step 1: the policy learns to do what demonstrations show (sec. 3.5, app. C.1)."""

    model: str | None = Field(None, description="to start from, folder or hub id; none: RUN/base/checkpoint")
    template: str | None = Field(None, description="plain, page or none; not said: the model's own, if it has one")
    separator: str = Field("\n", description="between prompt and response where there is no template")
    demonstrations: str | None = Field(None, description="a file; none: RUN/demonstrations.jsonl")
    validation: str | None = Field(None, description="a file; none: RUN/demonstrations-validation.jsonl, or a share")
    validation_share: float = Field(
        0.05, gt=0, lt=1, description="of the prompts, where no file and no split says which"
    )
    epochs: int = Field(16, ge=1, description="C.1")
    batch_size: int = Field(32, ge=1, description="C.1: demonstrations")
    learning_rate: float | None = Field(
        None, gt=0, description="peak, cosine to 10 % (C.1); none: 9.65e-6 from 1B on, 5.03e-6 from 100B on (C.1), "
        "2e-5 below; 5e-4, 1e-3, 3e-3 below 50M, 5M, 0.5M, measured in the miniature world"
    )  # fmt: skip
    dropout: float = Field(0.2, ge=0, lt=1, description="C.1: residual, while training")
    max_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm; not in the paper")
    pretraining_share: float = Field(
        0.0, ge=0, lt=1, description="of the trained tokens that are pretraining text (C.3)"
    )
    texts: str | None = Field(None, description="pretraining text for it: a file, or a world such as marn:0")
    max_length: int = Field(2048, ge=2, description="C: tokens of prompt and response, and never over the window")
    max_new_tokens: int = Field(256, ge=1, description="of an answer to a validation prompt; at most half the window")
    validation_prompts: int = Field(100, ge=0, description="answered after each epoch, at temperature 1")
    reward: str | None = Field(None, description="reward model that scores those answers; it then chooses the epoch")
    world: str | None = Field(None, description="such as marn:0: log after each epoch what 200 answers are worth there")
    keep: Literal["all", "chosen"] = Field("all", description="epochs whose weights stay in RUN/NAME/epochs")
    lora: LoRA = Field(LoRA(), description="adapters instead of all weights")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="of the large products; masters are fp32")
    row_budget: int = Field(4096, ge=1, description="tokens in one forward; changes speed and memory, not the result")
    checkpoint_every: int = Field(200, ge=1, description="steps between checkpoints, besides one after each epoch")
    seed: int = Field(0, ge=0, description="of the order, dropout and sampling")


class InitConfig(SFTConfig):
    """Where RL starts, and its KL reference (app. C.3): two epochs, with a tenth of pretraining text."""

    epochs: int = Field(2, ge=1, description="C.3")
    pretraining_share: float = Field(
        0.1, ge=0, lt=1, description="of the trained tokens that are pretraining text (C.3)"
    )


def train_sft(
    policy: Policy,
    train: Sequence[Tree],
    validation: Sequence[Tree],
    asked: Asked,
    run: Run,
    config: SFTConfig,
    texts: Sequence[Tree] = (),
    scorer: Scorer | None = None,
    about: Mapping[str, Any] = MappingProxyType({}),
    measure: Measure | None = None,
) -> dict[str, Any]:
    """An epoch at a time, its weights kept, and one of the epochs chosen at the end.

    train, validation: one response each     texts: rows of pretraining text     scorer: a reward model
    about: what the result is to say besides, such as the name and hash of the model it started from
    measure: what else to log of the policy after each epoch, such as what its answers are worth in a world
    """
    model, device = policy.model, next(policy.model.parameters()).device
    share = Share(config.row_budget, *world(), device)
    peak = config.learning_rate or rate_for(model.num_parameters())
    adapters = attach(model, config.lora, config.seed)
    use_trees(model)
    optimizer = Adam(model, compute=machine.precision(config.precision, device.type))
    per_epoch = -(-len(train) // config.batch_size)
    steps = run.steps = config.epochs * per_epoch
    text_rate = config.pretraining_share / (1 - config.pretraining_share) * tokens_of(train) / per_epoch

    state: dict[str, Any] = {"optimizer": optimizer, "dropout": torch.default_generator, "num_tokens": 0}
    if adapters:
        state["adapters"] = adapters
        run.event("lora", adapters.about(config.lora))
    torch.manual_seed(worker_seed(config.seed))  # dropout has no generator of its own
    done = checkpoint.load_latest(run.state, state) or 0
    run.rewind(done)
    for step in range(done + 1, steps + 1):
        epoch, at = divmod(step - 1, per_epoch)
        order = random.Random(f"{config.seed} epoch {epoch}").sample(range(len(train)), len(train))
        batch = [train[i] for i in order[at * config.batch_size : (at + 1) * config.batch_size]]
        batch += mixed_in(texts, text_rate, step)
        rate = cosine(step, steps, peak)
        with dropping(model, config.dropout):
            loss = global_sum(sft_gradients(model, batch, share))
        all_reduce_in_place(optimizer.gradients())
        norm = optimizer.step(rate, config.max_norm)
        state["num_tokens"] += tokens_of(batch)
        values = {"loss": loss, "grad_norm": norm, "learning_rate": rate, "num_tokens": state["num_tokens"]}
        values["epoch"] = step / per_epoch
        whole = at == per_epoch - 1
        if whole:
            values["val/loss"] = global_sum(sft_loss(model, validation, share))
            said = answer(policy, asked, config.seed, scorer)
            values |= said.summary() | (dict(measure(policy)) if measure else {})
            for row in said.rows()[:SHOWN]:
                run.sample(step, row)
            with optimizer.exact():
                if run.writes:
                    place = epochs.folder(run.path, epoch + 1)
                    place.parent.mkdir(exist_ok=True)
                    save_policy(policy, place)
        run.metrics(step, values)
        if whole or step % config.checkpoint_every == 0:
            run.sync()
            checkpoint.save(run.state, state, step)

    optimizer.release()
    chosen: dict[str, Any] = {}
    if run.writes:
        chosen = epochs.choose(run.path, "reward" if scorer else "loss", config.keep)
    result = chosen | {"num_tokens": state["num_tokens"], **about}
    run.finish(steps, result)
    return result


def rate_for(parameters: int) -> float:
    """The paper's rates for its sizes (C.1); what was measured for tiny ones."""
    for size, rate in RATES.items():
        if parameters >= size:
            return rate
    raise AssertionError("the last size is 0")


def tokens_of(trees: Sequence[Tree]) -> int:
    return sum(len(response) for tree in trees for response in tree.responses)


def mixed_in(texts: Sequence[Tree], rate: float, step: int) -> list[Tree]:
    """The rows of text of a step: on average `rate` trained tokens, each row once before any comes twice."""
    if not texts or not rate:
        return []
    rows = rate * len(texts) / tokens_of(texts)
    return [texts[i % len(texts)] for i in range(int((step - 1) * rows), int(step * rows))]


@contextmanager
def dropping(model: PreTrainedModel, p: float) -> Iterator[None]:
    """Training mode with residual dropout, and neither of them afterwards: whatever is measured is measured without."""
    set_dropout(model, p)
    model.train()
    try:
        yield
    finally:
        set_dropout(model, 0.0)
        model.eval()
