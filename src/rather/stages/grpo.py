"""GRPO: the policy learns from how its own responses to a prompt compare; there is no critic (Shao et al. 2024).

    rewards = Rewards({"number": 1.0}, cases={"1": {"answer": "42"}})
    train_grpo(policy, rewards, prompts, [], run, GRPOConfig(samples=8))

G responses to each prompt are one tree. Rewards are named and weighted: verifiers, functions, reward models.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rather import checkpoint, machine
from rather.advantages import varied
from rather.batches.trees import Tokens, Tree
from rather.errors import BadSetting
from rather.models.load import Policy, save_policy
from rather.models.logprobs import use_trees
from rather.models.lora import attach, reference_of
from rather.models.reward_folder import Reward
from rather.parallel import all_reduce_in_place, barrier, world
from rather.records import Prompt, spoken
from rather.rollout import Rollout, draw_seeds
from rather.run import Run
from rather.stages import ppo_checks, ppo_metrics
from rather.stages.episodes import Episodes, episodes_of, sample_shared
from rather.stages.grpo_config import GRPOConfig
from rather.stages.grpo_rewards import Judged, Rewarded, Rewards, save_failed
from rather.stages.grpo_steps import Groups, advantages_of, counting, group_gradients, group_logprobs
from rather.stages.optim import Adam, computing_in
from rather.stages.passes import in_passes, minibatches
from rather.stages.ppo_start import fingerprints, fitting_prompts
from rather.stages.ppo_steps import ptx_gradients, refuse_not_finite
from rather.stages.schedules import warm_then_linear
from rather.stages.steps import Share
from rather.verifiers import VerifierFailed

SHOWN = (
    "episode",
    "objective/scores",
    "val/scores",
    "objective/kl",
    "policy/entropy_avg",
    "response/length",
    "response/finished",
)


def train_grpo(
    policy: Policy,
    rewards: Rewards,
    prompts: Sequence[Prompt],
    pretraining: Sequence[Tree],
    run: Run,
    config: GRPOConfig,
    *,
    validation: Sequence[Prompt] = (),
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The policy it begins as is its KL reference.

    pretraining: rows of plain text; none where ptx_coef is 0     validation: prompts that are never learned from
    """
    device = next(policy.model.parameters()).device
    compute = machine.precision(config.precision, device.type)
    exact = compute == torch.float32
    share = Share(config.row_budget, *world(), device)
    given = len(prompts)
    policy, prompts, asked = fitting_prompts(policy, prompts, config)
    if len(prompts) < given:
        run.event("prompts", {"given": given, "too_long": given - len(prompts)})
    held: tuple[Sequence[Prompt], Sequence[Tokens]] = (), ()
    if validation and config.validation_prompts:
        held = fitting_prompts(policy, validation[: config.validation_prompts], config, "validation prompts")[1:]
    if config.ptx_coef and not pretraining:
        raise BadSetting(f"ptx_coef={config.ptx_coef:g} and no pretraining text.", do="Name some, or:  ptx_coef=0")
    begun = fingerprints(policy, [one for one in rewards.models.values() if isinstance(one, Reward)])
    judge = rewards.judging(policy, compute, config.separator)
    adapters = attach(policy.model, config.lora, config.seed)
    reference = None if config.kl == "none" else reference_of(policy.model)
    use_trees(policy.model)
    ppo_checks.no_dropout({"the policy": policy.model})
    optimizer = Adam(policy.model, compute=compute)
    if reference is not None:  # after the optimizer has its float32 masters: beside adapters they share weights
        use_trees(reference)
        computing_in(reference, compute)
    drawing, shuffling = torch.Generator().manual_seed(config.seed), random.Random(config.seed)

    state: dict[str, Any] = {"policy": optimizer, "drawing": drawing, "shuffling": shuffling, "asked": 0}
    state["begun"] = dict(begun)
    if adapters:
        state["adapters"] = adapters
        run.event("lora", adapters.about(config.lora))
    done = checkpoint.load_latest(run.state, state) or 0
    ppo_checks.begun_with(begun, state["begun"])
    run.rewind(done or -1)
    run.steps = config.iterations

    def rewarded_batch(
        iteration: int, mine: tuple[Sequence[Prompt], Sequence[Tokens]], seeds: torch.Generator
    ) -> Batch:
        try:
            return sampled(policy, *mine, seeds, judge, share, config)
        except VerifierFailed as failed:
            save_failed(run, iteration, failed)
            raise

    def measured(iteration: int) -> dict[str, float]:
        """What the policy as it is gets for prompts it does not learn from, each time with the same seeds."""
        if not held[0]:
            return {}
        unseen = rewarded_batch(iteration, held, torch.Generator().manual_seed(config.seed))
        return {"val/scores": ppo_metrics.mean(unseen.scores)}

    if not done and (before := measured(0)):
        run.metrics(0, before)
    row: dict[str, Any] = {}
    for iteration in range(done + 1, config.iterations + 1):
        # Sample G responses to each prompt and reward them. Groups that say nothing may be replaced by new ones.
        batch, replaced = None, 0
        for _ in range(config.resample + 1):
            silent = list(range(config.batch_size)) if batch is None else batch.silent()
            if not silent:
                break
            chosen = in_passes(len(prompts), state["asked"], len(silent), f"{config.seed} prompts")
            state["asked"] += len(chosen)
            mine = [prompts[i] for i in chosen], [asked[i] for i in chosen]
            drawn = rewarded_batch(iteration, mine, drawing)
            replaced += 0 if batch is None else len(silent) - len(drawn.silent())
            batch = drawn if batch is None else batch.replaced(silent, drawn)
        assert batch is not None, "the first of the rounds samples"
        episodes = episodes_of(policy, batch.prompts, batch.rollout, device)
        mask, width = episodes.mask, episodes.mask.shape[1]

        # What is known of every token before the policy moves. In fp32 the sampler's log-probs are the trainer's.
        trees = batch.rollout.trees([prompt.id for prompt in batch.prompts])
        first = iteration == done + 1
        old_logprobs = trained = episodes.sampled_logprobs  # (B, T)
        if first or not exact:
            trained = group_logprobs(policy.model, trees, share, width, config.temperature)
            old_logprobs = old_logprobs if exact else trained
        ref_logprobs = kl = None
        if reference is not None:
            ref_logprobs = group_logprobs(reference, trees, share, width, config.temperature)
            kl = torch.where(mask, old_logprobs - ref_logprobs, 0.0)  # (B, T) k1, to be logged
        if first:
            run.event("self-test", self_test(episodes, trained, ref_logprobs, config, exact, iteration == 1))

        rewarded = batch.scores  # (P, G)
        if config.kl == "k1" and kl is not None:
            rewarded = rewarded - config.kl_coef * kl.sum(1).view_as(rewarded)
        advantages = advantages_of(rewarded, batch.counted, config.advantage)
        groups = Groups(trees, old_logprobs, ref_logprobs, advantages, batch.counted)

        # Learn. One update is one Adam step on the sum of the gradients.
        rate = warm_then_linear(iteration, config.iterations, config.learning_rate, config.warmup)
        updates = ppo_metrics.Updates()
        parts = minibatches(config.batch_size, config.update_size, config.inner_epochs, shuffling)
        for update, picked in enumerate(parts):
            step = group_gradients(policy.model, groups.picked(picked), share, config)
            if update == 0:
                ppo_checks.ratio_is_one(step.log_ratio_max, exact)
            if config.ptx_coef:
                at = ((iteration - 1) * config.updates + update) * config.ptx_examples
                rows = in_passes(len(pretraining), at, config.ptx_examples, f"{config.seed} pretraining")
                texts = [pretraining[i] for i in rows]
                updates.add({"loss/ptx": ptx_gradients(policy.model, texts, share, config.ptx_coef)})
            all_reduce_in_place(optimizer.gradients())
            norm = optimizer.step(rate, config.max_norm)
            refuse_not_finite(norm, "policy", iteration, update)
            updates.add({"grad_norm": norm, **step.metrics(with_kl=config.kl in ("k2", "k3"))})

        row = {"episode": state["asked"] * config.samples, "learning_rate": rate}
        row |= of_groups(batch, episodes, kl, config) | updates.together()
        if replaced:
            row["groups/replaced"] = replaced
        if iteration % config.evaluate_every == 0 or iteration == config.iterations:
            row |= measured(iteration)
        run.metrics(iteration, {name: value for name, value in row.items() if value is not None})
        for shown in texts_of(batch, episodes, advantages, kl, config.shown):
            run.sample(iteration, shown)
        if iteration % config.checkpoint_every == 0 or iteration == config.iterations:
            run.sync()
            checkpoint.save(run.state, state, iteration)

    with optimizer.exact():
        if run.writes:
            save_policy(policy, run.checkpoint)
    optimizer.release()
    barrier()
    result = {name: row[name] for name in SHOWN if row.get(name) is not None} | dict(about or {})
    run.finish(config.iterations, result)
    return result


@dataclass(frozen=True, eq=False)
class Batch:
    """P prompts with G responses each. scores: (P, G), the truncated ones as chosen     counted: (P, G) bool"""

    prompts: list[Prompt]
    rollout: Rollout
    rewarded: Rewarded
    scores: Tensor
    counted: Tensor

    def silent(self) -> list[int]:
        """The groups whose rewards are all equal: nothing is learned from them."""
        return torch.nonzero(~varied(self.scores, self.counted))[:, 0].tolist()

    def replaced(self, places: Sequence[int], other: Batch) -> Batch:
        """With those of `other` that say something in these places."""
        silent = set(other.silent())
        source = {place: at for at, place in enumerate(places) if at not in silent}
        prompts, asked, samples = list(self.prompts), list(self.rollout.prompts), list(self.rollout.samples)
        scores, counted = self.scores.clone(), self.counted.clone()
        parts = {name: part.clone() for name, part in self.rewarded.parts.items()}
        total, size = self.rewarded.total.clone(), scores.shape[1]
        for to, at in source.items():
            prompts[to], asked[to], samples[to] = (
                other.prompts[at],
                other.rollout.prompts[at],
                other.rollout.samples[at],
            )
            scores[to], counted[to] = other.scores[at], other.counted[at]
            mine, theirs = slice(to * size, (to + 1) * size), slice(at * size, (at + 1) * size)
            total[mine] = other.rewarded.total[theirs]
            for name, part in parts.items():
                part[mine] = other.rewarded.parts[name][theirs]
        rollout = Rollout(tuple(asked), tuple(samples), self.rollout.temperature)
        return Batch(prompts, rollout, Rewarded(total, parts), scores, counted)


def sampled(
    policy: Policy,
    prompts: Sequence[Prompt],
    asked: Sequence[Tokens],
    drawing: torch.Generator,
    judge: Judged,
    share: Share,
    config: GRPOConfig,
) -> Batch:
    """G responses to each prompt, every one with a seed of its own, and what they are worth."""
    rollout = sample_shared(policy, asked, config.sampling(), draw_seeds(drawing, len(prompts), config.samples))
    episodes = episodes_of(policy, prompts, rollout, torch.device(share.device))
    rewarded = judge(episodes, share)
    scores = rewarded.total.float()
    if config.truncated == "replace":
        scores = torch.where(episodes.finished, scores, torch.full_like(scores, config.truncated_reward))
    shape = len(prompts), config.samples
    counted = counting(episodes.finished.view(shape), config.truncated == "leave-out")
    return Batch(list(prompts), rollout, rewarded, scores.view(shape), counted)


def self_test(
    episodes: Episodes, trained: Tensor, ref: Tensor | None, config: GRPOConfig, exact: bool, at_start: bool
) -> dict[str, float]:
    """What the first batch of a run can tell; -> what was measured. trained, ref: (B, T)"""
    mask = episodes.mask
    if config.truncated != "keep":
        ppo_checks.ends(episodes.finished, config.max_new_tokens)
    sampled_logprobs, now = episodes.sampled_logprobs[mask], trained[mask]
    found = {"log_ratio_max": ppo_checks.sampler_is_trainer(sampled_logprobs, now, exact, config.temperature)}
    if at_start and ref is not None:
        found["kl_abs_mean"] = ppo_checks.kl_is_zero(now - ref[mask], exact)
    return found


def of_groups(batch: Batch, episodes: Episodes, kl: Tensor | None, config: GRPOConfig) -> dict[str, Any]:
    """The numbers of PPO where they mean the same, and what is said of groups. kl: (B, T)"""
    scores = batch.scores.reshape(-1)
    in_reward = config.kl_coef if config.kl == "k1" else 0.0
    table = torch.zeros_like(episodes.sampled_logprobs) if kl is None else kl
    row = ppo_metrics.of_rollout(episodes, batch.rewarded.total, scores, None, table, in_reward)
    if config.kl != "k1":
        for name in ("objective/non_score_reward", "objective/rlhf_reward", "objective/kl_coef"):
            row.pop(name)
    if kl is None:
        row = {name: value for name, value in row.items() if not name.startswith("objective/kl")}
    for name, part in batch.rewarded.parts.items():
        row[f"rewards/{name}/mean"] = ppo_metrics.mean(part)
        row[f"rewards/{name}/std"] = float(part.double().std(correction=0))
    row["reward_std"] = ppo_metrics.mean(batch.scores.double().std(1, correction=1))
    row["frac_reward_zero_std"] = len(batch.silent()) / len(batch.prompts)
    if config.truncated == "leave-out":
        row["response/left_out"] = ppo_metrics.mean((~batch.counted).double())
    return row


def texts_of(
    batch: Batch, episodes: Episodes, advantages: Tensor, kl: Tensor | None, count: int
) -> list[dict[str, Any]]:
    """Rows for samples.jsonl: the first groups, each response with what it got."""
    size = batch.scores.shape[1]
    rows = []
    for at in range(min(count, len(batch.prompts)) * size):
        p, g = divmod(at, size)
        row: dict[str, Any] = {"id": batch.prompts[p].id, "prompt": spoken(batch.prompts[p].prompt)}
        row |= {"response": episodes.texts[at], "finished": bool(episodes.finished[at])}
        row |= {"score": round(float(batch.scores[p, g]), 5), "advantage": round(float(advantages[p, g]), 5)}
        rows.append(row | ({} if kl is None else {"kl_sum": round(float(kl[at].sum()), 5)}))
    return rows
