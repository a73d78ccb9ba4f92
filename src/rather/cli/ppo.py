"""`rather ppo`: step 3, the policy learns from the reward model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rather import checkpoint, parallel
from rather.cli.mix import pretraining_rows
from rather.cli.stage import Story, stage
from rather.errors import BadFile
from rather.evaluate.gold import as_records, gold_of_episodes, prompts_for_ppo, refuse_strangers
from rather.models.load import load_policy
from rather.models.reward_folder import Reward
from rather.records import Prompt, read
from rather.run import Run, read_metrics
from rather.stages.alarms import Alarms
from rather.stages.ppo import Worth, train_ppo
from rather.stages.ppo_checks import reward_model_knows
from rather.stages.ppo_config import PPOConfig
from rather.stages.scorers import reward_named
from rather.worlds.named import world_named

SHOWS = ("objective/scores", "objective/kl", "policy/entropy_avg", "response/length", "second_opinion/scores")


@stage("ppo", "ppo", PPOConfig, shows=SHOWS)
def command(story: Story, config: PPOConfig) -> Mapping[str, Any]:
    """Step 3: optimise the policy against the reward model, with pretraining text mixed in (PPO-ptx).

    It begins as RUN/init/checkpoint, which is the KL reference too, and learns from RUN/reward/checkpoint on
    RUN/prompts.jsonl. preset=instructgpt leaves the mix out; presets named after papers never change their meaning.
    Alarms are said when they begin, and stand in events.jsonl. RUN/ppo/checkpoint-ema has the average of the weights.
    """
    folder = story.found(config.model, "init/checkpoint", "Make it with:  rather init {run}")
    policy = load_policy(folder, template=config.template)
    for note in policy.notes:
        story.say(f"note: {note}")
    names = _listed(config.reward or story.found(None, "reward/checkpoint", "Make it with:  rather reward {run}"))
    reward = [reward_named(name) for name in names]
    for name, one in zip(names, reward, strict=True):
        if isinstance(one, Reward):
            story.say(f"{name}: {reward_model_knows(_report(name))}")
    prompts, gold = _prompts(story, config)
    wanted = config.iterations * config.updates * config.ptx_examples
    rows = pretraining_rows(policy, story, config.texts, config.ptx_length, wanted, "preset=instructgpt")
    second = [reward_named(name) for name in _listed(config.second_opinion or [])]
    models: list[Any] = [policy.model, *(one.model for one in (*reward, *second) if isinstance(one, Reward))]
    for model in models:
        model.to(parallel.device())
    with story.open(config) as run:
        _say_alarms(story, run, config)
        return train_ppo(policy, reward, prompts, rows, run, config, second_opinion=second or None, gold=gold)


def _prompts(story: Story, config: PPOConfig) -> tuple[list[Prompt], Worth | None]:
    """With a world they are the world's own, and what answers to them are worth is known."""
    world = world_named(config.world) if config.world else None
    if world and config.prompts is None:
        known = prompts_for_ppo(world)
        return as_records(known.values()), gold_of_episodes(world, known)
    file = story.found(config.prompts, "prompts.jsonl", "Put prompts there, one JSON object a line")
    prompts = [record for record in read(file, Prompt) if record.split in (None, "train")]
    if not prompts:
        raise BadFile(f"{file} has no prompt to train on.", "Expected records with split train, or with none.")
    if world is None:
        return prompts, None
    known = prompts_for_ppo(world, len(prompts))
    refuse_strangers(world, known, prompts, file)
    return prompts, gold_of_episodes(world, known)


def _listed(names: str | list[str]) -> list[str]:
    return [names] if isinstance(names, str) else names


def _report(name: str) -> Mapping[str, Any] | None:
    """What the stage that trained a reward model found out about it: beside its folder, if it is ours."""
    file = Path(name).expanduser().parent / "report.json"
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _say_alarms(story: Story, run: Run, config: PPOConfig) -> None:
    """Alarms follow from the metrics alone, so whoever sees those can raise them."""
    done = (checkpoint.steps(run.state) or [0])[-1]
    alarms = Alarms(config, [row for row in read_metrics(run.path) if row["step"] <= done])
    show = run.watch

    def watch(step: int, values: Mapping[str, Any]) -> None:
        if show is not None:
            show(step, values)
        for alarm in alarms.check({"step": step, **values}):
            story.say(f"ALARM {alarm.name}, iteration {step}: {alarm.evidence}")
            story.say(f"  {alarm.do}")

    run.watch = watch
