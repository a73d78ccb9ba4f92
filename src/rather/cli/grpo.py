"""`rather grpo`: the policy learns from groups of its own responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rather import parallel
from rather.cli.mix import pretraining_rows
from rather.cli.rewarded import held_out_of, prompts_of, rewards_for
from rather.cli.stage import Story, stage
from rather.models.load import load_policy
from rather.stages.grpo import train_grpo
from rather.stages.grpo_config import GRPOConfig

SHOWS = (
    "objective/scores",
    "val/scores",
    "frac_reward_zero_std",
    "objective/kl",
    "policy/entropy_avg",
    "response/length",
)


@stage("grpo", "grpo", GRPOConfig, shows=SHOWS)
def command(story: Story, config: GRPOConfig) -> Mapping[str, Any]:
    """Learn from how several responses to a prompt compare (GRPO, Dr. GRPO, RLOO), with rewards that can be checked.

    It begins as RUN/init/checkpoint, which is the KL reference too. prompts=sums asks the verifiable world and checks
    the answers; otherwise rewards={number=1.0, pattern=0.2} names verifiers with weights, which read the fields of
    RUN/prompts.jsonl, or reward models and functions. A verifier that fails stops the run: see RUN/grpo/failed.json.
    """
    name = story.found(config.model, "init/checkpoint", "Make it with:  rather init {run}")
    policy = load_policy(name, template=config.template)
    for note in policy.notes:
        story.say(f"note: {note}")
    source, prompts = prompts_of(story, config.prompts, "train")
    held = held_out_of(story, source) if config.validation_prompts else []
    rewards = rewards_for(story, config.rewards, source, [*prompts, *held])
    story.say(f"{len(prompts):,} prompts, rewarded by {', '.join(f'{k} x {w:g}' for k, w in rewards.weights.items())}")
    wanted = config.iterations * config.updates * config.ptx_examples
    rows = pretraining_rows(policy, story, config.texts, config.ptx_length, wanted, "ptx_coef=0")
    model: Any = policy.model
    model.to(parallel.device())
    about = {"from": name, "prompts from": source, "rewarded by": ", ".join(rewards.weights)}
    with story.open(config) as run:
        return train_grpo(policy, rewards, prompts, rows, run, config, validation=held, about=about)
