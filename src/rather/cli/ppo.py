"""`rather ppo`: step 3, the policy learns from the reward model."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from rather import checkpoint, parallel, toml
from rather.batches.encoding import Encoder
from rather.batches.trees import Tree
from rather.cli.stage import Story, stage
from rather.errors import BadFile
from rather.models.load import Policy, load_policy
from rather.models.reward_folder import Reward
from rather.records import Prompt, Text, read
from rather.run import Run, read_metrics
from rather.stages.alarms import Alarms
from rather.stages.ppo import train_ppo
from rather.stages.ppo_checks import reward_model_knows
from rather.stages.ppo_config import PPOConfig
from rather.stages.scorers import reward_named
from rather.worlds.named import named

SHOWS = ("objective/scores", "objective/kl", "policy/entropy_avg", "response/length", "second_opinion/scores")
PRETRAINING = 20_000_000  # tokens of pretraining text that are held in memory at most


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
    file = story.found(config.prompts, "prompts.jsonl", "Put prompts there, one JSON object a line")
    prompts = [record for record in read(file, Prompt) if record.split in (None, "train")]
    if not prompts:
        raise BadFile(f"{file} has no prompt to train on.", "Expected records with split train, or with none.")
    rows = _pretraining(policy, story, config) if config.ptx_coef else []
    second = [reward_named(name) for name in _listed(config.second_opinion or [])]
    models: list[Any] = [policy.model, *(one.model for one in (*reward, *second) if isinstance(one, Reward))]
    for model in models:
        model.to(parallel.device())
    with story.open(config) as run:
        _say_alarms(story, run, config)
        return train_ppo(policy, reward, prompts, rows, run, config, second_opinion=second or None)


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


def _pretraining(policy: Policy, story: Story, config: PPOConfig) -> list[Tree]:
    """Rows of plain text: as many as the run will see, if they fit in memory, else so many again and again."""
    source = config.texts or _of_base(story.folder / "base" / "config.toml")
    source = story.found(source, "pretraining.jsonl", "PPO-ptx needs pretraining text:  texts=FILE or a world")
    context = getattr(policy.model.config.get_text_config(), "max_position_embeddings", config.ptx_length)
    length = min(config.ptx_length, context)
    wanted = config.iterations * config.updates * config.ptx_examples
    rows = islice(Encoder(policy.tokenizer, None).windows(_texts(source), length), min(wanted, PRETRAINING // length))
    found = list(rows)
    if not found:
        raise BadFile(f"{source} has no text to mix in.", "Expected records with text.", "preset=instructgpt")
    story.say(f"pretraining mix: {len(found):,} rows of {length} tokens of {source}")
    return found


def _of_base(settings: Path) -> str | None:
    """What the story's base model was trained on."""
    texts = toml.read(settings).get("texts") if settings.exists() else None
    return texts if isinstance(texts, str) else None


def _texts(source: str) -> Iterator[str]:
    world = named(source)
    if world is None:
        yield from (record.text for record in read(source, Text) if record.split in (None, "train"))
        return
    rng = random.Random(f"{world.name} {world.seed} pretraining train")
    yield from (page.text for page in world.web_documents(rng))


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
