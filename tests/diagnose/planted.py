"""A policy that says what it sees, small enough to be optimised in seconds, and rewards with a known flaw.

What a sentence is worth is known (`truth`): the shy animal that sees a hen is wanted, repeated words are not. A reward
that adds something to it has a flaw that is known too, and the truth listens as second opinion.
"""

from __future__ import annotations

import copy
import functools
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from rather.batches.encoding import Encoder
from rather.models.load import Policy
from rather.models.tiny import TinyConfig, tiny
from rather.records import Demonstration, Prompt
from rather.run import Run
from rather.stages.answers import ask
from rather.stages.ppo import train_ppo
from rather.stages.ppo_config import PPOConfig
from rather.stages.sft import SFTConfig, train_sft

HOW, WHO = ("old", "red", "shy"), ("cat", "dog", "bird", "fish", "goat", "mouse", "crow", "frog", "wolf", "bear")
WHAT = ("fox", "hen", "bee")
PROMPTS = [f"what do you see , {n} ?\n" for n in range(18)]
SETTINGS: dict[str, Any] = {
    "preset": "instructgpt",
    "episodes": 30 * 40,
    "batch_size": 40,
    "minibatch_size": 20,
    "max_new_tokens": 20,
    "missing_eos": "subtract",
    "critic_from": "policy",
    "learning_rate": 3e-3,
    "critic_learning_rate": 3e-3,
    "warmup": 0,
    "ema_decay": 0.0,
    "precision": "fp32",
    "checkpoint_every": 1000,
    "samples": 16,
}


def sentence(rng: random.Random) -> str:
    more = "".join(f" and a {rng.choice(WHAT)}" for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3))))
    return f"the {rng.choice(HOW)} {rng.choice(WHO)} sees a {rng.choice(WHAT)}{more} ."


@functools.cache
def _learned() -> Policy:
    rng = random.Random(0)
    demonstrations = [
        Demonstration(id=str(n), prompt=rng.choice(PROMPTS), response=sentence(rng), labeler="program")
        for n in range(480)
    ]
    sizes = TinyConfig(vocabulary=340, hidden=32, layers=1, heads=2, mlp=64, context=64, template="none")
    words = [f"{d.prompt}{d.response}" for d in demonstrations]
    policy = tiny(sizes, words, torch.Generator().manual_seed(0))
    encoder = Encoder(policy.tokenizer, None)
    trees, _ = encoder.encode_all(demonstrations)
    asked, _ = ask(encoder, PROMPTS[:2], 64, 20)
    config = SFTConfig(epochs=6, batch_size=24, learning_rate=1e-2, dropout=0.0, precision="fp32", max_new_tokens=20)
    with tempfile.TemporaryDirectory() as folder, Run.open(Path(folder) / "sft", config) as run:
        train_sft(policy, trees[:440], trees[440:], asked, run, config)
    return policy


def truth(text: str) -> float:
    words = text.replace(".", " ").split()
    repeated = len(words) - len(set(words))
    return 1.0 * ("shy" in words) + 0.4 * ("hen" in words) - 0.1 * repeated - 0.5 * (words[:1] != ["the"])


def rewarded(flaw: Callable[[str], float]) -> Callable[..., list[float]]:
    return lambda prompts, texts: [truth(text) + flaw(text) for text in texts]


def optimised(folder: Path, flaw: Callable[[str], float], **settings: Any) -> Path:
    """A story with one run of PPO in it."""
    policy = _learned()
    policy = Policy(copy.deepcopy(policy.model), policy.tokenizer, policy.stops, ())
    config = PPOConfig.load(
        None, [f"{k}={str(v).lower() if v is None else v}" for k, v in (SETTINGS | settings).items()]
    )
    prompts = [Prompt(id=str(n), prompt=text) for n, text in enumerate(PROMPTS)]
    with Run.open(folder / "ppo", config) as run:
        train_ppo(policy, rewarded(flaw), prompts, [], run, config, second_opinion=rewarded(lambda text: 0.0))
    return folder
