"""The names of model folders in a run, in one place: by them claims find what they are about (docs/claims.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rather import toml

# Folder -> what it is. A run may hold other models too; they are measured like any policy.
MODELS: Mapping[str, str] = {
    "base-xs": "the small base model, the paper's 1.3B",
    "base-s": "the base model that everything but the ladder starts from",
    "base-l": "a base model at least 100 times as large as xs, the paper's 175B",
    "sft-xs": "step 1 from base-xs",
    "sft-s": "step 1 from base-s",
    "sft-few": "step 1 on 250 demonstrations for 16 epochs: it overfits",
    "sft-hedged": "step 1 on demonstrations of which 30 % hedge",
    "init-s": "step 1 with pretraining text (app. C.3): where PPO starts",
    "reward": "step 2, one reward model for all policies",
    "reward-shuffled": "the same comparisons as single pairs in random order",
    "reward-250": "trained on 250 prompts",
    "reward-1000": "trained on 1,000 prompts",
    "reward-4000": "trained on 4,000 prompts",
    "ppo": "step 3 without the pretraining mix; its beta is the one that others are told in",
    "ppo-ptx": "step 3 with it: the paper's InstructGPT",
    "ppo-beta-B": "ppo with beta B: 0, 1/4, 2.5 and 10 times its own (of .02: 0, 0.005, 0.05, 0.2)",
    "ppo-unleashed": "ppo without KL penalty for long, or at a high rate; else ppo-beta-0",
    "ppo-adaptive": "ppo with a target for the KL divergence",
    "ppo-random-value": "ppo with a critic that does not start from the reward model",
    "ppo-hedged": "ppo from sft-hedged on U_lab itself",
    "ppo-ignorant": "ppo with labelers of whom 80 % do not know the fact and trust the user",
    "ppo-2": "a second round: ppo from comparisons of the first round's samples",
    "dpo": "direct preference optimisation on the same comparisons",
    "grpo": "GRPO with a verifier, on sums",
}
# The sweep, in units of ppo's own beta: a nat is worth more or less by how far a reward model spreads its scores.
BETAS = (0.0, 0.25, 1.0, 2.5, 10.0)
# Whose answers labelers see: the first of these that a run has. The noise of labelers is fitted on them.
SEEN_BY_LABELERS = ("sft-s", "sft", "init-s", "init", "sft-xs")


# A story of one size may leave the size out.
SHORTER = {"base-s": "base", "sft-s": "sft", "init-s": "init"}


def resolved(run: Path, name: str) -> str | None:
    """The folder of a run that is meant by a name of the table, or None. What `ppo` is, its settings say."""
    if name in ("ppo", "ppo-ptx") and (run / "ppo").is_dir():
        mixed = float(_setting(run / "ppo", "ptx_coef") or 0) > 0
        if mixed == (name == "ppo-ptx"):
            return "ppo"
        return name if name == "ppo-ptx" and (run / name).is_dir() else None
    for folder in (name, SHORTER.get(name, name)):
        if (run / folder).is_dir():
            return folder
    plain = resolved(run, "ppo") if name.startswith("ppo-beta-") else None
    if plain is not None and name == beta_folder(float(_setting(run / plain, "kl_coef") or -1)):
        return plain
    return None


def _setting(folder: Path, key: str) -> Any:
    path = folder / "config.toml"
    value = toml.read(path).get(key) if path.is_file() else None
    return value if isinstance(value, int | float) else None


def beta_folder(beta: float) -> str:
    return f"ppo-beta-{beta:g}"


def is_base(name: str) -> bool:
    """A base model is measured behind a few examples too: the paper's "GPT-3 prompted"."""
    return name == "base" or name.startswith("base-")


def is_reward_model(folder: Path) -> bool:
    """checkpoint: a folder with a model"""
    return (folder / "reward.json").is_file()


def models_of(run: Path) -> dict[str, Path]:
    """name -> checkpoint of every model of a run, policies and reward models."""
    return {path.parent.parent.name: path.parent for path in sorted(run.glob("*/checkpoint/config.json"))}
