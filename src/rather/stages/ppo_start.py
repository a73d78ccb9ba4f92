"""What a run of step 3 begins with: prompts that fit, a critic, and the rule by which a response ends."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from rather.batches.encoding import Encoder
from rather.batches.trees import Tokens
from rather.errors import BadSetting, visible
from rather.models.fingerprint import fingerprint
from rather.models.heads import RewardModel, reward_model_from
from rather.models.load import Policy, window_of
from rather.models.lora import sharing
from rather.models.reward_folder import Reward
from rather.records import Prompt
from rather.stages.ppo_config import PPOConfig
from rather.stages.scorers import Judge, same_tokens

Rewards = Reward | Judge | Sequence[Reward | Judge]


class Asking(Protocol):
    """What every stage that samples says of its prompts and responses."""

    @property
    def separator(self) -> str: ...
    @property
    def max_prompt(self) -> int: ...
    @property
    def max_new_tokens(self) -> int: ...


def fitting_prompts(
    policy: Policy, prompts: Sequence[Prompt], config: Asking, what: str = "prompts"
) -> tuple[Policy, list[Prompt], list[Tokens]]:
    """The policy with all of its stops, the prompts that leave room for a response, and their ids. None is cut."""
    encoder = Encoder(policy.tokenizer, policy.tokenizer.chat_template, separator=config.separator)
    # A chat template may end turns with another token than the tokenizer's EOS.
    policy = replace(policy, stops=tuple(dict.fromkeys([encoder.eos_id, *policy.stops])))
    window = window_of(policy.model.config)
    room = config.max_prompt if window is None else min(config.max_prompt, window - config.max_new_tokens)
    if room < 1:
        raise BadSetting(
            f"None of {len(prompts):,} {what} fits: max_new_tokens={config.max_new_tokens} leaves no room for one in "
            f"the model's window of {window}.",
            "Prompt and response share it.",
            f"max_new_tokens={max(1, (window or 2) // 2)}",
        )
    ids = encoder.prompts(prompt.prompt for prompt in prompts)
    kept = [(prompt, tokens) for prompt, tokens in zip(prompts, ids, strict=True) if len(tokens) <= room]
    if not kept:
        shortest = f" The shortest has {min(map(len, ids)):,} tokens." if ids else ""
        raise BadSetting(
            f"None of {len(prompts):,} {what} fits.{shortest}",
            f"Expected prompts of at most {room:,} tokens: max_prompt={config.max_prompt}, and a window of {window} "
            f"that also takes max_new_tokens={config.max_new_tokens}.",
            "Lower max_new_tokens" if ids else "Name a file with prompts",
        )
    return policy, [prompt for prompt, _ in kept], [tokens for _, tokens in kept]


def first_critic(policy: Policy, reward: Rewards, config: PPOConfig) -> RewardModel:
    """A network of its own: a copy of the reward model, head and bias included (C.4), or of the policy's body.

    With LoRA the body's weights are shared: they are frozen on both sides, and the critic gets adapters of its own.
    """
    copied = copy.deepcopy if config.lora.rank is None else sharing
    if config.critic_from == "policy":
        return reward_model_from(policy.model, torch.Generator().manual_seed(config.seed), copied)
    models = reward_models(reward)
    other = "Let it begin as the policy's body with a new head:  critic_from=policy"
    if not models:
        raise BadSetting("The critic is to begin as the reward model, and there is none.", do=other)
    if not same_tokens(models[0].tokenizer, policy.tokenizer):
        raise BadSetting(
            "The critic is to begin as the reward model, whose tokenizer is not the policy's.",
            "A critic reads the policy's own tokens.",
            other,
        )
    first = models[0].model
    return RewardModel(copied(first.body), copy.deepcopy(first.head)).eval().requires_grad_(True)


def reward_models(reward: Rewards) -> list[Reward]:
    """Those of the things that score which are models."""
    several: Sequence[Any] = [reward] if isinstance(reward, Reward) or callable(reward) else reward
    return [one for one in several if isinstance(one, Reward)]


def fingerprints(policy: Policy, reward: Rewards) -> dict[str, str]:
    """The names of the weights that a run begins with, and that stay what they are: the KL is against the first."""
    found = {"reference": fingerprint(policy.model)}
    return found | {f"reward model {n}": fingerprint(one.model) for n, one in enumerate(reward_models(reward), start=1)}


def is_reward_itself(reward: Rewards, config: PPOConfig) -> bool:
    """Whether the score is the very number that the critic began by giving."""
    alone = isinstance(reward, Reward) or (not callable(reward) and len(reward) == 1)
    # What was taken off for length is taken off the score, and no part of the network.
    plain = all(one.scoring is None or not one.scoring.get("slope") for one in reward_models(reward))
    return config.critic_from == "reward" and alone and plain


def truncation_token(policy: Policy, config: PPOConfig) -> int | None:
    if config.truncate_token is None:
        return None
    ids = policy.tokenizer(config.truncate_token, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise BadSetting(
            f"truncate_token={visible(config.truncate_token)!r} is {len(ids)} tokens of this policy.",
            "Expected one token, at which a response ends.",
        )
    return int(ids[0])


def missing_eos(scores: Tensor, finished: Tensor, config: PPOConfig) -> Tensor:
    """The EOS rule: a reward model has never seen a text that does not end, and its opinion on one is noise. (B,)"""
    if config.missing_eos == "replace":
        return torch.where(finished, scores, torch.full_like(scores, config.missing_eos_score))
    if config.missing_eos == "subtract":
        return torch.where(finished, scores, scores + config.missing_eos_score)
    return scores
