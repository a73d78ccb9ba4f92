"""Step 2: a reward model from rankings (sec. 3.5, app. C.2)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from transformers import PreTrainedTokenizerBase

from rather import checkpoint, machine
from rather.batches.encoding import Encoder
from rather.batches.trees import Tree
from rather.config import Config
from rather.errors import BadFile, BadSetting
from rather.losses import require_finite
from rather.models.heads import RewardModel, new_head, reward_model_from
from rather.models.load import Policy, window_of
from rather.models.logprobs import use_trees
from rather.models.lora import LoRA, attach
from rather.models.reward_folder import SCORING, Reward, save_reward_model
from rather.parallel import all_reduce_in_place, global_sum, world
from rather.records import Demonstration, Ranking, spoken
from rather.run import Run
from rather.stages.muon import OPTIMIZERS, Optimizer
from rather.stages.reward_data import (
    Judged,
    batches_of,
    judged,
    one_by_one,
    refuse_unrated,
    says_something,
)
from rather.stages.reward_loss import Comparing, reward_gradients, score_trees, summary
from rather.stages.reward_scoring import Scoring, length_slope
from rather.stages.schedules import cosine
from rather.stages.steps import Share

SHOWN = 3  # validation prompts in samples.jsonl after each epoch
PROBES = 4  # texts by which the saved folder is checked whenever it is loaded


class RewardConfig(Config):
    """Step 2: learn from rankings what people prefer (sec. 3.5, app. C.2)."""

    model: str | None = Field(None, description="to start from, folder or hub id; none: RUN/sft/checkpoint (C.2)")
    template: str | None = Field(None, description="plain, or the model's own if it is not said")
    separator: str = Field("\n", description="between prompt and response where there is no template")
    rankings: str | None = Field(None, description="rankings or comparisons; none: RUN/rankings.jsonl")
    validation: str | None = Field(None, description="a file of them never trained on; none: by split, or a share")
    validation_share: float = Field(
        0.1, ge=0, lt=1, description="of the prompts, where no file and no split says which"
    )
    held_out: tuple[str, ...] = Field((), description="labelers whose rankings are never trained on (E.2)")
    demonstrations: str | None = Field(None, description="their mean score is 0 (3.5); none: RUN/demonstrations.jsonl")
    ratings: str | None = Field(None, description="a file of ratings for `margin`; none: the scores in the rankings")
    epochs: int = Field(1, ge=1, description="C.2: more overfits")
    batch_size: int = Field(64, ge=1, description="C.2: prompts, each with all its pairs")
    learning_rate: float = Field(9e-6, gt=0, description="C.2: peak, for 6B; cosine down to 10 %. Tiny models: 1e-3")
    optimizer: Optimizer = Field("adam", description="C: adam; muon, of the matrices, learns more from few rankings")
    max_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm; not in the paper")
    ties: Literal["dropped", "davidson", "rao-kupper"] = Field("dropped", description="C.2: dropped; else modelled")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="share of pairs believed labeled the wrong way round")
    margin: float = Field(
        0.0, ge=0, description="lead asked for per point of rating (Llama 2, 3.2.2); not in the paper"
    )
    heads: int = Field(1, ge=1, description="on one body, each on a bootstrap of the prompts; not in the paper")
    length_residual: bool = Field(False, description="take off what is linear in length; not in the paper")
    shuffled: bool = Field(False, description="every pair its own example: the overfitting that 3.5 warns of")
    max_prompt: int = Field(1024, ge=1, description="C: tokens; longer prompts are dropped")
    max_length: int = Field(
        2048, ge=2, description="C: tokens of prompt and response, and never over the model's window"
    )
    lora: LoRA = Field(LoRA(), description="adapters instead of all weights")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="of the large products; masters are fp32")
    row_budget: int = Field(4096, ge=1, description="tokens in one forward; changes speed and memory, not the result")
    evaluate_every: int = Field(50, ge=1, description="steps between measurements on the validation rankings")
    checkpoint_every: int = Field(50, ge=1, description="steps between checkpoints")
    seed: int = Field(0, ge=0, description="of the head, of the order, and of the heads' bootstraps")

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.ties != "dropped" and (self.margin or self.label_smoothing):
            raise ValueError(f"ties={self.ties} takes neither margin nor label_smoothing: they belong to ties=dropped")
        return self


Start = Policy | Reward


def encoder_of(tokenizer: PreTrainedTokenizerBase, window: int | None, config: RewardConfig) -> Encoder:
    """Records as the reward model reads them, in training and ever after."""
    longest = min(config.max_length, window or config.max_length)
    return Encoder(tokenizer, tokenizer.chat_template, config.max_prompt, longest, config.separator)


def train_reward(
    start: Start,
    rankings: Sequence[Ranking],
    validation: Sequence[Ranking],
    demonstrations: Sequence[Demonstration],
    run: Run,
    config: RewardConfig,
) -> dict[str, Any]:
    """Rankings in, reward model out. All pairs of a prompt are one batch element: K forwards, weight 1/C(K, 2).

    start: a policy (a new head is drawn), or a reward model, which goes on with its own
    demonstrations: their mean score becomes 0; without any, that of the ranked responses does
    """
    model = _begin(start, config)
    before = start.scoring if isinstance(start, Reward) else None
    if before is not None and before.get("separator") != config.separator:
        raise BadSetting(
            f"separator is {config.separator!r}, and the reward model begun from has {before.get('separator')!r}.",
            "Expected one way of writing prompt and response, in training and ever after.",
        )
    encoder = encoder_of(start.tokenizer, _window(model), config)
    how = Comparing(config.ties, config.margin, config.label_smoothing)
    train, dropped = _elements(rankings, encoder, how, "train")
    held = _elements(validation, encoder, Comparing(), "validate")[0] if validation else []
    examples = one_by_one(train, how.models_ties) if config.shuffled else train
    per_epoch = -(-len(train) // config.batch_size)  # shuffled pairs get as many updates as whole prompts
    steps = run.steps = config.epochs * per_epoch

    adapters = attach(model.body, config.lora, config.seed)  # the head is trained whole
    use_trees(model.body)
    # No comparison notices a constant: the bias's gradient is rounding, which Adam would make steps of.
    model.head.bias.requires_grad_(False)
    optimizer = OPTIMIZERS[config.optimizer](model, compute=machine.precision(config.precision))
    share = Share(config.row_budget, *world(), device=model.head.weight.device)
    counts = _bootstraps(len(examples), config)
    tie = torch.zeros((), device=share.device)

    state: dict[str, Any] = {"optimizer": optimizer, "tie": tie, "num_tokens": 0}
    if adapters:
        state["adapters"] = adapters
        run.event("lora", adapters.about(config.lora))
    done = checkpoint.load_latest(run.state, state) or 0
    run.rewind(done)
    for epoch in range(done // per_epoch, config.epochs):
        # The order follows from seed and epoch, so that a resumed run needs no more than its step to find its place.
        batches = batches_of(len(examples), per_epoch, random.Random(f"{config.seed} {epoch}"))
        for step, indices in enumerate(batches, epoch * per_epoch + 1):
            if step <= done:
                continue
            batch = [examples[i] for i in indices]
            rate = cosine(step, steps, config.learning_rate)
            tie_now = tie.clone().requires_grad_()
            part, scores = reward_gradients(model, batch, counts[indices], how, tie_now, share)
            loss = global_sum(part)
            all_reduce_in_place(optimizer.gradients())
            require_finite(torch.tensor(loss), f"step {step}")
            norm = optimizer.step(rate, config.max_norm)
            require_finite(torch.tensor(norm), f"gradient norm of step {step}")
            if how.models_ties and tie_now.grad is not None:
                # One number with a curvature of at most 1/4: plain descent finds it, Adam at 9e-6 never would.
                all_reduce_in_place([tie_now.grad])
                tie -= tie_now.grad * (rate / config.learning_rate)
            state["num_tokens"] += sum(example.tree.size for example in batch)
            last = step == steps
            values = _logged(batch, scores) | {
                "loss": loss,
                "grad_norm": norm,
                "learning_rate": rate,
                "num_tokens": state["num_tokens"],
                "epoch": step / per_epoch,
            }
            if held and (step % config.evaluate_every == 0 or last):
                found = score_trees(model, [element.tree for element in held], share)
                values |= {f"val/{name}": value for name, value in summary(held, found).items()}
            run.metrics(step, values)
            if held and step % per_epoch == 0:
                _show(run, step, held[:SHOWN], score_trees(model, [element.tree for element in held[:SHOWN]], share))
            if step % config.checkpoint_every == 0 or last:
                run.sync()
                checkpoint.save(run.state, state, step)

    with optimizer.exact():
        result = _finished(model, start.tokenizer, encoder, train, held, demonstrations, run, config, share)
    result |= {"prompts": len(train), "dropped": dropped, "num_tokens": state["num_tokens"]}
    if how.models_ties:
        result["tie"] = float(tie)
    optimizer.release()
    run.finish(steps, result)
    return result


def _begin(start: Start, config: RewardConfig) -> RewardModel:
    """Dropout is off in both: loading sets it to 0, and nothing here turns it on."""
    rng = torch.Generator().manual_seed(config.seed)
    model = start.model if isinstance(start, Reward) else reward_model_from(start.model, rng)
    if config.heads > 1:
        width = model.head.weight.shape[1]
        heads = [new_head(width, rng) for _ in range(config.heads)]
        model.head = torch.nn.Linear(width, config.heads).to(model.head.weight.device)
        with torch.no_grad():
            model.head.weight.copy_(torch.cat([head.weight for head in heads]))
            model.head.bias.zero_()
    return model.eval()


def _window(model: RewardModel) -> int | None:
    return window_of(model.config)


def _elements(
    rankings: Sequence[Ranking], encoder: Encoder, how: Comparing, what: str
) -> tuple[list[Judged], dict[str, int]]:
    """The prompts that have something to say, and how many have not, by reason."""
    found, report = judged(rankings, encoder)
    kept = [element for element in found if says_something(element, how.models_ties)]
    if not kept:
        raise BadFile(
            f"There is nothing to {what} on: {len(rankings)} rankings, of them {len(found)} prompts short enough, "
            f"of them none with an order.",
            f"Expected pairs that are no ties, in at most {encoder.max_length} tokens.",
            "Raise max_length and max_prompt, or look at the file with:  rather data check FILE",
        )
    if how.margin:
        refuse_unrated(kept)
    return kept, {"too long": len(report.long_prompt) + len(report.long_total), "all ties": len(found) - len(kept)}


def _bootstraps(examples: int, config: RewardConfig) -> np.ndarray:
    """(P, n): each head counts each prompt Poisson(1) times, so that heads differ; a single head counts all once."""
    if config.heads == 1:
        return np.ones((examples, 1), dtype=np.float32)
    return np.random.default_rng(config.seed).poisson(1.0, (examples, config.heads)).astype(np.float32)


def _logged(batch: Sequence[Judged], scores: Sequence[np.ndarray]) -> dict[str, Any]:
    flat = np.concatenate([found.mean(1) for found in scores])
    said = summary(batch, scores)
    rewards = {"mean_reward": flat.mean(), "min_reward": flat.min(), "max_reward": flat.max()}
    return {"accuracy": said["accuracy"], "margin": said["margin"]} | rewards


def _show(run: Run, step: int, shown: Sequence[Judged], scores: Sequence[np.ndarray]) -> None:
    """What the model makes of a few validation prompts, best first."""
    for element, found in zip(shown, scores, strict=True):
        record, places = element.records[0], list(element.places[0])
        mine = found.mean(1)[places]
        for k in np.argsort(-mine, kind="stable"):
            run.sample(step, {"prompt": spoken(record.prompt), "response": record.responses[k].text,
                              "score": mine[k], "rank": record.ranks[k]})  # fmt: skip


def _finished(
    model: RewardModel,
    tokenizer: PreTrainedTokenizerBase,
    encoder: Encoder,
    train: Sequence[Judged],
    held: Sequence[Judged],
    demonstrations: Sequence[Demonstration],
    run: Run,
    config: RewardConfig,
    share: Share,
) -> dict[str, Any]:
    """Normalise, measure and save what the masters hold."""
    shown, what = (encoder.encode_all(demonstrations)[0], "demonstrations") if demonstrations else ([], "")
    if not shown:
        shown, what = [element.tree for element in train], "ranked responses"
    # Demonstrations average 0: without it kl_coef means something else for each reward model (3.5).
    model.head.bias.data = torch.zeros(config.heads, device=share.device)
    scores = np.concatenate(score_trees(model, shown, share)).astype(np.float64)  # (N, n)
    model.head.bias.data -= torch.from_numpy(scores.mean(0)).to(model.head.bias)
    lengths = [len(response) for tree in shown for response in tree.responses]
    ranked = score_trees(model, [element.tree for element in train], share)
    slope = (
        length_slope([e.tree for e in train], [found.mean(1) for found in ranked]) if config.length_residual else None
    )
    scoring = Scoring(
        normalised_on=what,
        normalised_n=len(scores),
        spread=float(scores.mean(1).std()),
        slope=slope,
        usual_length=float(np.mean(lengths)),
        heads=torch.cat([model.head.weight, model.head.bias[:, None]], 1).tolist() if config.heads > 1 else None,
        separator=config.separator,
        max_prompt=encoder.max_prompt,
        max_length=encoder.max_length,
    )
    result: dict[str, Any] = {f"train/{name}": value for name, value in summary(train, ranked).items()}
    if held:
        found = score_trees(model, [element.tree for element in held], share)
        result |= {f"val/{name}": value for name, value in summary(held, found).items()}
    if run.writes:
        save_reward_model(_single(model), tokenizer, run.checkpoint, _probes(shown), {SCORING: scoring.to_dict()})
    return result | {"normalised_on": what, "slope": slope}


def _single(model: RewardModel) -> RewardModel:
    """The mean of linear heads is one linear head, so an ensemble of heads is saved as a plain model too."""
    head = torch.nn.Linear(model.head.weight.shape[1], 1).to(model.head.weight.device)
    with torch.no_grad():
        head.weight.copy_(model.head.weight.mean(0, keepdim=True))
        head.bias.copy_(model.head.bias.mean(0, keepdim=True))
    return RewardModel(model.body, head).eval()


def _probes(trees: Sequence[Tree]) -> list[list[int]]:
    return [[*tree.prompt.tolist(), *tree.responses[0].tolist()] for tree in trees[:PROBES]]
