"""DPO: the policy learns from rankings directly, without a reward model and without sampling (Rafailov et al. 2023).

    policy = load_policy("run/sft/checkpoint")
    train_dpo(policy, rankings, validation, run, DPOConfig(beta=0.1))

The policy it begins as is its reference, unless another one is given. All that was said about a prompt is one element
of a batch, as in the reward model: its responses are computed once, and its pairs together weigh as much as any
prompt's.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from transformers import PreTrainedModel

from rather import checkpoint, machine
from rather.batches.encoding import Encoder
from rather.batches.trees import Tree
from rather.errors import BadFile, BadSetting
from rather.losses import require_finite
from rather.models.fingerprint import fingerprint
from rather.models.load import Policy, save_policy, window_of
from rather.models.logprobs import use_trees
from rather.models.lora import attach, reference_of
from rather.parallel import all_reduce_in_place, barrier, world
from rather.records import Ranking
from rather.run import Run
from rather.stages import ppo_checks
from rather.stages.answers import Asked, Scorer
from rather.stages.dpo_config import DPOConfig
from rather.stages.dpo_reference import reference_logprobs
from rather.stages.dpo_steps import Preferring, preference_gradients, preference_loss, response_lengths, summary
from rather.stages.drift import drift
from rather.stages.optim import Adam, computing_in
from rather.stages.passes import in_passes
from rather.stages.ppo_steps import ptx_gradients, refuse_not_finite
from rather.stages.reward_data import Judged, batches_of, judged, says_something
from rather.stages.schedules import warm_then_linear
from rather.stages.scorers import same_tokens
from rather.stages.steps import Share

SHOWN = 5  # answers in samples.jsonl of each measurement


def train_dpo(
    policy: Policy,
    rankings: Sequence[Ranking],
    validation: Sequence[Ranking],
    run: Run,
    config: DPOConfig,
    *,
    reference: Policy | None = None,
    pretraining: Sequence[Tree] = (),
    asked: Asked | None = None,
    scorer: Scorer | None = None,
    about: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Rankings in, policy out. Ties form no pair, as in the paper's reward model (C.2).

    reference: what it is held against; None: the policy as it came
    pretraining: rows of plain text, `Encoder.windows`; none are needed where ptx_coef is 0
    asked: prompts it answers at each measurement, so that its KL is known; a copy of it stays as the reference then
    scorer: what those answers score     about: what the result is to say besides
    """
    model, device = policy.model, next(policy.model.parameters()).device
    share = Share(config.row_budget, *world(), device)
    compute = machine.precision(config.precision, device.type)
    how = Preferring.of(config)
    if config.ptx_coef and not pretraining:
        raise BadSetting(f"ptx_coef={config.ptx_coef:g} and no pretraining text.", do="Name some, or:  ptx_coef=0")
    encoder = encoder_of(policy, config)
    train, dropped = elements(rankings, encoder, "train")
    held = elements(validation, encoder, "validate")[0] if validation else []

    if reference is not None and not same_tokens(reference.tokenizer, policy.tokenizer):
        raise BadSetting(
            "The reference has another tokenizer than the policy.",
            "DPO compares the two token by token.",
            "Name a reference of the same family, or none: the policy as it starts.",
        )

    # The reference is read before anything moves. After that only the policy's own answers need it.
    begun = fingerprint(model)
    held_against = fingerprint(reference.model) if reference else begun
    adapters = attach(model, config.lora, config.seed)  # at first they add nothing: this is still the reference
    # Before the optimizer is there: a copy of it would carry its hooks.
    expects = reference.model if reference else reference_of(model) if asked else None
    use_trees(model)
    ppo_checks.no_dropout({"the policy": model})
    optimizer = Adam(model, compute=compute)
    if expects is not None:
        looking_on(expects, compute)
    trees = [element.tree for element in (*train, *held)]
    known, kept = reference_logprobs(
        model if expects is None else expects, held_against, trees, run.path / "reference", share
    )
    run.event("reference", {"sha256": held_against, "responses": sum(len(t.responses) for t in trees), "kept": kept})
    of_train, of_held = known[: len(train)], known[len(train) :]

    per_epoch = -(-len(train) // config.batch_size)
    steps = run.steps = config.epochs * per_epoch
    state: dict[str, Any] = {"optimizer": optimizer, "num_tokens": 0}
    if adapters:
        state["adapters"] = adapters
        run.event("lora", adapters.about(config.lora))
    done = checkpoint.load_latest(run.state, state) or 0
    run.rewind(done or -1)
    if not done and asked and expects is not None:  # where it begins
        said = drift(policy, expects, asked, config.seed, share, scorer)
        if held_against == begun:
            ppo_checks.kl_is_zero(torch.from_numpy(said.kl / said.said.lengths), exact=compute == torch.float32)
        run.metrics(0, said.summary())
        for row in said.rows()[:SHOWN]:
            run.sample(0, row)
    for epoch in range(done // per_epoch, config.epochs):
        # The order follows from seed and epoch, so that a resumed run needs no more than its step to find its place.
        batches = batches_of(len(train), per_epoch, random.Random(f"{config.seed} {epoch}"))
        for step, indices in enumerate(batches, epoch * per_epoch + 1):
            if step <= done:
                continue
            batch, ref = [train[i] for i in indices], of_train[indices]
            found = preference_gradients(model, batch, ref, how, share)
            if step == 1 and held_against == begun:
                started_at_reference(batch, found.logps - ref, run, exact=compute == torch.float32)
            require_finite(torch.tensor(found.loss), f"step {step}")
            values = {"loss": found.loss, **summary(batch, found.logps, ref, how)}
            if config.sft_coef:
                values["nll_loss"] = found.nll
            if config.ptx_coef:
                count = config.ptx_examples
                rows = in_passes(len(pretraining), (step - 1) * count, count, f"{config.seed} pretraining")
                texts = [pretraining[i] for i in rows]
                values["loss/ptx"] = ptx_gradients(model, texts, share, config.ptx_coef)
            all_reduce_in_place(optimizer.gradients())
            rate = warm_then_linear(step, steps, config.learning_rate, round(config.warmup * steps))
            values["grad_norm"] = optimizer.step(rate, config.max_norm)
            refuse_not_finite(values["grad_norm"], "policy", step, 0)
            state["num_tokens"] += sum(element.tree.size for element in batch)
            values |= {"learning_rate": rate, "num_tokens": state["num_tokens"], "epoch": step / per_epoch}
            last = step == steps
            if step % config.evaluate_every == 0 or last:
                if held:
                    values |= measured(model, held, of_held, how, share)
                if asked and expects is not None:
                    said = drift(policy, expects, asked, config.seed, share, scorer)
                    values |= said.summary()
                    for row in said.rows()[:SHOWN]:
                        run.sample(step, row)
            run.metrics(step, values)
            if step % config.checkpoint_every == 0 or last:
                run.sync()
                checkpoint.save(run.state, state, step)

    result: dict[str, Any] = dict(about)
    with optimizer.exact():
        if held:
            result |= measured(model, held, of_held, how, share)
        if run.writes:
            save_policy(policy, run.checkpoint)
    optimizer.release()
    barrier()
    result |= {"prompts": len(train), "dropped": dropped, "num_tokens": state["num_tokens"]}
    result |= {"from_sha256": begun, "reference_sha256": held_against}
    run.finish(steps, result)
    return result


def encoder_of(policy: Policy, config: DPOConfig) -> Encoder:
    window = window_of(policy.model.config)
    longest = min(config.max_length, window or config.max_length)
    return Encoder(policy.tokenizer, policy.tokenizer.chat_template, config.max_prompt, longest, config.separator)


def elements(rankings: Sequence[Ranking], encoder: Encoder, what: str) -> tuple[list[Judged], dict[str, int]]:
    """The prompts whose rankings prefer something, and how many do not, by reason."""
    found, report = judged(rankings, encoder)
    kept = [element for element in found if says_something(element, ties=False)]
    if not kept:
        raise BadFile(
            f"There is nothing to {what} on: {len(rankings)} rankings, of them {len(found)} prompts short enough, "
            "of them none with an order.",
            f"Expected pairs that are no ties, in at most {encoder.max_length} tokens.",
            "Raise max_length and max_prompt, or look at the file with:  rather data check FILE",
        )
    return kept, {"too long": len(report.long_prompt) + len(report.long_total), "all ties": len(found) - len(kept)}


def looking_on(reference: PreTrainedModel, compute: torch.dtype) -> None:
    """A model that reads trees as the policy does, in the same precision, and learns nothing."""
    use_trees(reference)
    computing_in(reference.requires_grad_(False), compute)


def started_at_reference(batch: Sequence[Judged], log_ratios: torch.Tensor, run: Run, exact: bool) -> None:
    """KL 0 at step 0: the policy that is trained and the reference on file are one model. log_ratios: (B, K)"""
    lengths = response_lengths([element.tree for element in batch], log_ratios.shape[1]).to(log_ratios)
    a_token = (log_ratios / lengths.clamp(min=1))[lengths > 0]
    run.event("self-test", {"kl_abs_mean": ppo_checks.kl_is_zero(a_token, exact)})


def measured(model: Any, held: Sequence[Judged], ref: torch.Tensor, how: Preferring, share: Share) -> dict[str, float]:
    """Of prompts never trained on, each counting once."""
    found = preference_loss(model, held, ref, how, share)
    said = {"loss": found.loss, **summary(held, found.logps, ref, how)}
    return {f"val/{name}": value for name, value in said.items()}
