"""A policy, a reward model and prompts small enough for a training run in a second: `from small_ppo import ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rather.batches.encoding import Encoder
from rather.batches.trees import Tree
from rather.models.heads import reward_model_from
from rather.models.load import Policy
from rather.models.reward_folder import Reward
from rather.models.tiny import TinyConfig, tiny
from rather.records import Prompt
from rather.run import Run
from rather.stages.ppo import train_ppo
from rather.stages.ppo_config import PPOConfig

TEXTS = [
    f"the {a} {b} sees a {c} ." for a in ("old", "red", "shy") for b in ("cat", "dog") for c in ("fox", "hen", "bee")
]
SIZES = TinyConfig(vocabulary=300, hidden=32, layers=2, heads=2, mlp=48, context=64, template="none")
SMALL: dict[str, Any] = {
    "episodes": 32,
    "batch_size": 16,
    "minibatch_size": 8,
    "max_new_tokens": 6,
    "ptx_ratio": 0.5,
    "ptx_length": 16,
    "missing_eos": "keep",
    "precision": "fp32",
    "learning_rate": 1e-3,
    "critic_learning_rate": 1e-3,
    "checkpoint_every": 1,
}
PROMPTS = [Prompt(id=str(n), prompt=text[:9]) for n, text in enumerate(TEXTS)]


def small_policy(seed: int = 0) -> Policy:
    return tiny(SIZES, TEXTS, torch.Generator().manual_seed(seed))


def small_reward(policy: Policy | None = None, seed: int = 1) -> Reward:
    """A reward model of another body than the policy's, with a shift in its bias."""
    policy = policy or small_policy()
    model = reward_model_from(small_policy(seed).model, torch.Generator().manual_seed(seed))
    model.shift(0.7)
    return Reward(model.eval(), policy.tokenizer, "constant")


def small_rows(policy: Policy, length: int = 16) -> list[Tree]:
    return list(Encoder(policy.tokenizer, None).windows(TEXTS, length))


def small_run(folder: Path, reward: Any = None, **settings: Any) -> dict[str, Any]:
    """One run from nothing to the end; what is given of `train_ppo`'s own arguments goes to it."""
    resume = settings.pop("resume", False)
    extra = {name: settings.pop(name) for name in ("second_opinion", "gold", "measure") if name in settings}
    config = PPOConfig(**{**SMALL, **settings})
    policy = small_policy()
    reward = reward or small_reward(policy)
    with Run.open(folder, config, resume=resume) as run:
        return train_ppo(policy, reward, PROMPTS, small_rows(policy), run, config, **extra)
