"""Step 3: the policy learns from the reward model (sec. 3.5, app. C.4), with pretraining mixed in (eq. 2).

    policy, reward = load_policy("run/init/checkpoint"), load_reward_model("run/reward/checkpoint")
    train_ppo(policy, reward, prompts, rows, run, PPOConfig())

The policy it begins as is its KL reference. The critic is a network of its own, which begins as the reward model.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch

from rather import checkpoint, machine
from rather.advantages import gae, shaped_rewards, whiten
from rather.batches.trees import Tree
from rather.errors import BadSetting, CheckFailed
from rather.models.load import Policy, save_policy
from rather.models.logprobs import use_trees
from rather.models.lora import attach, reference_of
from rather.parallel import all_reduce_in_place, barrier, world
from rather.records import Prompt
from rather.rollout import draw_seeds
from rather.run import Run, read_metrics
from rather.stages import ppo_checks, ppo_metrics
from rather.stages.alarms import Alarm, Alarms
from rather.stages.answers import Measure
from rather.stages.clock import Clock
from rather.stages.ema import EMA
from rather.stages.episodes import episodes_of, response_logprobs, sample_shared, token_values, truncated
from rather.stages.optim import Adam, computing_in
from rather.stages.passes import in_passes, minibatches
from rather.stages.ppo_config import PPOConfig
from rather.stages.ppo_start import (
    Rewards,
    fingerprints,
    first_critic,
    fitting_prompts,
    is_reward_itself,
    missing_eos,
    truncation_token,
)
from rather.stages.ppo_steps import critic_gradients, norms_apart, policy_gradients, ptx_gradients, refuse_not_finite
from rather.stages.scorers import scorer_of
from rather.stages.steps import Share

# What responses are worth in a world: prompts, responses, finished -> lines of the log, one of them world/gold.
Worth: TypeAlias = Callable[[Sequence[Prompt], Sequence[str], Sequence[bool]], Mapping[str, float]]
SHOWN = ("episode", "objective/scores", "objective/kl", "policy/entropy_avg", "response/length", "response/finished")


def train_ppo(
    policy: Policy,
    reward: Rewards,
    prompts: Sequence[Prompt],
    pretraining: Sequence[Tree],
    run: Run,
    config: PPOConfig,
    *,
    second_opinion: Rewards | None = None,
    gold: Worth | None = None,
    measure: Measure | None = None,
) -> dict[str, Any]:
    """Optimise the policy against the reward. It ends in run/checkpoint, and its moving average in run/checkpoint-ema.

    pretraining: rows of plain text, `Encoder.windows`; none are needed where ptx_coef is 0
    second_opinion: another judge of the same responses, who is only listened to: a held-out reward model, a verifier
    gold: what the responses are worth where that is known, in a world; the second opinion if there is no other
    measure: what else to log of the policy now and then
    """
    device = next(policy.model.parameters()).device
    compute = machine.precision(config.precision, device.type)
    exact = compute == torch.float32
    share = Share(config.row_budget, *world(), device)
    given = len(prompts)
    policy, prompts, asked = fitting_prompts(policy, prompts, config)
    if len(prompts) < given:
        run.event("prompts", {"given": given, "too_long": given - len(prompts)})
    truncate = truncation_token(policy, config)
    if config.ptx_coef and not pretraining:
        raise BadSetting(
            f"ptx_coef={config.ptx_coef:g} and no pretraining text.",
            "PPO-ptx mixes pretraining text into every update (eq. 2).",
            "Name some, or leave the mix out:  ptx_coef=0",
        )

    begun = fingerprints(policy, reward)

    # Four models. The critic is copied before the reward model goes to bf16; the reference is the policy as it came.
    # With LoRA they are two: the reference is the policy's weights without its adapters, the critic the reward model's
    # (or the policy's) with adapters of its own.
    critic = first_critic(policy, reward, config)
    # Never in 4 bits: rounded, it would not begin as the reward model.
    critic_adapters = attach(critic.body, config.lora.model_copy(update={"four_bit": False}), config.seed)
    adapters = attach(policy.model, config.lora, config.seed)
    reference = reference_of(policy.model)
    models = {"the policy": policy.model, "the reference": reference, "the critic": critic.body}
    for model in models.values():
        use_trees(model)
    ppo_checks.no_dropout(models)
    scorer = scorer_of(reward, policy, compute, config.ensemble, config.spread_coef, config.separator)
    second = scorer_of(second_opinion, policy, compute, separator=config.separator) if second_opinion else None
    betas = (0.9, config.adam_beta2)
    adam = partial(Adam, compute=compute, betas=betas, eps=config.adam_eps, form=config.adam_form)
    optimizer, critic_optimizer = adam(policy.model), adam(critic)
    computing_in(reference, compute)  # after the optimizer has what float32 holds, for they may share weights
    ema = EMA(optimizer, config.ema_decay) if config.ema_decay else None
    controller = config.controller()
    drawing, shuffling = torch.Generator().manual_seed(config.seed), random.Random(config.seed)

    beta = controller.state_dict()
    state: dict[str, Any] = {"policy": optimizer, "critic": critic_optimizer, "ema": ema, "controller": beta}
    state |= {"drawing": drawing, "shuffling": shuffling, "begun": dict(begun)}
    if adapters:
        state |= {"adapters": adapters, "critic adapters": critic_adapters}
        run.event("lora", adapters.about(config.lora))
    done = checkpoint.load_latest(run.state, state) or 0
    ppo_checks.begun_with(begun, state["begun"])
    run.rewind(done)
    barrier()  # every worker reads what the first one has rewound
    controller = type(controller)(**beta)  # type: ignore[arg-type]
    alarms = Alarms(config, read_metrics(run.path))
    run.steps = config.iterations
    stopping: Alarm | None = None

    for iteration in range(done + 1, config.iterations + 1):
        clock = Clock(device)
        # Sample. Prompts come without replacement, one pass after the other; every sample has a seed of its own.
        start = (iteration - 1) * config.batch_size
        chosen = in_passes(len(prompts), start, config.batch_size, f"{config.seed} prompts")
        seeds = draw_seeds(drawing, config.batch_size, 1)
        rollout = sample_shared(policy, [asked[i] for i in chosen], config.sampling(), seeds)
        if truncate is not None:
            rollout = truncated(rollout, truncate, config.truncate_after)
        episodes = episodes_of(policy, [prompts[i] for i in chosen], rollout, device)
        trees, mask = episodes.trees, episodes.mask
        clock.lap("sample")

        # Score. What is known of every token before the policy moves is in tables (B, T). In fp32 the sampler's
        # log-probs are the trainer's; in bf16 they differ in digits that matter, and the trainer forms its own.
        opinion = scorer(episodes, share)
        scores = missing_eos(opinion.scores, episodes.finished, config)  # (B,)
        clock.lap("score")
        ref_logprobs = response_logprobs(reference, trees, share, config.temperature)
        clock.lap("reference")
        values, last_values = token_values(critic, trees, share)
        clock.lap("value")
        first = iteration == done + 1
        old_logprobs = trained = episodes.sampled_logprobs
        if first or not exact:
            trained = response_logprobs(policy.model, trees, share, config.temperature)
            old_logprobs = old_logprobs if exact else trained
            clock.lap("logprobs")
        if first:
            found = ppo_checks.first_rollout(
                sampled=episodes.sampled_logprobs,
                trained=trained,
                old=old_logprobs,
                reference=ref_logprobs,
                mask=mask,
                finished=None if config.missing_eos == "keep" else episodes.finished,
                max_new_tokens=config.max_new_tokens,
                temperature=config.temperature,
                exact=exact,
                at_start=iteration == 1,
                values_and_scores=(last_values, opinion.scores) if is_reward_itself(reward, config) else None,
            )
            run.event("self-test", found | begun)

        rewards, kl = shaped_rewards(scores, old_logprobs, ref_logprobs, mask, controller.kl_coef)
        if config.whiten_rewards:  # the score is in them: scaled once, together with the KL, as in ZGL
            rewards = whiten(rewards, mask, unbiased=False, shift_mean=False)
        advantages, returns = gae(rewards, values, mask, config.gae_lambda)
        advantages = whiten(advantages, mask, unbiased=False)
        clock.lap("rest")

        # Learn. An update of the policy is one step on the sum of both gradients: in a step of its own, Adam would
        # divide gamma away. Each of the two is a mean over its own tokens.
        factor = config.rate_factor(iteration)
        updates = ppo_metrics.Updates()
        parts = minibatches(config.batch_size, config.minibatch_size, config.inner_epochs, shuffling)
        for update, picked in enumerate(parts):
            few = [trees[i] for i in picked]
            if iteration > config.value_iterations:
                step = policy_gradients(
                    policy.model,
                    few,
                    old_logprobs[picked],
                    advantages[picked],
                    share,
                    config.clip_range,
                    config.temperature,
                )
                if update == 0:
                    ppo_checks.ratio_is_one(step.log_ratio_max, exact)
                if config.ptx_coef:
                    ppo_alone = [g.clone() for g in optimizer.gradients()] if update == 0 else None
                    at = ((iteration - config.value_iterations - 1) * config.updates + update) * config.ptx_examples
                    rows = in_passes(len(pretraining), at, config.ptx_examples, f"{config.seed} pretraining")
                    texts = [pretraining[i] for i in rows]
                    updates.add({"loss/ptx": ptx_gradients(policy.model, texts, share, config.ptx_coef)})
                    if ppo_alone:
                        updates.add(norms_apart(ppo_alone, optimizer.gradients()))
                all_reduce_in_place(optimizer.gradients())
                norm = optimizer.step(factor * config.learning_rate, config.clip_norm)
                refuse_not_finite(norm, "policy", iteration, update)
                if ema:
                    ema.update()
                updates.add({"grad_norm": norm, **step.metrics()})
            fit = critic_gradients(critic, few, values[picked], returns[picked], share, config.value_clip)
            all_reduce_in_place(critic_optimizer.gradients())
            norm = critic_optimizer.step(factor * config.critic_learning_rate, config.clip_norm)
            refuse_not_finite(norm, "critic", iteration, update)
            updates.add({"grad_norm/critic": norm, **fit.metrics()})

        clock.lap("update")

        # Write down. The KL that beta follows is the one measured before the update.
        row: dict[str, Any] = {"episode": start + config.batch_size, "learning_rate": factor * config.learning_rate}
        row |= ppo_metrics.of_rollout(episodes, opinion.scores, scores, opinion.spread, kl, controller.kl_coef)
        row |= ppo_metrics.of_values(values, returns, mask) | updates.together()
        if not exact:
            row["policy/sampler_gap"] = ppo_metrics.mean((trained - episodes.sampled_logprobs)[mask].abs())
        if gold:
            row |= gold(episodes.prompts, episodes.texts, episodes.finished.tolist())
            row["second_opinion/scores"] = row["world/gold"]
        if second:
            row["second_opinion/scores"] = ppo_metrics.mean(second(episodes, share).scores)
        last = iteration == config.iterations
        if measure is not None and (iteration % config.measure_every == 0 or last):
            row |= measured(policy, optimizer, ema, measure)
        row = {name: value for name, value in row.items() if value is not None}
        run.metrics(iteration, row)
        tables = {"kl": kl, "values": values, "advantages": advantages}
        for shown in ppo_metrics.shown(policy, episodes, scores, tables, config.samples):
            run.sample(iteration, shown)
        clock.lap("rest")
        run.event("timings", {"step": iteration, **clock.seconds})
        for alarm in alarms.check({"step": iteration, **row}):
            run.event("alarm", {"step": iteration, "alarm": alarm.name, "evidence": alarm.evidence, "do": alarm.do})
            if alarm.name in config.stop_on:
                stopping = stopping or alarm
        if stopping:
            break
        controller = controller.update(row["objective/kl"], config.batch_size)
        if iteration % config.checkpoint_every == 0 or last:
            beta.update(controller.state_dict())
            run.sync()
            checkpoint.save(run.state, state, iteration)

    ended = config.iterations
    if stopping:
        ended = checkpoint.load_latest(run.state, state) or 0
        if not ended:
            said = f"stop_on: {stopping.name}. {stopping.evidence}"
            raise CheckFailed(said, "There is no checkpoint to end at yet.", stopping.do)
    if run.writes:
        with optimizer.exact():
            save_policy(policy, run.checkpoint)
        if ema:
            with ema.shipped():
                save_policy(policy, run.path / "checkpoint-ema")
    barrier()
    [final] = [row for row in read_metrics(run.path) if row["step"] == ended]
    result = {name: final.get(name) for name in SHOWN} | ({"stopped_by": stopping.name} if stopping else {})
    run.finish(ended, result)
    return result


def measured(policy: Policy, optimizer: Adam, ema: EMA | None, measure: Measure) -> dict[str, float]:
    """Of the weights as they are, and of their average."""
    with optimizer.exact():
        found = dict(measure(policy))
    if ema:
        with ema.shipped():
            found |= {f"ema/{name}": value for name, value in measure(policy).items()}
    return found
